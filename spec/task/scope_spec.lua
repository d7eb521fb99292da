-- Scopes, timeouts, shields.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local raised, has, values = helper.raised, helper.has, helper.values
local failed, case, bare = helper.failed, helper.case, helper.bare

describe("timeout", function()
  it("returns the function's values, nils too", case(function()
    values({ 1, nil, 3, nil, n = 4 }, aio.timeout(5, function(...)
      aio.sleep(1)
      return ...
    end, 1, nil, 3, nil))
  end))

  it("returns true where there are no values", case(function()
    values({ true }, aio.timeout(5, function() end))
  end))

  it("returns a single nil as it is", case(function()
    values({ nil, n = 1 }, aio.timeout(5, function() return nil end))
  end))

  it("returns nil, message, ETIMEDOUT when time is up", case(function()
    local before = aio.now()
    failed("ETIMEDOUT", aio.timeout(2, aio.sleep, 5))
    assert.is_true(math.abs(aio.now() - before - 2) < 1e-6)
  end))

  it("runs the function in this task", case(function()
    local me = aio.task()
    assert.equal(me, aio.timeout(5, aio.task))
  end))

  it("does not switch by itself", case(function()
    local log = helper.log()
    aio.spawn(log, "other")
    aio.timeout(5, log, "inside")
    log "after"
    aio.yield()
    assert.equal("inside after other", log:text())
  end))

  it("leaves no timer", case(function()
    local before = aio.loop():stats().timers
    aio.timeout(5, function() end)
    aio.timeout(1, aio.sleep, 5)
    pcall(aio.timeout, 5, error)
    assert.equal(before, aio.loop():stats().timers)
  end))

  it("raises the function's error unchanged", case(function()
    local e = {}
    assert.equal(e, raised(aio.timeout, 5, error, e))
    values({ false, nil, n = 2 }, pcall(aio.timeout, 5, error, nil))
  end))

  it("is late, not failed, if the body ends normally", case(function()
    values({ "done" }, aio.timeout(1, function()
      pcall(aio.sleep, 5)
      return "done"
    end))
  end))

  it("lets a body error after the deadline be that error", case(function()
    assert.equal("mine", raised(aio.timeout, 1, function()
      pcall(aio.sleep, 5)
      error("mine", 0)
    end))
  end))

  it("of zero or less cancels at the first wait", case(function()
    local log = helper.log()
    for _, s in ipairs { 0, -1, -math.huge } do
      failed("ETIMEDOUT", aio.timeout(s, function()
        log "before"
        aio.yield()
        log "never"
      end))
      values({ "no wait" }, aio.timeout(s, function() return "no wait" end))
    end
    assert.equal("before before before", log:text())
  end))

  it("of zero cancels also a wait that could complete at once",
    case(function()
      local f = aio.future()
      f:resolve(1)
      failed("ETIMEDOUT", aio.timeout(0, f.await, f))
    end))

  it("of nil or math.huge is no limit", case(function()
    for _, s in ipairs { math.huge, false } do
      values({ true }, aio.timeout(s or nil, function()
        aio.sleep(1e5)
      end))
    end
    local before = aio.time_left()
    aio.timeout(nil, function()
      assert.is_true(aio.time_left() <= before)
      assert.is_true(aio.time_left() > 1)
    end)
  end))

  it("of NaN raises", case(function()
    raised(aio.timeout, 0 / 0, function() end)
  end))

  it("needs a function", case(function()
    raised(aio.timeout, 1)
    raised(aio.timeout, 1, {})
    raised(aio.timeout, {}, print)
  end))

  it("nested: the inner one is reported inside", case(function()
    values({ "outer value" }, aio.timeout(5, function()
      failed("ETIMEDOUT", aio.timeout(1, aio.sleep, 100))
      return "outer value"
    end))
  end))

  it("nested: the outer one passes through the inner", case(function()
    local inner = "not returned"
    failed("ETIMEDOUT", aio.timeout(1, function()
      inner = aio.timeout(5, aio.sleep, 100)
    end))
    assert.equal("not returned", inner)
  end))

  it("nested with equal deadlines: the outer one, being first, wins",
    case(function()
      local inner = "not returned"
      failed("ETIMEDOUT", aio.timeout(1, function()
        inner = aio.timeout(1, aio.sleep, 100)
      end))
      assert.equal("not returned", inner)
    end))

  it("gives way to a cancellation of the task", case(function()
    local t = aio.spawn(function()
      aio.timeout(5, aio.sleep, 100)
      return "never"
    end)
    testing.settle()
    t:cancel "outside"
    t:join()
    values({ "cancelled", "outside" }, t:peek())
  end))

  it("after which the outside was cancelled too: the outside wins",
    case(function()
      local t
      t = aio.spawn(function()
        return (select(3, aio.timeout(1, function()
          pcall(aio.sleep, 100) -- its own deadline
          aio.task():cancel "outside"
          aio.sleep(1)
        end)))
      end)
      t:join()
      values({ "cancelled", "outside" }, t:peek())
    end))

  it("is not confused by another's Cancelled", case(function()
    local other = aio.spawn(function() return raised(aio.sleep, 9) end)
    other:cancel()
    local stolen = other:await()
    assert.equal(stolen, raised(aio.timeout, 5, error, stolen))
  end))

  it("is not confused by something awaited that was cancelled",
    case(function()
      local f = aio.future()
      f:cancel()
      local e = raised(aio.timeout, 5, f.await, f)
      assert.equal("ECANCELED", e.code)
    end))

  it("does not undo a wait that completed while parked",
    case(function(clock)
      local f = aio.future()
      local t = aio.spawn(aio.timeout, 1, f.await, f)
      testing.settle()
      f:resolve "in time"
      clock:advance(2) -- the deadline passes before the task has run
      values({ "in time" }, t:await())
    end))

  it("nests to 150 deep", case(function()
    local function nest(n)
      if n == 0 then
        aio.sleep(1)
        return "bottom"
      end
      return aio.timeout(5, nest, n - 1)
    end
    assert.equal("bottom", nest(150))
  end))

  it("nested too deep raises, and all is as before", case(function()
    local function nest() return aio.timeout(5, nest) end
    local before = aio.loop():stats().timers
    local ok, e = aio.spawn(nest):join()
    assert.is_false(ok)
    has("overflow", e)
    assert.equal(before, aio.loop():stats().timers)
  end))
end)

