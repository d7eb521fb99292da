-- Closing a generator ran its handlers in the context of who closed it; one that
-- was dropped inside `with` kept the context it had come from for ever, and so
-- did callbacks of a future that was dropped.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local case, many = helper.case, helper.many
local co = aio.coroutine

-- Kilobytes that are left after so many calls, each time; a table that happens
-- to grow does so once.
local function left(n, fn)
  local function settled()
    for _ = 1, 4 do collectgarbage() end -- finalizers let go of others
    return collectgarbage "count"
  end
  local least = math.huge
  for _ = 1, 3 do
    local before = settled()
    for _ = 1, n do fn() end
    least = math.min(least, settled() - before)
  end
  return least
end

describe("the context", function()
  it("is not changed by closing a generator", case(function()
    local user = aio.context.var "user"
    local gen = co.create(function()
      local _ <close> = user:let "generator"
      coroutine.yield()
    end)
    co.resume(gen)
    user:set "consumer"
    assert.is_true(co.close(gen))
    assert.equal("consumer", user:get())
  end))

  it("is let go by a generator that is dropped", case(function()
    local user = aio.context.var "user"
    assert.is_true(left(many(2000), function()
      user:set {}
      co.wrap(function() user:with({}, coroutine.yield) end)()
    end) < 50)
  end))

  it("is let go by callbacks of a future that is dropped", case(function()
    local user = aio.context.var "user"
    assert.is_true(left(many(2000), function()
      user:set {}
      local f = aio.future()
      f:on_done(print)
      f:on_done(print)
    end) < 50)
  end))
end)
