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
end)
