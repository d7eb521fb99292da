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
end)
