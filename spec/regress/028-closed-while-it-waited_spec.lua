-- The stock coroutine.close took from a task that waited what anchors the object
-- it waited on: cancelling, joining or ending the task looked at freed memory.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local stock = helper.stock

local WAITS = {
  await = function() aio.future():await() end,
  join = function() aio.future():join() end,
  event = function() aio.event():wait() end,
  get = function() aio.channel():get() end,
  put = function() aio.channel():put(1) end,
  barrier = function() aio.barrier(2):wait() end,
  next = function() aio.as_completed { aio.future() }() end,
  condition = function()
    local condition, lock = aio.condition()
    lock:acquire()
    condition:wait()
  end,
}

-- A task that waits, whose stack somebody closes; what was on it is collected.
local function closed(wait)
  local thread
  local task = aio.spawn(function()
    thread = stock.running()
    wait()
  end)
  while not task:info().waiting_on do aio.yield() end
  stock.close(thread)
  collectgarbage()
  collectgarbage()
  return task
end

describe("a task whose coroutine is closed while it waits", function()
  for name, wait in pairs(WAITS) do
    it("ends when it is cancelled: " .. name, helper.case(function()
      local task = closed(wait)
      task:cancel()
      assert.is_false((task:join()))
      assert.equal("cancelled", task:peek())
    end))
  end

  it("can be joined meanwhile", helper.case(function()
    local task = closed(WAITS.await)
    aio.loop():call_soon(task.cancel, task)
    assert.is_false((task:join()))
  end))

  it("is not woken, nor are values handed to it", helper.case(function()
    local channel = aio.channel()
    closed(function() channel:get() end):cancel()
    assert.is_false(channel:try_put(1))
    local getter = aio.spawn(function() return channel:get() end)
    aio.yield()
    assert.is_true(channel:try_put(2))
    assert.equal(2, getter:await())
  end))

  it("is no obstacle to those behind it", helper.case(function()
    local event = aio.event()
    closed(function() event:wait() end):cancel()
    local other = aio.spawn(event.wait, event)
    aio.yield()
    event:set()
    assert.is_true(other:await())
  end))

  it("goes on if it was only a generator of it", helper.case(function()
    local thread, went_on
    local task = aio.spawn(function()
      local co = aio.coroutine.create(function()
        thread = stock.running()
        aio.future():await()
      end)
      aio.coroutine.resume(co)
      went_on = true
    end)
    aio.yield()
    stock.close(thread)
    thread = nil
    collectgarbage()
    collectgarbage()
    task:cancel()
    task:join()
    assert.is_true(went_on)
  end))
end)
