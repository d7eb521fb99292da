-- What is older than the loop is finalized after it.
--
-- SPDX-License-Identifier: MIT

local helper = require "spec.helper"

describe("a finalizer after the end of the loop", function()
  it("may call anything", function()
    assert.equal("ok\n", helper.program [[
      local aio
      older = setmetatable({}, { __gc = function()
        local loop = aio.loop()
        pcall(aio.spawn, print)
        pcall(aio.sleep, 1)
        pcall(loop.step, loop)
        pcall(loop.stats, loop)
        pcall(loop.fd, loop)
        pcall(loop.call_later, loop, 1, print)
        pcall(aio.group)
        pcall(aio.time_left)
        pcall(aio.run, print)
        print "ok"
      end })
      aio = require "perilune"
      for _ = 1, 64 do
        aio.spawn(function()
          while true do
            pcall(aio.shield, math.huge, aio.sleep, 100)
          end
        end)
      end
      aio.yield()
    ]])
  end)
end)