describe("a scope for the rest of the block", function()
  it("is passed through without a trace", case(function()
    local before = aio.loop():stats().timers
    do
      local _ <close> = aio.scope(5)
      aio.sleep(1)
    end
    assert.equal(before, aio.loop():stats().timers)
  end))

  it("raises ETIMEDOUT where its Cancelled comes out", case(function()
    local e = raised(function()
      local _ <close> = aio.scope(1)
      aio.sleep(5)
    end)
    assert.equal("ETIMEDOUT", e.code)
    assert.is_false(aio.is_cancelled(e))
    assert.is_true(aio.sleep(1))
  end))

  it("raises ECANCELED for its cancel", case(function()
    local e = raised(function()
      local s <close> = aio.scope {}
      aio.loop():call_later(1, s.cancel, s, "why")
      aio.sleep(5)
    end)
    assert.equal("ECANCELED", e.code)
    assert.is_false(aio.is_cancelled(e))
    assert.equal("why", e.reason)
  end))

  it("raises nothing of its own for a body that ends", case(function()
    local function body()
      local _ <close> = aio.scope(1)
      pcall(aio.sleep, 5)
      return 1, nil, 3
    end
    values({ 1, nil, 3, n = 3 }, body())
  end))

  it("lets a body's error pass", case(function()
    local e = {}
    assert.equal(e, raised(function()
      local _ <close> = aio.scope(1)
      pcall(aio.sleep, 5)
      error(e)
    end))
  end))

  it("gives way to an outer cancellation", case(function()
    failed("ETIMEDOUT", aio.timeout(1, function()
      local _ <close> = aio.scope(5)
      aio.sleep(100)
    end))
  end))

  it("takes options", case(function()
    local e = raised(function()
      local _ <close> = aio.scope { timeout = 1, name = "slow part" }
      aio.sleep(5)
    end)
    assert.equal("ETIMEDOUT", e.code)
  end))

  it("without a limit is one that can be cancelled", case(function()
    local s <close> = aio.scope {}
    assert.is_false(s:cancelled())
    s:cancel()
    assert.equal("ECANCELED", s:cancelled())
    raised(aio.yield)
  end))

  it("checks what it is given", case(function()
    raised(aio.scope, "x")
    raised(aio.scope, 0 / 0)
    raised(aio.scope, { timeout = "x" })
    raised(aio.scope, { timeout = 0 / 0 })
    raised(aio.scope, {}, "no function")
    assert.is_true(aio.sleep(1))
  end))

  it("nests without limit", case(function()
    local function nest(n)
      if n == 0 then
        aio.sleep(1)
        return "bottom"
      end
      local _ <close> = aio.scope(5)
      return (nest(n - 1))
    end
    assert.equal("bottom", nest(helper.many(2000)))
  end))

  it("nested: an inner cancellation stays inside", case(function()
    local outer <close> = aio.scope(50)
    raised(function()
      local _ <close> = aio.scope(1)
      aio.sleep(5)
    end)
    assert.is_false(outer:cancelled())
    assert.is_true(aio.sleep(1))
  end))

  it("may be closed twice", case(function()
    local s
    do
      local inner <close> = aio.scope(5)
      s = inner
    end
    local mt = debug.getmetatable(s)
    mt.__close(s, nil)
    assert.is_true(aio.sleep(1))
  end))
end)

