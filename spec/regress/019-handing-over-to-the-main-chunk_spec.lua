-- A value for the main chunk, which waits to get, is packed into a table; a
-- finalizer that ran then and put into the same channel was served first, and
-- its value was lost.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local function harsh(fn)
  local mode = collectgarbage("incremental", 0, 1000, 11)
  collectgarbage("setpause", 0)
  fn()
  collectgarbage(mode)
  collectgarbage("setpause", 200)
end

describe("a value for the main chunk", function()
  it("is not lost when a finalizer puts as well", helper.bare(function()
    local ch, put, got = aio.channel(), 0, 0
    local function count(ok)
      put = put + (ok == true and 1 or 0)
    end
    local large = {} -- so that the collector has to run when it is packed
    for i = 1, 4000 do
      large[i] = i
    end
    local meta = { __gc = function() count(ch:try_put "by a finalizer") end }
    harsh(function()
      for _ = 1, 200 do
        aio.spawn(function()
          setmetatable({}, meta)
          count(ch:try_put(table.unpack(large)))
        end)
        ch:get()
        got = got + 1
      end
    end)
    assert.equal(put, got)
  end))
end)
