-- Whoever gets at the coroutine of a task may resume it. The arguments of that
-- were taken for values of the wait.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local case, values = helper.case, helper.values
local stock = helper.stock

local function parked(fn)
  local thread
  local task = aio.spawn(function()
    thread = stock.running()
    return fn()
  end)
  aio.sleep(0.001)
  return task, thread
end

describe("resuming a task from outside", function()
  it("adds nothing to what it gets", case(function()
    local ch = aio.channel()
    local task, thread = parked(function() return ch:get() end)
    values({ true, false,
      "cannot resume a task from outside the loop" },
      stock.resume(thread, "more", "values"))
    ch:put "value"
    values({ "value" }, task:await())
  end))

  it("adds nothing to what it puts", case(function()
    local ch = aio.channel()
    local _, thread = parked(function() return ch:put "value" end)
    stock.resume(thread, "more", "values")
    values({ "value" }, ch:get())
  end))

  it("is refused when the coroutine has another task", case(function()
    local first, thread = parked(function() end)
    first:await()
    assert.is_false((aio.coroutine.resume(thread)))
    local second, same = parked(function() return aio.sleep(1) end)
    assert.equal(thread, same)
    local _, e = aio.coroutine.resume(thread)
    helper.has("cannot resume a task", e)
    assert.is_true(second:await())
  end))
end)