describe("a scope with a function", function()
  it("returns its values, or true", case(function()
    values({ 1, nil, n = 2 }, aio.scope(5, function() return 1, nil end))
    values({ true }, aio.scope({}, function() end))
  end))

  it("hands itself over", case(function()
    values({ nil, n = 1 }, aio.scope({}, function(s)
      assert.is_false(s:cancelled())
      return nil
    end))
  end))

  it("returns nil, message, ETIMEDOUT", case(function()
    failed("ETIMEDOUT", aio.scope(1, function() aio.sleep(5) end))
    failed("ETIMEDOUT", aio.scope({ timeout = 1 }, function()
      aio.sleep(5)
    end))
  end))

  it("returns nil, message, ECANCELED after its cancel", case(function()
    failed("ECANCELED", aio.scope({}, function(s)
      aio.loop():call_soon(s.cancel, s)
      aio.sleep(5)
    end))
  end))

  it("raises the body's error", case(function()
    local e = {}
    assert.equal(e, raised(aio.scope, {}, function() error(e) end))
  end))
end)

describe("scope:cancel", function()
  it("reaches a wait from another task", case(function()
    local s
    local t = aio.spawn(function()
      return select(3, aio.scope({}, function(mine)
        s = mine
        aio.sleep(100)
      end))
    end)
    testing.settle()
    s:cancel()
    assert.equal("ECANCELED", t:await())
  end))

  it("reaches children of groups inside", case(function()
    local log = helper.log()
    failed("ECANCELED", aio.scope({}, function(s)
      local g <close> = aio.group()
      g:spawn(function()
        local e = raised(aio.sleep, 100)
        log(aio.is_cancelled(e), e.reason)
        error(e)
      end)
      aio.yield()
      s:cancel "all"
      g:wait()
    end))
    assert.equal("true:all", log:text())
  end))

  it("does not reach what is outside", case(function()
    local t = aio.spawn(function()
      aio.scope({}, function(s)
        s:cancel()
        aio.yield()
      end)
      aio.sleep(1)
      return "outside"
    end)
    assert.equal("outside", t:await())
  end))

  it("is a state: later calls change nothing", case(function()
    aio.scope({}, function(s)
      s:cancel "first"
      s:cancel "second"
      assert.equal("first", raised(aio.yield).reason)
      assert.equal("ECANCELED", s:cancelled())
    end)
  end))

  it("after the deadline does not change the code", case(function()
    failed("ETIMEDOUT", aio.scope(1, function(s)
      pcall(aio.sleep, 5)
      assert.equal("ETIMEDOUT", s:cancelled())
      s:cancel()
      assert.equal("ETIMEDOUT", s:cancelled())
      aio.sleep(1)
    end))
  end))

  it("after the scope was left does nothing", case(function()
    local s
    aio.scope({}, function(mine) s = mine end)
    s:cancel()
    assert.is_true(aio.sleep(1))
  end))

  it("from a callback", case(function()
    failed("ECANCELED", aio.scope({}, function(s)
      aio.loop():call_later(1, function() s:cancel() end)
      aio.sleep(5)
    end))
  end))
end)

