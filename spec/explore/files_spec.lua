-- Files, wherever somebody is cancelled: one that is replaced is the old one or
-- a new one, and nothing is left beside it.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local place = require "spec.fs.place"

if not aio.fs then
  return
end

local fs = aio.fs
local ATOMIC = { atomic = true }

local function text_of(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function temporary()
  local path = os.tmpname()
  os.remove(path)
  assert(os.execute("mkdir " .. path))
  return path
end

describe("files", function()
  helper.explore("are replaced whole, or not at all", {
    cancel = "both",
    seeds = 3,
    cancel_seeds = 2,
    scenario = function(s)
      s.dir = temporary()
      place.write(s.dir .. "/a", ("0"):rep(5000))
      aio.group(nil, function(g)
        for i = 1, 3 do
          g:spawn(fs.write_file, s.dir .. "/a", tostring(i):rep(5000), ATOMIC)
        end
        g:spawn(function() s.read = fs.read_file(s.dir .. "/a") end)
      end)
    end,
    invariant = function(s, run)
      local text = text_of(s.dir .. "/a")
      assert.equal("a\n", place.shell("ls -A " .. s.dir))
      assert.equal(text:sub(1, 1):rep(5000), text)
      assert(run.cancelled or s.read == s.read:sub(1, 1):rep(5000))
      os.execute("rm -rf " .. s.dir)
    end,
  })

  helper.explore("are renamed, or keep their names, and listed", {
    cancel = "both",
    outside = true,
    scenario = function(s)
      s.dir = temporary()
      for i = 1, 2 do
        place.write(s.dir .. "/old" .. i, "x")
      end
      aio.group(nil, function(g)
        for i = 1, 2 do
          g:spawn(fs.rename, s.dir .. "/old" .. i, s.dir .. "/new" .. i)
        end
        g:spawn(function()
          local n = 0
          for _ in fs.scandir(s.dir) do
            n = n + 1
          end
          s.listed = n
        end)
      end)
    end,
    invariant = function(s, run)
      if s.dir then
        local names = place.shell("ls -A " .. s.dir)
        assert(names:gsub("old", "new"):gsub("new%d\n", "") == "", names)
        assert(select(2, names:gsub("1\n", "")) == 1 and #names == 10, names)
        assert(run.cancelled or names == "new1\nnew2\n")
        os.execute("rm -rf " .. s.dir)
      end
      assert(run.cancelled or s.listed)
    end,
  })

  local PIECE <const> = 40000 -- two are more than a file gathers

  helper.explore("hold whole pieces, in the order of their writers", {
    cancel = "both",
    outside = true,
    seeds = 3,
    cancel_seeds = 2,
    scenario = function(s)
      s.path, s.taken = os.tmpname(), {}
      local file <close> = assert(fs.open(s.path, "w"))
      aio.group(nil, function(g)
        g:spawn(function()
          for i = 1, 4 do
            if file:write(tostring(i):rep(PIECE)) then s.taken[#s.taken + 1] = i end
          end
        end)
      end)
    end,
    invariant = function(s)
      local text = text_of(s.path)
      for at, i in ipairs(s.taken) do
        assert.equal(tostring(i):rep(PIECE), text:sub((at - 1) * PIECE + 1, at * PIECE))
      end
      assert.is_true(#text <= (#s.taken + 1) * PIECE and #text % PIECE == 0)
      os.remove(s.path)
    end,
  })

  local parts = {}
  for i = 1, 30000 do parts[i] = ("%06d"):format(i) end
  local TEXT <const> = table.concat(parts)

  helper.explore("give each byte to one reader", {
    cancel = "both",
    outside = true,
    seeds = 3,
    cancel_seeds = 2,
    scenario = function(s)
      s.path, s.got = os.tmpname(), {}
      place.write(s.path, TEXT)
      local file <close> = assert(fs.open(s.path))
      local function read()
        local _ <close> = s.lock:acquire()
        local data = file:read(50000)
        if data then s.got[#s.got + 1] = data end
      end
      s.lock = aio.lock()
      aio.group(nil, function(g)
        for _ = 1, 4 do g:spawn(read) end
      end)
    end,
    invariant = function(s, run)
      local got = table.concat(s.got)
      assert.is_true(got == TEXT:sub(1, #got))
      assert.is_true(run.cancelled or got == TEXT)
      os.remove(s.path)
    end,
  })

  helper.explore("are watched by one while others write", {
    cancel = "both",
    outside = true,
    seeds = 3,
    cancel_seeds = 2,
    scenario = function(s)
      s.dir, s.seen = temporary(), {}
      local watch <close> = assert(fs.watch(s.dir))
      aio.group(nil, function(g)
        g:spawn(function()
          for event in watch do
            s.seen[event.name] = true
            if event.name == "end" then break end
          end
        end)
        aio.group({ on_failure = false }, function(writers)
          writers:spawn(fs.write_file, s.dir .. "/a", "1")
          writers:spawn(fs.write_file, s.dir .. "/b", "1")
        end)
        assert(fs.write_file(s.dir .. "/end", ""))
      end)
    end,
    invariant = function(s, run)
      os.execute("rm -rf " .. s.dir)
      assert(run.cancelled or s.seen.a and s.seen.b and s.seen["end"])
    end,
  })
end)
