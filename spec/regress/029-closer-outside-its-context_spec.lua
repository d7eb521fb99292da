-- A generator that was left when the Lua state was closed had the loop forget
-- that it runs in a finalizer: hooks of logical contexts were called outside of
-- these, which crashed.
--
-- SPDX-License-Identifier: MIT

local helper = require "spec.helper"

describe("a Lua state that is closed while a generator waits", function()
  it("calls hooks in their logical context", function()
    assert.equal("same\nsame\n", helper.program [[
      local aio = require "perilune"
      local function hooked()
        local key = aio.context.key()
        aio.context.on_close(function()
          print(aio.context.key() == key and "same" or "another")
        end)
        aio.sleep(100)
      end
      KEPT = {
        aio.spawn(hooked),
        aio.spawn(function()
          aio.coroutine.wrap(function() aio.future():await() end)()
        end),
        aio.spawn(hooked),
        aio.loop():call_later(100, print),
      }
      aio.sleep(0)
      aio.sleep(0)
    ]])
  end)
end)
