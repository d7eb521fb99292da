-- The loop object: callbacks, the clock, numbers.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local raised, has, values = helper.raised, helper.has, helper.values
local case, bare = helper.case, helper.bare

describe("aio.loop()", function()
  it("is one object everywhere", case(function()
    local loop = aio.loop()
    local inside = {}
    inside[1] = aio.spawn(aio.loop):await()
    inside[2] = loop:call_soon(aio.loop):await()
    inside[3] = aio.coroutine.wrap(aio.loop)()
    for _, other in ipairs(inside) do
      assert.equal(loop, other)
    end
    assert.equal(3, #inside)
  end))

  it("is the same after a run", bare(function()
    local loop = aio.loop()
    assert.equal(loop, aio.run(aio.loop))
    assert.equal(loop, aio.loop())
  end))
end)

describe("call_soon", function()
  it("calls with its arguments, nils too", case(function()
    local got
    aio.loop():call_soon(function(...) got = table.pack(...) end, 1, nil, 3,
      nil):await()
    values({ 1, nil, 3, nil, n = 4 }, table.unpack(got, 1, got.n))
  end))

  it("never calls at once", case(function()
    local log = helper.log()
    aio.loop():call_soon(log, "called")
    log "registered"
    aio.yield()
    assert.equal("registered called", log:text())
  end))

  it("calls in order, among tasks as well", case(function()
    local log = helper.log()
    local loop = aio.loop()
    loop:call_soon(log, 1)
    aio.spawn(log, 2)
    loop:call_soon(log, 3)
    aio.spawn(log, 4)
    aio.yield()
    assert.equal("1 2 3 4", log:text())
  end))

  it("is a future of the returns", case(function()
    local cb = aio.loop():call_soon(function() return 1, nil, nil end)
    assert.is_true(aio.is_awaitable(cb))
    values({ "pending" }, cb:peek())
    values({ 1, nil, nil, n = 3 }, cb:await())
    values({ "ok", 1, nil, nil, n = 4 }, cb:peek())
    values({ true, 1, nil, nil, n = 4 }, cb:join())
  end))

  it("is a future that fails if the function does", case(function()
    local e = {}
    local cb = aio.loop():call_soon(error, e)
    assert.equal(e, raised(cb.await, cb))
    values({ "failed", e }, cb:peek())
  end))

  it("may queue more, which wait for the next turn", case(function()
    local log = helper.log()
    local loop = aio.loop()
    loop:call_soon(function()
      log "a"
      loop:call_soon(log, "c")
    end)
    loop:call_soon(log, "b")
    testing.settle()
    assert.equal("a b c", log:text())
  end))

  it("sees no task as current but itself as none", case(function()
    local seen = "unset"
    aio.loop():call_soon(function() seen = aio.task() end):await()
    assert.is_nil(seen)
  end))

  it("may spawn", case(function()
    local t = aio.loop():call_soon(aio.spawn, function()
      aio.sleep(1)
      return "x"
    end):await()
    assert.equal("x", t:await())
  end))

  it("refuses a wait inside, whatever the wait", case(function()
    local ch, ev, f = aio.channel(1), aio.event(), aio.future()
    for _, wait in ipairs {
      function() aio.sleep(1) end, aio.yield, function() ch:get() end,
      function() ev:wait() end, function() f:await() end,
      function() f:join() end, function() aio.wait { f } end,
      function() aio.all(print) end,
    } do
      local cb = aio.loop():call_soon(wait)
      has("callback", raised(cb.await, cb))
    end
    assert.equal(0, #ch)
  end))

  it("needs something to call", case(function()
    local loop = aio.loop()
    raised(loop.call_soon, loop)
    raised(loop.call_soon, loop, 1)
    raised(loop.call_later, loop, 1)
    raised(loop.call_at, loop, 1, {})
  end))
end)

describe("call_later", function()
  it("calls in order of time", case(function()
    local log = helper.log()
    local loop = aio.loop()
    loop:call_later(3, log, "c")
    loop:call_later(1, log, "a")
    loop:call_later(2, log, "b")
    aio.sleep(4)
    assert.equal("a b c", log:text())
  end))

  it("calls after the time given", case(function()
    local before = aio.now()
    local at = aio.loop():call_later(2.5, aio.now):await()
    assert.is_true(math.abs(at - before - 2.5) < 1e-6)
  end))

  it("calls in order of creation at equal times", case(function()
    local log = helper.log()
    for i = 1, 20 do
      aio.loop():call_later(1, log, i)
    end
    aio.sleep(2)
    assert.equal("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20",
      log:text())
  end))

  it("takes a negative delay for 0", case(function()
    local before = aio.now()
    assert.equal(before, aio.loop():call_later(-5, aio.now):await())
    assert.equal(before, aio.loop():call_later(0, aio.now):await())
    assert.equal(before,
      aio.loop():call_later(-math.huge, aio.now):await())
  end))

  it("raises for NaN", case(function()
    local loop = aio.loop()
    raised(loop.call_later, loop, 0 / 0, print)
    raised(loop.call_at, loop, 0 / 0, print)
    raised(loop.call_later, loop, "x", print)
  end))

  it("with math.huge is never called", case(function()
    local cb = aio.loop():call_later(math.huge, error)
    aio.sleep(1e5)
    values({ "pending" }, cb:peek())
    cb:cancel()
  end))

  it("calls though nobody holds the callback", case(function()
    local called = false
    aio.loop():call_later(1, function() called = true end)
    collectgarbage()
    collectgarbage()
    aio.sleep(2)
    assert.is_true(called)
  end))

  it("lets go of function and arguments when called", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local value = {}
      weak[value] = true
      aio.loop():call_later(1, function() end, value)
      aio.loop():call_soon(function() return value end)
      aio.loop():call_later(100, function() return value end):cancel()
    end
    aio.sleep(2)
    helper.gone(weak)
  end))

  it("leaves no timer when called or cancelled", case(function()
    local loop = aio.loop()
    local before = loop:stats().timers
    local cb = loop:call_later(100, print)
    loop:call_later(1, function() end)
    assert.equal(before + 2, loop:stats().timers)
    cb:cancel()
    aio.sleep(2)
    assert.equal(before, loop:stats().timers)
  end))
end)

describe("call_at", function()
  it("calls at a time of the loop's clock", case(function()
    local loop = aio.loop()
    local at = loop:time() + 3
    assert.is_true(math.abs(
      loop:call_at(at, loop.time, loop):await() - at) < 1e-6)
  end))

  it("takes the ends of time", case(function()
    local loop = aio.loop()
    local now = loop:time()
    assert.equal(now, loop:call_at(-math.huge, loop.time, loop):await())
    local never = loop:call_at(math.huge, error)
    aio.sleep(1e5)
    assert.is_true(never:cancel())
  end))

  it("calls soon when the time has passed", case(function()
    local loop = aio.loop()
    local now = loop:time()
    assert.equal(now, loop:call_at(now - 10, loop.time, loop):await())
  end))
end)

describe("cancelling a callback", function()
  it("keeps it from being called", case(function()
    local log = helper.log()
    local loop = aio.loop()
    local soon = loop:call_soon(log, "soon")
    local later = loop:call_later(1, log, "later")
    assert.is_true(soon:cancel("why"))
    assert.is_true(later:cancel())
    aio.sleep(2)
    assert.equal("", log:text())
    values({ "cancelled", "why" }, soon:peek())
    assert.equal("cancelled", (later:peek()))
  end))

  it("is false the second time, and afterwards", case(function()
    local loop = aio.loop()
    local cb = loop:call_soon(function() return 1 end)
    local other = loop:call_later(1, print)
    assert.equal(1, cb:await())
    assert.is_false(cb:cancel())
    assert.is_true(other:cancel())
    assert.is_false(other:cancel())
    values({ "ok", 1 }, cb:peek())
  end))

  it("raises ECANCELED in who awaits it", case(function()
    local cb = aio.loop():call_later(100, print)
    local t = aio.spawn(function() return raised(cb.await, cb) end)
    testing.settle()
    cb:cancel("gone")
    local e = t:await()
    assert.equal("ECANCELED", e.code)
    assert.is_false(aio.is_cancelled(e))
  end))

  it("from a callback of the same turn", case(function()
    local log = helper.log()
    local loop = aio.loop()
    local second
    loop:call_soon(function()
      log "first"
      log(second:cancel())
    end)
    second = loop:call_soon(log, "second")
    testing.settle()
    assert.equal("first true", log:text())
  end))
end)

describe("time", function()
  it("is in seconds and does not go back", helper.real(function()
    local loop = aio.loop()
    local before = loop:time()
    assert.equal("float", math.type(before))
    aio.sleep(0.01)
    local after = loop:time()
    assert.is_true(after - before >= 0.01 and after - before < 5)
  end))
end)

describe("stats", function()
  it("counts tasks and timers", case(function()
    local loop = aio.loop()
    local before = loop:stats()
    local t = aio.spawn(aio.sleep, 10)
    testing.settle()
    local during = loop:stats()
    assert.equal(before.tasks + 1, during.tasks)
    assert.equal(before.timers + 1, during.timers)
    t:await()
    assert.equal(before.tasks, loop:stats().tasks)
    assert.equal(before.timers, loop:stats().timers)
  end))

  it("has handles and requests", case(function()
    local stats = aio.loop():stats()
    assert.equal("integer", math.type(stats.handles))
    assert.equal("integer", math.type(stats.requests))
  end))
end)