describe("scope:expires", function()
  it("is the absolute time, or math.huge", case(function()
    local s <close> = aio.scope(5)
    assert.is_true(math.abs(s:expires() - aio.now() - 5) < 1e-6)
    local t <close> = aio.scope {}
    assert.equal(math.huge, t:expires())
  end))

  it("moves the deadline", case(function()
    local before = aio.now()
    failed("ETIMEDOUT", aio.scope(1, function(s)
      s:expires(aio.now() + 3)
      aio.sleep(100)
    end))
    assert.is_true(math.abs(aio.now() - before - 3) < 1e-6)
  end))

  it("may be moved by another while parked, both ways", case(function()
    local before = aio.now()
    failed("ETIMEDOUT", aio.scope(10, function(s)
      aio.loop():call_later(1, function() s:expires(aio.now() + 1) end)
      aio.sleep(100)
    end))
    assert.is_true(math.abs(aio.now() - before - 2) < 1e-6)
  end))

  it("with math.huge takes the deadline away", case(function()
    values({ "no limit" }, aio.scope(1, function(s)
      s:expires(math.huge)
      aio.sleep(100)
      return "no limit"
    end))
  end))

  it("in the past cancels at the next wait", case(function()
    failed("ETIMEDOUT", aio.scope(10, function(s)
      s:expires(aio.now() - 1)
      aio.yield()
    end))
  end))

  it("does not undo a cancellation", case(function()
    failed("ETIMEDOUT", aio.scope(1, function(s)
      pcall(aio.sleep, 5)
      s:expires(math.huge)
      aio.sleep(1)
    end))
  end))

  it("checks its argument", case(function()
    local s <close> = aio.scope(5)
    raised(s.expires, s, 0 / 0)
    raised(s.expires, s, "x")
  end))
end)

describe("time_left", function()
  it("is math.huge without a deadline", case(function()
    assert.equal(math.huge, aio.time_left())
  end, { deadline = false }))

  it("is that of the tightest deadline in force", case(function()
    aio.timeout(5, function()
      assert.is_true(math.abs(aio.time_left() - 5) < 1e-6)
      aio.timeout(2, function()
        assert.is_true(math.abs(aio.time_left() - 2) < 1e-6)
      end)
      aio.timeout(9, function()
        assert.is_true(math.abs(aio.time_left() - 5) < 1e-6)
      end)
      aio.sleep(1)
      assert.is_true(math.abs(aio.time_left() - 4) < 1e-6)
    end)
  end))

  it("counts in children of groups", case(function()
    aio.timeout(5, function()
      local g <close> = aio.group()
      local left = g:spawn(aio.time_left):await()
      assert.is_true(math.abs(left - 5) < 1e-6)
    end)
  end))

  it("ends at a shield", case(function()
    aio.timeout(5, function()
      aio.shield(50, function()
        local left = aio.time_left()
        assert.is_true(left > 5 and left <= 50, left)
      end)
    end)
  end))

  it("works at top level", bare(function()
    assert.equal(math.huge, aio.time_left())
    aio.timeout(5, function()
      assert.is_true(aio.time_left() <= 5)
    end)
  end))
end)

describe("shield", function()
  it("returns the function's values, or true", case(function()
    values({ 1, nil, n = 2 }, aio.shield(5, function() return 1, nil end))
    values({ true }, aio.shield(5, function() end))
    values({ true }, aio.shield(nil, aio.sleep, 1))
  end))

  it("keeps an outer cancellation away", case(function()
    local log = helper.log()
    local t = aio.spawn(function()
      values({ "whole" }, aio.shield(10, function()
        aio.sleep(5)
        log "finished"
        return "whole"
      end))
      aio.yield()
      log "never"
    end)
    testing.settle()
    t:cancel()
    t:join()
    assert.equal("finished", log:text())
    assert.equal("cancelled", (t:peek()))
  end))

  it("keeps one away that came before", case(function()
    local t = aio.spawn(function()
      pcall(aio.sleep, 1)
      return aio.shield(10, function()
        aio.sleep(1)
        return "shielded"
      end)
    end)
    t:cancel()
    assert.equal("shielded", t:await())
  end))

  it("keeps an outer deadline away", case(function()
    local log = helper.log()
    failed("ETIMEDOUT", aio.timeout(1, function()
      aio.shield(10, aio.sleep, 5)
      log "finished"
      aio.yield()
      log "never"
    end))
    assert.equal("finished", log:text())
  end))

  it("has a limit", case(function()
    local before = aio.now()
    failed("ETIMEDOUT", aio.shield(2, aio.sleep, 100))
    assert.is_true(math.abs(aio.now() - before - 2) < 1e-6)
  end))

  it("without a limit has the grace", case(function()
    local before = aio.now()
    failed("ETIMEDOUT", aio.shield(nil, aio.sleep, 100))
    assert.is_true(math.abs(aio.now() - before - 3) < 1e-6)
  end, { grace = 3 }))

  it("does not hinder scopes inside", case(function()
    values({ "ETIMEDOUT" }, aio.shield(10, function()
      return (select(3, aio.timeout(1, aio.sleep, 5)))
    end))
  end))

  it("covers children of groups opened inside", case(function()
    local log = helper.log()
    local t = aio.spawn(function()
      aio.shield(10, function()
        local g <close> = aio.group()
        g:spawn(function()
          aio.sleep(5)
          log "child"
        end)
      end)
    end)
    testing.settle()
    t:cancel()
    t:join()
    assert.equal("child", log:text())
  end))

  it("raises the function's error", case(function()
    local e = {}
    assert.equal(e, raised(aio.shield, 5, error, e))
  end))

  it("is an option of scopes, too", case(function()
    local log = helper.log()
    local t = aio.spawn(function()
      local _ <close> = aio.scope { shield = true, timeout = 10 }
      aio.sleep(5)
      log "finished"
    end)
    testing.settle()
    t:cancel()
    t:join()
    assert.equal("finished", log:text())
  end))

  it("checks what it is given", case(function()
    raised(aio.shield, "x", print)
    raised(aio.shield, 0 / 0, print)
    raised(aio.shield, 5)
  end))
end)

