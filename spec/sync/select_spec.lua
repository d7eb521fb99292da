-- aio.select: exactly one of several operations is done.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local raised, values, has = helper.raised, helper.values, helper.has
local failed, case, bare = helper.failed, helper.case, helper.bare

-- A channel with room for what it holds.
local function filled(...)
  local ch = aio.channel(math.max(select("#", ...), 1))
  for _, v in ipairs { ... } do
    ch:put(v)
  end
  return ch
end

-- A task that selects once, and is waiting.
local function selecting(list)
  local t = aio.spawn(aio.select, list)
  testing.settle()
  return t
end

describe("select of what is ready", function()
  it("gets", case(function()
    local ch = aio.channel(1)
    ch:put("v", nil, 3)
    values({ 1, "v", nil, 3, n = 4 }, aio.select { ch:get_op() })
    assert.equal(0, #ch)
  end))

  it("puts", case(function()
    local ch = aio.channel(2)
    values({ 1, true }, aio.select { ch:put_op "v" })
    values({ 1, true }, aio.select { ch:put_op("a", nil, "c") })
    values({ "v" }, ch:get())
    values({ "a", nil, "c", n = 3 }, ch:get())
  end))

  it("gets from who waits to put, and puts to who waits to get", case(function()
    local ch, log = aio.channel(), helper.log()
    aio.spawn(function() log("put", ch:put("v", 2)) end)
    testing.settle()
    values({ 1, "v", 2 }, aio.select { ch:get_op() })
    aio.spawn(function() log("got", ch:get()) end)
    testing.settle()
    values({ 1, true }, aio.select { ch:put_op("w", 3) })
    testing.settle()
    assert.equal("put:true got:w:3", log:text())
  end))

  it("takes the oldest, and the value of who waits to put in its place",
    case(function()
      local ch = filled(1)
      aio.spawn(ch.put, ch, 2, nil)
      testing.settle()
      values({ 1, 1 }, aio.select { ch:get_op() })
      values({ 2, nil, n = 2 }, ch:get())
    end))

  it("awaits what is done", case(function()
    local f = aio.future()
    f:resolve(1, nil, 3)
    values({ 1, 1, nil, 3, n = 4 }, aio.select { f })
    local t = aio.spawn(function() end)
    t:join()
    values({ 2 }, aio.select { aio.future(), t })
  end))

  it("does no other", case(function()
    local a, b, c = filled(1), filled(2), aio.channel(1)
    aio.select { a:get_op(), b:get_op(), c:put_op(3) }
    assert.equal(1, #b)
    assert.equal(0, #c)
  end))

  it("does not switch", case(function()
    local log, ch = helper.log(), filled(1)
    aio.spawn(log, "other")
    aio.select { ch:get_op() }
    log "selected"
    aio.yield()
    assert.equal("selected other", log:text())
  end))

  it("gives way after many in a row", case(function()
    local ch, other = aio.channel(1000), false
    aio.spawn(function() other = true end)
    for i = 1, 200 do
      aio.select { ch:put_op(i) }
    end
    assert.is_true(other)
  end))
end)

describe("select of what is not ready", function()
  it("waits for a value", case(function()
    local a, b = aio.channel(), aio.channel()
    local t = selecting { a:get_op(), b:get_op() }
    assert.equal("waiting", t:info().state)
    assert.equal("select", t:info().waiting_on)
    values({ true }, b:try_put("v", nil))
    values({ false }, a:try_put "lost")
    values({ 2, "v", nil, n = 3 }, t:await())
  end))

  it("waits for room", case(function()
    local a, b = filled(1), filled(2)
    local t = selecting { a:put_op "a", b:put_op("b", "c") }
    assert.equal(2, b:get())
    values({ 2, true }, t:await())
    values({ "b", "c" }, b:get())
    assert.equal(1, a:get())
    assert.equal(0, #a + #b)
  end))

  it("waits for who gets", case(function()
    local a, b = aio.channel(), aio.channel()
    local t = selecting { a:put_op "a", b:put_op("b", "c") }
    values({ true, "b", "c" }, b:try_get())
    values({ false }, a:try_get())
    values({ 2, true }, t:await())
  end))

  it("waits for a future, a task, a callback", case(function()
    local f, ch = aio.future(), aio.channel()
    local t = selecting { ch:get_op(), f }
    f:resolve("v", nil)
    values({ 2, "v", nil, n = 3 }, t:await())
    values({ 2, 7 }, aio.select { ch:get_op(), aio.spawn(function()
      aio.sleep(1)
      return 7
    end) })
    values({ 1, 8 }, aio.select { aio.loop():call_later(1, math.abs, -8) })
    values({ false }, ch:try_put(1))
  end))

  it("waits for what has __await", case(function()
    local f = aio.future()
    local thing = setmetatable({}, { __await = function() return f end })
    local t = selecting { aio.future(), thing }
    f:resolve "v"
    values({ 2, "v" }, t:await())
  end))

  it("keeps its place among those who wait", case(function()
    local ch, log = aio.channel(), helper.log()
    aio.spawn(function() log(1, ch:get()) end)
    aio.spawn(function() log(2, aio.select { aio.future(), ch:get_op() }) end)
    aio.spawn(function() log(3, ch:get()) end)
    testing.settle()
    for i = 1, 3 do
      ch:put("v" .. i)
    end
    testing.settle()
    assert.equal("1:v1 2:2:v2 3:v3", log:text())
  end))

  it("works in generators", case(function()
    local ch = aio.channel()
    local t = aio.spawn(function()
      local gen = aio.coroutine.wrap(function()
        coroutine.yield(aio.select { aio.future(), ch:get_op() })
        coroutine.yield(aio.select { ch:put_op("w", 2), aio.future() })
      end)
      local i, v = gen()
      return i, v, gen()
    end)
    testing.settle()
    ch:put "v"
    values({ "w", 2 }, ch:get())
    values({ 2, "v", 1, true }, t:await())
  end))

  it("works in the main chunk", bare(function()
    local a, b = aio.channel(), filled(1)
    aio.spawn(function() a:put("v", 2) end)
    values({ 1, "v", 2 }, aio.select { a:get_op(), b:put_op "w" })
    aio.spawn(function() b:get() end)
    values({ 2, true }, aio.select { a:get_op(), b:put_op("w", "x") })
    values({ "w", "x" }, b:get())
    aio.spawn(function() a:close() end)
    values({ 1, nil, n = 2 }, aio.select { a:get_op(), b:get_op() })
    failed("ETIMEDOUT", aio.select { b:get_op(), timeout = 1 })
  end))

  it("works between main chunk and tasks, both selecting", bare(function()
    local a, b, f = aio.channel(), aio.channel(), aio.future()
    local t = aio.spawn(function() return aio.select { a:get_op(), f } end)
    values({ 2, true }, aio.select { b:put_op "b", a:put_op("a", 1) })
    values({ 1, "a", 1 }, t:await())
    t = aio.spawn(function() return aio.select { b:put_op("b", 2), f } end)
    values({ 2, "b", 2 }, aio.select { a:get_op(), b:get_op() })
    values({ 1, true }, t:await())
  end))
end)

describe("select among several that are ready", function()
  local function rounds(n, make)
    local log = helper.log()
    for _ = 1, n do
      log((aio.select(make())))
    end
    return log:text()
  end

  it("takes them in turn", case(function()
    local a, b, c = filled(1, 2), filled(1, 2), filled(1, 2)
    local list = { a:get_op(), b:get_op(), c:get_op() }
    assert.equal("1 2 3 1 2 3", rounds(6, function() return list end))
  end))

  it("takes them in turn with new operations as well", case(function()
    local a, b = filled(1, 2, 3), aio.channel(3)
    assert.equal("1 2 1 2 1 2", rounds(6, function()
      return { a:get_op(), b:put_op(1) }
    end))
  end))

  it("goes on after the last winner, which was not ready then", case(function()
    local a, b, c = aio.channel(1), aio.channel(1), aio.channel(1)
    local function list()
      return { a:get_op(), b:get_op(), c:get_op() }
    end
    local t = selecting(list())
    b:put(1)
    values({ 2, 1 }, t:await())
    a:put(1)
    b:put(1)
    c:put(1)
    assert.equal("3 1 2", rounds(3, list))
  end))

  it("skips what is not ready", case(function()
    local a, b, c = filled(1, 2), aio.channel(), filled(1, 2)
    assert.equal("1 3 1 3", rounds(4, function()
      return { a:get_op(), b:get_op(), c:get_op() }
    end))
  end))

  it("lets what stays done alternate with the rest", case(function()
    local f, ch = aio.future(), filled(1, 2)
    f:resolve()
    assert.equal("1 2 1 2", rounds(4, function() return { f, ch:get_op() } end))
  end))

  it("is not led astray by other selects in between", case(function()
    local a, b, c, d = filled(1, 2), filled(1, 2), filled(1, 2), filled(1, 2)
    local log = helper.log()
    for _ = 1, 4 do
      log((aio.select { a:get_op(), b:get_op() }))
      log((aio.select { c:get_op(), d:get_op() }))
    end
    assert.equal("1 1 2 2 1 1 2 2", log:text())
  end))
end)

describe("select with a timeout", function()
  it("returns nil, message, ETIMEDOUT when it is over", case(function()
    local ch, before = aio.channel(), aio.now()
    failed("ETIMEDOUT", aio.select { ch:get_op(), timeout = 1.5 })
    assert.is_true(math.abs(aio.now() - before - 1.5) < 1e-6)
    values({ false }, ch:try_put(1))
  end))

  it("of 0 or less only looks", case(function()
    local ch, before = filled(1), aio.now()
    values({ 1, 1 }, aio.select { ch:get_op(), timeout = 0 })
    failed("ETIMEDOUT", aio.select { ch:get_op(), timeout = 0 })
    failed("ETIMEDOUT", aio.select { ch:get_op(), timeout = -1 })
    assert.equal(before, aio.now())
  end))

  it("of 0 gives way to others at times", case(function()
    local f, n = aio.future(), 0
    aio.spawn(f.resolve, f)
    while not aio.select { f, timeout = 0 } do
      n = n + 1
    end
    assert.is_true(n > 0)
  end))

  it("leaves no timer when something came", case(function()
    local ch, before = aio.channel(), aio.loop():stats().timers
    local t = selecting { ch:get_op(), timeout = 10 }
    assert.equal(before + 1, aio.loop():stats().timers)
    ch:put "v"
    assert.equal(before, aio.loop():stats().timers)
    values({ 1, "v" }, t:await())
  end))

  it("loses nothing when something comes in the same turn", case(function()
    local ch, got = aio.channel(1), {}
    aio.loop():call_later(1, ch.try_put, ch, "v")
    local t = aio.spawn(function()
      got = table.pack(aio.select { ch:get_op(), timeout = 1 })
    end)
    t:await()
    assert.equal(got[1] == 1 and 0 or 1, #ch)
  end))

  it("of math.huge is none", case(function()
    local f = aio.future()
    local t = selecting { f, timeout = math.huge }
    f:resolve(1)
    values({ 1, 1 }, t:await())
  end))

  it("leaves sleep as it was", case(function()
    failed("ETIMEDOUT", aio.select { aio.future(), timeout = 1 })
    local before = aio.now()
    assert.is_true(aio.sleep(2))
    assert.is_true(math.abs(aio.now() - before - 2) < 1e-6)
  end))
end)

describe("select of an awaitable that failed", function()
  it("raises its error unchanged", case(function()
    local f, e, ch = aio.future(), {}, aio.channel()
    local t = selecting { ch:get_op(), f }
    f:fail(e)
    assert.equal(e, raised(t.await, t))
    assert.equal(e, raised(aio.select, { f }))
    values({ false }, ch:try_put(1))
  end))

  it("raises ECANCELED where it was cancelled", case(function()
    local f = aio.future()
    f:cancel "why"
    local e = raised(aio.select, { f })
    assert.equal("ECANCELED", e.code)
    assert.equal("why", e.reason)
    assert.is_false(aio.is_cancelled(e))
  end))

  it("counts as having looked at it, also later", case(function()
    local t = aio.spawn(function()
      aio.sleep(2)
      error "heard"
    end)
    failed("ETIMEDOUT", aio.select { t, timeout = 1 })
    aio.sleep(5) -- reported to nobody, or the case would fail
    assert.equal("failed", (t:peek()))
  end))
end)

describe("select of a closed channel", function()
  it("gets what is left, then nil", case(function()
    local ch = filled "v"
    ch:close()
    values({ 1, "v" }, aio.select { ch:get_op() })
    values({ 1, nil, n = 2 }, aio.select { ch:get_op() })
  end))

  it("returns what put does", case(function()
    local ch = aio.channel(1)
    ch:close()
    local index, value, message, code = aio.select { ch:put_op "v" }
    assert.equal(1, index)
    failed("ECLOSED", value, message, code)
  end))

  it("is told when that happens while it waits", case(function()
    local a, b, c = aio.channel(), aio.channel(), aio.channel()
    local t = selecting { a:get_op(), b:get_op() }
    b:close()
    values({ 2, nil, n = 2 }, t:await())
    t = selecting { a:get_op(), c:put_op "v" }
    c:close()
    local index, value, message, code = t:await()
    assert.equal(2, index)
    failed("ECLOSED", value, message, code)
    values({ false }, a:try_put(1))
  end))
end)

describe("two selects", function()
  it("match in exactly one pair", case(function()
    local a, b = aio.channel(), aio.channel()
    local puts = selecting { a:put_op "a", b:put_op "b" }
    local index, value = aio.select { b:get_op(), a:get_op() }
    local put = puts:await()
    assert.equal(put == 1 and "a" or "b", value)
    assert.equal(put == 1 and 2 or 1, index)
    values({ false }, a:try_get())
    values({ false }, b:try_get())
  end))

  it("match in one pair the other way round", case(function()
    local a, b = aio.channel(), aio.channel()
    local gets = selecting { a:get_op(), b:get_op() }
    local put = aio.select { b:put_op "b", a:put_op "a" }
    local index, value = gets:await()
    assert.equal(put == 1 and "b" or "a", value)
    assert.equal(put == 1 and 2 or 1, index)
    values({ false }, a:try_put(1))
    values({ false }, b:try_put(1))
  end))

  it("that both put and get on one channel match each other", case(function()
    local ch = aio.channel()
    local t = selecting { ch:put_op "first", ch:get_op() }
    values({ 1, true }, aio.select { ch:put_op "second", ch:get_op() })
    values({ 2, "second" }, t:await())
    values({ false }, ch:try_get())
  end))

  it("may wait for the same operation", case(function()
    local ch = aio.channel()
    local op, other = ch:get_op(), aio.future()
    local t1, t2 = selecting { op, other }, selecting { other, op }
    ch:put(1)
    ch:put(2)
    values({ 1, 1 }, t1:await())
    values({ 2, 2 }, t2:await())
  end))

  it("of the same future both win", case(function()
    local f = aio.future()
    local t1, t2 = selecting { f }, selecting { aio.future(), f }
    f:resolve "v"
    values({ 1, "v" }, t1:await())
    values({ 2, "v" }, t2:await())
  end))
end)

describe("one select", function()
  it("does not match itself", case(function()
    local ch = aio.channel()
    failed("ETIMEDOUT", aio.select { ch:put_op(1), ch:get_op(), timeout = 1 })
    values({ false }, ch:try_get())
  end))

  it("may have several operations on a channel", case(function()
    local ch = aio.channel()
    local t = selecting { ch:put_op "a", ch:put_op "b", ch:get_op() }
    assert.equal("a", ch:get())
    values({ 1, true }, t:await())
    values({ false }, ch:try_get())
  end))

  it("is told once when a channel is closed", case(function()
    local ch = aio.channel()
    local t = selecting { ch:get_op(), ch:put_op "a", ch:put_op "b" }
    ch:close()
    values({ 1, nil, n = 2 }, t:await())
  end))

  it("may have many operations", case(function()
    local list, n = {}, helper.many(1000)
    for i = 1, n do
      list[i] = aio.channel():get_op()
    end
    list[#list + 1] = aio.spawn(function() return "v" end)
    values({ n + 1, "v" }, aio.select(list))
  end))
end)

describe("an operation", function()
  it("can be used again and again", case(function()
    local ch = aio.channel(1)
    local put, get = ch:put_op("v", nil), ch:get_op()
    for _ = 1, 3 do
      values({ 1, true }, aio.select { put })
      values({ 1, "v", nil, n = 3 }, aio.select { get })
    end
  end))

  it("to put nil is refused", case(function()
    local ch = aio.channel(1)
    has("must not be nil", raised(ch.put_op, ch))
    has("must not be nil", raised(ch.put_op, ch, nil, 1))
    raised(ch.get_op, {})
    raised(ch.put_op, aio.event(), 1)
  end))

  it("cannot be awaited", case(function()
    local op = aio.channel(1):get_op()
    assert.is_false(aio.is_awaitable(op))
    raised(aio.await, op)
  end))
end)

describe("select refuses, and does nothing then,", function()
  local function refused(text, list)
    local ch = filled(1)
    if type(list) == "table" and #list > 0 then
      table.insert(list, 1, ch:get_op())
    end
    has(text, raised(aio.select, list))
    assert.equal(1, #ch)
  end

  it("what is no list of operations", case(function()
    refused("table expected", nil)
    refused("table expected", aio.channel():get_op())
    refused("there is no operation", {})
    refused("there is no operation", { timeout = 1 })
  end))

  it("items of other types", case(function()
    refused("item 2 is no operation and not awaitable (number)", { 5 })
    refused("item 3", { aio.future(), "x" })
    refused("perilune.channel", { aio.channel() })
  end))

  it("duplicates", case(function()
    local f, op = aio.future(), aio.channel():get_op()
    refused("item 3 is there twice", { f, f })
    refused("item 4 is there twice", { op, f, op })
    refused("item 3 is there twice",
      { f, setmetatable({}, { __await = function() return f end }) })
  end))

  it("other options, and a timeout that is none", case(function()
    refused("unknown option 'timout'", { aio.future(), timout = 1 })
    refused("unknown option 'true'", { aio.future(), [true] = 1 })
    refused("'timeout'", { aio.future(), timeout = "1" })
    refused("NaN", { aio.future(), timeout = 0 / 0 })
  end))

  it("to wait in a callback", case(function()
    local ch = filled(1)
    local ok, e = aio.loop():call_soon(pcall, aio.select, { ch:get_op() }):await()
    assert.is_false(ok)
    assert.equal("EPERM", e.code)
    assert.equal(1, #ch)
  end))
end)

describe("a cancelled select", function()
  it("does nothing when it was cancelled before", case(function()
    local ch, got = filled(1), nil
    local t = aio.spawn(function()
      got = table.pack(pcall(aio.select, { ch:get_op(), aio.future() }))
    end)
    t:cancel()
    t:join()
    assert.is_true(aio.is_cancelled(got[2]))
    assert.equal(1, #ch)
  end))

  it("loses nothing and is in nobody's way", case(function()
    local a, b, f = aio.channel(), aio.channel(1), aio.future()
    b:put "full"
    local t = selecting { a:get_op(), b:put_op "b", f, timeout = 100 }
    t:cancel()
    assert.equal("cancelled", (select(2, t:join(), t:peek())))
    values({ false }, a:try_put(1))
    assert.equal("full", b:get())
    assert.equal(0, #b)
    f:resolve()
  end))

  it("keeps what it was given before", case(function()
    local ch, log = aio.channel(), helper.log()
    local t = aio.spawn(function()
      log(aio.select { aio.future(), ch:get_op() })
      aio.yield()
      log "never"
    end)
    testing.settle()
    ch:put "v"
    t:cancel()
    t:join()
    assert.equal("2:v", log:text())
  end))

  it("has put what was taken before", case(function()
    local ch, log = aio.channel(), helper.log()
    local t = aio.spawn(function()
      log(aio.select { ch:put_op "v", aio.future() })
      aio.yield()
    end)
    testing.settle()
    assert.equal("v", ch:get())
    t:cancel()
    t:join()
    assert.equal("1:true", log:text())
  end))

  it("obeys a timeout around it", case(function()
    local ch = aio.channel()
    for _ = 1, 20 do
      failed("ETIMEDOUT", aio.timeout(0.1, aio.select, { ch:get_op() }))
    end
    values({ false }, ch:try_put(1))
  end))

  it("by a deadlock says so", bare(function()
    local e = raised(aio.run, aio.select, { aio.channel():get_op() })
    assert.equal("EDEADLK", e.code)
    has("select", e)
  end))
end)

describe("nothing is kept", function()
  it("by select of what it waited for", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    local keep = aio.future()
    do
      local ch, value = aio.channel(), {}
      weak[ch], weak[value] = true, true
      failed("ETIMEDOUT", aio.select { ch:put_op(value), keep, timeout = 1 })
      aio.spawn(ch.put, ch, value)
      aio.select { keep, ch:get_op() }
    end
    aio.yield()
    helper.gone(weak)
    keep:resolve()
  end))

  it("by a future that stays pending", case(function()
    local keep = aio.future()
    local function round()
      for _ = 1, helper.many(200) do
        aio.select { keep, timeout = 0.1 }
      end
      collectgarbage()
      collectgarbage()
      return collectgarbage "count"
    end
    round()
    local before = round()
    assert.is_true(round() - before < 20)
  end))

  it("but what a select waits for", case(function()
    local weak = setmetatable({}, { __mode = "v" })
    local t = aio.spawn(function()
      local op
      do
        local ch = aio.channel()
        weak.ch, op = ch, ch:get_op()
      end
      return aio.select { op }
    end)
    testing.settle()
    collectgarbage()
    collectgarbage()
    weak.ch:put "v"
    values({ 1, "v" }, t:await())
  end))
end)

describe("a task that selects and whose coroutine is closed by others",
  function()
    local function closed(make)
      local thread
      local t = aio.spawn(function()
        thread = helper.stock.running()
        return aio.select(make())
      end)
      testing.settle()
      helper.stock.close(thread)
      return t
    end

    local function quiet(fn)
      return case(fn, { patch = false, on_error = function() end })
    end

    it("gets and puts nothing", quiet(function()
      local a, b = aio.channel(), aio.channel()
      local t = closed(function() return { a:get_op(), b:put_op(1) } end)
      values({ false }, a:try_put(1))
      values({ false }, b:try_get())
      assert.is_false((t:join()))
    end))

    it("ends when nobody holds what it waited for", quiet(function()
      local t = closed(function()
        return { aio.channel():get_op(), aio.channel():put_op(1) }
      end)
      collectgarbage()
      collectgarbage()
      assert.is_false((t:join()))
    end))
  end)

-- Tasks put numbers into channels and take them out, in selects and else, in
-- random orders and with cancellations: nothing is lost, nothing is doubled.
describe("any schedule", function()
  local function scenario(random, size)
    local chs, put, got, tasks = {}, {}, {}, {}
    for i = 1, 3 do
      chs[i] = aio.channel(size)
    end
    local function producer(id)
      for i = 1, 6 do
        local v, a, b = id * 100 + i, chs[random(3)], chs[random(3)]
        put[v] = "maybe"
        local ok
        if random(3) == 1 then
          ok = a:put(v)
        elseif a == b then
          ok = select(2, aio.select { a:put_op(v), aio.future() })
        else
          ok = select(2, aio.select { a:put_op(v), b:put_op(v, v) })
        end
        put[v] = ok
      end
    end
    local function take(v, again)
      assert(again == nil or again == v)
      if v then
        got[v] = (got[v] or 0) + 1
      end
      return v
    end
    local function consumer()
      local open = true
      while open do
        if random(3) == 1 then
          open = take(chs[random(3)]:get())
        else
          local _, v, again = aio.select {
            chs[1]:get_op(), chs[2]:get_op(), chs[3]:get_op(),
            timeout = random(4) == 1 and random() or nil }
          open = take(v, again) or _ == nil
        end
      end
    end
    for id = 1, 3 do
      tasks[id] = aio.spawn(producer, id)
    end
    local consumers = { aio.spawn(consumer), aio.spawn(consumer), aio.spawn(consumer) }
    for _ = 1, random(40) do
      aio.yield()
    end
    -- One of each is cancelled somewhere on the way.
    tasks[random(3)]:cancel()
    consumers[random(2)]:cancel()
    local third = consumers[3]
    aio.wait(tasks, { timeout = 5 })
    if third:peek() ~= "pending" then
      consumers[4] = aio.spawn(consumer)
    end
    aio.wait(tasks, { timeout = 50 })
    for _, t in ipairs(tasks) do
      t:cancel()
    end
    aio.wait(tasks)
    for _, ch in ipairs(chs) do
      for v, again in function()
        local _, v, again = ch:try_get()
        return v, again
      end do
        take(v, again)
      end
      ch:close()
    end
    aio.wait(consumers)
    for _, t in ipairs(consumers) do
      assert(t:peek() ~= "failed", select(2, t:peek()))
    end
    for v, n in pairs(got) do
      assert(n == 1, v .. " came twice")
      assert(put[v], v .. " came although it was not put")
    end
    for v, state in pairs(put) do
      assert(state ~= true or got[v], v .. " was lost")
    end
  end

  for _, size in ipairs { 0, 1, 3 } do
    it("keeps what is put, with a buffer of " .. size, case(function()
      for seed = 1, helper.many(200) do
        testing.shuffle(seed)
        math.randomseed(seed)
        scenario(math.random, size)
      end
      testing.shuffle()
    end))
  end
end)

-- The main task of each run is cancelled at each of its waits in turn.
describe("a select that is cancelled anywhere", function()
  it("has taken a value or has not, and put one or not", function()
    testing.explore {
      seeds = helper.many(30),
      scenario = function()
        local a, b, n = aio.channel(), aio.channel(1), 0
        local other = aio.spawn(function()
          for i = 1, 4 do
            aio.select { a:put_op(i), b:put_op(i) }
          end
        end)
        local ok, e = pcall(function()
          for _ = 1, 4 do
            n = n + (aio.select { a:get_op(), b:get_op() } and 1 or 0)
          end
        end)
        assert(ok or aio.is_cancelled(e), e)
        aio.shield(nil, function()
          while n < 4 do
            n = n + (aio.select { a:get_op(), b:get_op(), timeout = 1 } and 1 or 5)
          end
          assert(n == 4, "a value was lost or doubled")
          assert(not a:try_get() and not b:try_get(), "a value was doubled")
          other:join()
        end)
      end,
    }
  end)
end)
