-- The order in which things run.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local case = helper.case

describe("a turn", function()
  it("runs what is ready in order", case(function()
    local log = helper.log()
    for i = 1, 5 do
      aio.spawn(log, i)
    end
    aio.yield()
    assert.equal("1 2 3 4 5", log:text())
  end))

  it("leaves what it queues to the next turn", case(function()
    local log = helper.log()
    for _, name in ipairs { "a", "b" } do
      aio.spawn(function()
        for i = 1, 3 do
          log(name .. i)
          aio.yield()
        end
      end)
    end
    testing.settle()
    assert.equal("a1 b1 a2 b2 a3 b3", log:text())
  end))

  it("wakes in the order of what woke", case(function()
    local log = helper.log()
    local f = { aio.future(), aio.future(), aio.future() }
    for i = 1, 3 do
      aio.spawn(function()
        f[i]:await()
        log(i)
      end)
    end
    testing.settle()
    f[3]:resolve()
    f[1]:resolve()
    f[2]:resolve()
    testing.settle()
    assert.equal("3 1 2", log:text())
  end))

  it("runs due timers after what was ready", case(function()
    local log = helper.log()
    aio.loop():call_later(0, log, "timer")
    aio.loop():call_soon(log, "soon")
    aio.spawn(log, "task")
    aio.sleep(1)
    assert.equal("soon task timer", log:text())
  end))

  it("runs timers of equal times in order of creation, whatever they are",
    case(function()
      local log = helper.log()
      local at = aio.loop():time() + 1
      aio.loop():call_at(at, log, "callback")
      local t = aio.spawn(function()
        aio.sleep(at - aio.now())
        log "task"
      end)
      aio.yield()
      aio.loop():call_at(at, log, "another")
      t:await()
      testing.settle()
      assert.equal("callback task another", log:text())
    end))

  it("fires all deadlines of a time before any task runs", case(function()
    local log = helper.log()
    local first, second = aio.future(), aio.future()
    local one = aio.spawn(function()
      aio.timeout(1, first.await, first)
      log(second:resolve("too late"))
    end)
    local two = aio.spawn(function()
      log((aio.timeout(1, second.await, second)))
    end)
    one:await()
    two:await()
    assert.equal("true nil", log:text())
  end))
end)

describe("nothing switches", function()
  it("in calls that do not wait", case(function()
    local log = helper.log()
    aio.spawn(log, "other")
    local f, ev, ch = aio.future(), aio.event(), aio.channel(3)
    local t = aio.spawn(function() end)
    f:resolve()
    ev:set()
    ev:clear()
    t:cancel()
    t:peek()
    ch:try_put(1)
    ch:try_get()
    aio.loop():call_soon(print):cancel()
    aio.tree()
    aio.check()
    log "main"
    aio.yield()
    assert.equal("main other", log:text())
  end))

  it("in a wait that can complete at once", case(function()
    local log = helper.log()
    aio.spawn(log, "other")
    local f, ev, ch = aio.future(), aio.event(), aio.channel(3)
    f:resolve(1)
    ev:set()
    f:await()
    f:join()
    ev:wait()
    ch:put(1)
    ch:get()
    aio.timeout(1, f.await, f)
    aio.wait { f }
    log "main"
    aio.yield()
    assert.equal("main other", log:text())
  end))

  it("in leaving a group whose children have ended", case(function()
    local log = helper.log()
    do
      local g <close> = aio.group()
      g:spawn(log, "child"):await()
      aio.spawn(log, "other")
    end
    log "left"
    aio.yield()
    assert.equal("child left other", log:text())
  end))
end)

describe("the at-once budget", function()
  -- Counts waits that complete at once until another task has had a turn.
  local function until_other_runs(wait)
    local n, ran = 0, false
    aio.yield()
    aio.spawn(function() ran = true end)
    while not ran and n < 10000 do
      wait()
      n = n + 1
    end
    return n
  end

  local f, ev = aio.future(), aio.event()
  f:resolve()
  ev:set()
  local ch

  local waits = {
    ["await"] = function() f:await() end,
    ["join"] = function() f:join() end,
    ["event:wait"] = function() ev:wait() end,
    ["channel:put, get"] = function()
      ch:put(1)
      ch:get()
    end,
    ["aio.wait"] = function() aio.wait { f } end,
  }

  for name, wait in pairs(waits) do
    it("lets others run among many of " .. name, case(function()
      ch = aio.channel(1)
      local n = until_other_runs(wait)
      assert.is_true(n >= 20 and n <= 64, n)
    end))
  end

  it("goes to the tail once, then starts anew", case(function()
    local turns, stop = 0, false
    local other = aio.spawn(function()
      while not stop do
        turns = turns + 1
        aio.yield()
      end
    end)
    for _ = 1, 640 do
      f:await()
    end
    stop = true
    other:await()
    assert.is_true(turns >= 9 and turns <= 12, turns)
  end))

  it("is not spent across switches", case(function()
    local log = helper.log()
    for i = 1, 5 do
      for _ = 1, 40 do
        f:await()
      end
      aio.spawn(log, "other" .. i)
      log("main" .. i)
      aio.yield()
    end
    assert.equal("main1 other1 main2 other2 main3 other3 main4 other4 "
      .. "main5 other5", log:text())
  end))
end)

describe("timers", function()
  it("fire though something is always ready", helper.real(function()
    local stop = false
    local busy = aio.spawn(function()
      while not stop do
        aio.yield()
      end
    end)
    aio.sleep(0.02)
    stop = true
    assert.is_true((busy:join()))
  end))
end)
