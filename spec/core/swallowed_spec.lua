-- Cancellations that were caught, after which the task waits again.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local bare, case, has = helper.bare, helper.case, helper.has

local function count()
  return aio.loop():stats().swallowed
end

-- How many swallowed cancellations `fn`, in a cancelled task, adds.
local function swallowed(fn)
  local before = count()
  local task = aio.spawn(fn)
  task:cancel()
  task:join()
  return count() - before
end

describe("a cancellation is swallowed", function()
  it("if it was caught and the task waits again", case(function()
    assert.equal(2, swallowed(function()
      for _ = 1, 3 do
        pcall(aio.sleep, 1)
      end
    end))
  end))

  it("by a wait in a scope inside of the same", case(function()
    assert.equal(1, swallowed(function()
      pcall(aio.sleep, 1)
      aio.timeout(1, aio.sleep, 1)
    end))
  end))

  it("by a plain yield", case(function()
    assert.equal(1, swallowed(function()
      pcall(coroutine.yield)
      coroutine.yield()
    end))
  end))

  it("in the main chunk", bare(function()
    local before = count()
    aio.timeout(0, function()
      pcall(aio.sleep, 1)
      pcall(aio.sleep, 1)
    end)
    assert.equal(before + 1, count())
  end))
end)

describe("no cancellation is swallowed", function()
  for name, fn in pairs {
    ["if it ends the task"] = function() aio.sleep(1) end,
    ["if it was caught and the task ends"] = function() pcall(aio.sleep, 1) end,
    ["if the task cleans up in a shield"] = function()
      pcall(aio.sleep, 1)
      aio.shield(1, aio.sleep, 0.5)
      pcall(aio.sleep, 1)
    end,
    ["by one scope after the other"] = function()
      aio.shield(1, function()
        aio.timeout(0, aio.sleep, 1)
        aio.timeout(0, aio.sleep, 1)
        aio.scope({ timeout = 0 }, function() aio.sleep(1) end)
        aio.sleep(0.1)
      end)
    end,
    ["by a group that is left"] = function()
      local g <close> = aio.group()
      g:spawn(aio.sleep, 1)
      aio.sleep(1)
    end,
    ["by aio.all"] = function()
      aio.all(function() aio.sleep(1) end, function() aio.sleep(1) end)
    end,
    ["by group:start"] = function()
      local g <close> = aio.group()
      g:start(function() aio.sleep(1) end)
    end,
  } do
    it(name, case(function()
      assert.equal(0, swallowed(fn))
    end))
  end
end)

describe("in debug a task that swallows", function()
  local told

  local function report(err, info)
    told[#told + 1] = { err = err, info = info }
  end

  local function debugged(fn)
    return function()
      told = {}
      helper.manual(fn, { debug = { slow = false }, on_error = report })
    end
  end

  it("says so, with the lines", debugged(function()
    local here, there, info
    local t = aio.spawn(function()
      here = helper.here() pcall(aio.sleep, 1)
      there = helper.here() pcall(aio.sleep, 1)
      info = aio.task():info()
    end)
    t:cancel()
    t:await()
    assert.same({ count = 1, raised = there, waited = there }, info.swallowed)
    assert.equal(1, #told)
    assert.equal("swallowed", told[1].info.kind)
    assert.equal(t, told[1].info.task)
    has("raised at " .. here, told[1].err)
    has("waits again at " .. there, told[1].err)
    has("pcall", told[1].info.traceback)
  end))

  it("is reported once for the same lines", debugged(function()
    for _ = 1, 2 do
      local t = aio.spawn(function()
        for _ = 1, 5 do
          pcall(aio.sleep, 1)
        end
      end)
      t:cancel()
      t:await()
    end
    assert.equal(1, #told)
  end))

  it("is reported for each pair of lines", debugged(function()
    local t = aio.spawn(function()
      pcall(aio.sleep, 1)
      pcall(aio.yield)
      pcall(aio.sleep, 1)
    end)
    t:cancel()
    t:await()
    assert.equal(2, #told)
  end))

  it("has nothing to say if it does not", debugged(function()
    assert.is_nil(aio.task():info().swallowed)
    local info
    local t = aio.spawn(function()
      pcall(aio.sleep, 1)
      info = aio.task():info()
    end)
    t:cancel()
    t:await()
    assert.is_nil(info.swallowed)
    assert.equal(0, #told)
  end))

  it("is let go when it has ended", debugged(function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local t = aio.spawn(function()
        pcall(aio.sleep, 1)
        pcall(aio.sleep, 1)
      end)
      weak[t] = true
      t:cancel()
      t:await()
    end
    told = {}
    aio.yield()
    helper.gone(weak)
  end))
end)