describe("a scope left open", function()
  it("when its task ends is an error naming the line", case(function()
    local here
    local t = aio.spawn(function()
      here = helper.here() aio.scope(5)
    end)
    local ok, e = t:join()
    assert.is_false(ok)
    has(here, e)
  end))

  it("by a failing task does not hide its error", case(function()
    local e = {}
    local t = aio.spawn(function()
      aio.scope(5)
      error(e)
    end)
    values({ false, e }, t:join())
  end))

  it("when an outer one closes is an error naming the line", case(function()
    local here
    local e = raised(function()
      local _ <close> = aio.scope(5)
      here = helper.here() aio.scope(5)
    end)
    has(here, e)
    assert.is_true(aio.sleep(1))
  end))

  it("when an outer function form returns, too", case(function()
    local here
    local e = raised(aio.timeout, 5, function()
      here = helper.here() aio.scope(5)
    end)
    has(here, e)
    assert.is_true(aio.sleep(10))
  end))

  it("is no more in force", case(function()
    local leaked
    pcall(function()
      local _ <close> = aio.scope(5)
      leaked = aio.scope(1)
    end)
    assert.is_true(aio.sleep(10))
    leaked:cancel()
    assert.is_true(aio.sleep(1))
  end))

  it("leaves no timer", case(function()
    local before = aio.loop():stats().timers
    aio.spawn(function() aio.scope(5) end):join()
    pcall(aio.timeout, 5, function() aio.scope(5) end)
    assert.equal(before, aio.loop():stats().timers)
  end))

  it("a group when its task ends, too, and its children end",
    case(function()
      local here, child
      local t = aio.spawn(function()
        here = helper.here() local g = aio.group()
        child = g:spawn(aio.sleep, 100)
        aio.yield()
      end)
      local ok, e = t:join()
      assert.is_false(ok)
      has(here, e)
      testing.settle()
      assert.equal("cancelled", (child:peek()))
    end))

  it("may not be closed by another task", case(function()
    local s
    local t = aio.spawn(function()
      local mine <close> = aio.scope(50)
      s = mine
      aio.sleep(5)
      return "unharmed"
    end)
    testing.settle()
    pcall(debug.getmetatable(s).__close, s, nil)
    assert.equal("unharmed", t:await())
  end))
end)

describe("equal deadlines", function()
  it("fire in order of creation", case(function()
    local log = helper.log()
    local g <close> = aio.group()
    for i = 1, 10 do
      g:spawn(function()
        aio.timeout(1, aio.sleep, 5)
        log(i)
      end)
    end
    g:wait()
    assert.equal("1 2 3 4 5 6 7 8 9 10", log:text())
  end))

  it("all fire before a task runs", case(function()
    local f = aio.future()
    local log = helper.log()
    local g <close> = aio.group()
    g:spawn(function()
      aio.timeout(1, aio.sleep, 5)
      f:resolve "too late"
    end)
    g:spawn(function() log(select(3, aio.timeout(1, f.await, f))) end)
    g:wait()
    assert.equal("ETIMEDOUT", log:text())
  end))
end)
