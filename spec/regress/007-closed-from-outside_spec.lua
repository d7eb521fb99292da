-- The stock coroutine.close takes the coroutine of a task away from under it.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local failed = helper.failed
local stock = helper.stock

local function case(fn)
  return helper.case(fn, { patch = false, on_error = function() end })
end

local function closed(fn)
  local thread
  local task = aio.spawn(function()
    thread = stock.running()
    return fn()
  end)
  aio.sleep(0.001)
  stock.close(thread)
  return task
end

describe("closing a task's coroutine", function()
  it("while it puts puts nothing", case(function()
    local ch = aio.channel()
    local task = closed(function() return ch:put "value" end)
    failed("ETIMEDOUT", aio.timeout(1, ch.get, ch))
    assert.is_false((task:join()))
  end))

  it("while it gets gives it nothing", case(function()
    local ch = aio.channel()
    local task = closed(function() return ch:get() end)
    failed("ETIMEDOUT", aio.timeout(1, ch.put, ch, function()
      error "called"
    end))
    assert.is_false((task:join()))
  end))

  it("leaves its group to end by itself", case(function()
    local log, thread = helper.log(), nil
    do
      local g <close> = aio.group { on_failure = false }
      g:spawn(function()
        thread = stock.running()
        local inner <close> = aio.group()
        inner:spawn(function()
          pcall(aio.sleep, 10)
          aio.shield(nil, aio.sleep, 1)
          log "child"
        end)
        aio.sleep(0.5)
      end)
      aio.sleep(0.1)
      stock.close(thread)
    end
    aio.sleep(2)
    assert.equal("child", log:text())
  end))

  it("or that of a generator that waits fails its resume", case(function()
    local thread
    local task = aio.spawn(function()
      local gen = aio.coroutine.create(function()
        thread = stock.running()
        aio.sleep(1)
      end)
      local ok = aio.coroutine.resume(gen)
      stock.yield() -- means aio.yield() still
      return ok
    end)
    aio.sleep(0.5)
    stock.close(thread)
    assert.is_false((task:await()))
  end))
end)
