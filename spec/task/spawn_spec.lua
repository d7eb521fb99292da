-- Tasks: starting, ending, being looked at.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local raised, has, values = helper.raised, helper.has, helper.values
local case = helper.case

describe("spawn", function()
  it("never starts inside spawn", case(function()
    local log = helper.log()
    local t = aio.spawn(log, "task")
    log "main"
    t:await()
    assert.equal("main task", log:text())
  end))

  it("starts in spawn order", case(function()
    local log = helper.log()
    aio.spawn(function()
      log "a"
      aio.spawn(log, "c")
      aio.spawn(log, "d")
    end)
    aio.spawn(log, "b")
    testing.settle()
    assert.equal("a b c d", log:text())
  end))

  it("hands arguments over, nils too", case(function()
    values({ 1, nil, 3, nil, n = 4 }, aio.spawn(function(...)
      return ...
    end, 1, nil, 3, nil):await())
    values({ 0 }, aio.spawn(select, "#"):await())
  end))

  it("hands over many arguments and values", case(function()
    local list = {}
    for i = 1, 200 do
      list[i] = i
    end
    values(list, aio.spawn(function(...)
      aio.yield()
      return ...
    end, table.unpack(list)):await())
  end))

  it("takes C functions and callable objects", case(function()
    local callable = setmetatable({}, {
      __call = function(_, x) return x * 2 end,
    })
    assert.equal(8, aio.spawn(callable, 4):await())
    assert.equal(3, aio.spawn(math.max, 1, 3):await())
  end))

  it("refuses what cannot be called", case(function()
    for _, x in ipairs { 1, "print", {}, true } do
      raised(aio.spawn, x)
    end
    raised(aio.spawn)
    raised(aio.spawn, nil)
  end))

  it("starts a task that was cancelled before", case(function()
    local log = helper.log()
    local t = aio.spawn(function(file)
      log(file)
      local e = raised(aio.sleep, 1)
      log(aio.is_cancelled(e), e.reason)
      error(e)
    end, "file")
    assert.is_true(t:cancel "early")
    t:join()
    assert.equal("file true:early", log:text())
    values({ "cancelled", "early" }, t:peek())
  end))

  it("lets a cancelled task end well that never waits", case(function()
    local t = aio.spawn(function() return "done" end)
    t:cancel()
    values({ true, "done" }, t:join())
  end))

  it("works in a callback", case(function()
    local t
    aio.loop():call_soon(function()
      t = aio.spawn(function()
        aio.sleep(1)
        return "x"
      end)
    end):await()
    assert.equal("x", t:await())
  end))

  it("leaves all scopes", case(function()
    local t
    aio.timeout(1, function()
      t = aio.spawn(function()
        assert.is_true(aio.time_left() > 1)
        aio.sleep(5)
        return "untouched"
      end)
      aio.sleep(2)
    end)
    assert.equal("untouched", t:await())
  end))

  it("in a cancelled task makes a task that is not", case(function()
    local inner
    local t = aio.spawn(function()
      pcall(aio.sleep, 1)
      inner = aio.spawn(function()
        aio.sleep(1)
        return "free"
      end)
    end)
    t:cancel()
    t:join()
    assert.equal("free", inner:await())
  end))

  it("keeps the context's values", case(function()
    local var = aio.context.var("v", 0)
    local _ <close> = var:let(7)
    assert.equal(7, aio.spawn(var.get, var):await())
  end))

  it("anchors a task that nobody holds", case(function()
    local done = false
    aio.spawn(function()
      for _ = 1, 5 do
        aio.sleep(1)
        collectgarbage()
      end
      done = true
    end)
    aio.sleep(10)
    assert.is_true(done)
  end))

  it("lets go of a task that has ended", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    local t = aio.spawn(function() return {} end)
    weak[t] = true
    t:await()
    t = nil -- luacheck: ignore
    aio.yield()
    helper.gone(weak)
  end))

  it("lets go of the values when the task goes", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local value = {}
      weak[value] = true
      aio.spawn(function(v) return v end, value):await()
    end
    aio.yield()
    helper.gone(weak)
  end))
end)

describe("a task", function()
  it("is what aio.task returns inside", case(function()
    local t
    t = aio.spawn(function() return aio.task() == t end)
    assert.is_true(t:await())
  end))

  it("is current in generators and library code", case(function()
    local t
    t = aio.spawn(function()
      local me = aio.coroutine.wrap(aio.task)()
      local also = setmetatable({}, { __index = aio.task }).x
      return me == t, also == t
    end)
    values({ true, true }, t:await())
  end))

  it("is current again after others ran", case(function()
    local me = aio.task()
    aio.spawn(aio.yield)
    aio.sleep(1)
    assert.equal(me, aio.task())
  end))

  it("ends ok with its returns, nils too", case(function()
    local t = aio.spawn(function() return nil, 2, nil end)
    values({ "pending" }, t:peek())
    values({ true, nil, 2, nil, n = 4 }, t:join())
    values({ "ok", nil, 2, nil, n = 4 }, t:peek())
    values({ nil, 2, nil, n = 3 }, t:await())
  end))

  it("ends failed with its error", case(function()
    local e = {}
    local t = aio.spawn(error, e)
    values({ false, e }, t:join())
    values({ "failed", e }, t:peek())
  end))

  it("ends failed with the error nil", case(function()
    local t = aio.spawn(error, nil)
    values({ false, nil, n = 2 }, t:join())
    values({ "failed", nil, n = 2 }, t:peek())
  end))

  it("ends ok if it returns after a cancel", case(function()
    local t = aio.spawn(function()
      pcall(aio.sleep, 1)
      return "cleaned up"
    end)
    testing.settle()
    t:cancel()
    values({ "cleaned up" }, t:await())
  end))

  it("ends cancelled if its own Cancelled comes out", case(function()
    local t = aio.spawn(aio.sleep, 1)
    testing.settle()
    t:cancel "why"
    local ok, e = t:join()
    assert.is_false(ok)
    assert.equal("ECANCELED", e.code)
    values({ "cancelled", "why" }, t:peek())
  end))

  it("ends failed with any other error after a cancel", case(function()
    local t = aio.spawn(function()
      pcall(aio.sleep, 1)
      error("other", 0)
    end)
    testing.settle()
    t:cancel()
    values({ false, "other" }, t:join())
    values({ "failed", "other" }, t:peek())
  end))

  it("fails with a Cancelled that is not its own", case(function()
    local other = aio.spawn(function() return raised(aio.sleep, 1) end)
    other:cancel()
    local stolen = other:await()
    local t = aio.spawn(error, stolen)
    t:join()
    assert.equal("failed", (t:peek()))
  end))

  it("may end with a stack overflow, and the loop goes on", case(function()
    local function deep() return 1 + deep() end
    local ok, e = aio.spawn(deep):join()
    assert.is_false(ok)
    has("overflow", e)
    assert.is_true(aio.sleep(1))
  end))

  it("can be awaited again and again, by many", case(function()
    local t = aio.spawn(function()
      aio.sleep(1)
      return "v"
    end)
    local log = helper.log()
    local g <close> = aio.group()
    for i = 1, 3 do
      g:spawn(function() log(i .. t:await()) end)
    end
    g:wait()
    assert.equal("1v 2v 3v", log:text())
    assert.equal("v", t:await())
  end))
end)

describe("a name", function()
  it("can be given and read", case(function()
    local t = aio.spawn(aio.yield)
    t:name "reader"
    assert.equal("reader", t:name())
    local f = aio.future()
    f:name "answer"
    assert.equal("answer", f:name())
    t:await()
  end))

  it("is in info", case(function()
    local t = aio.spawn(aio.yield)
    t:name "reader"
    assert.equal("reader", t:info().name)
    t:await()
  end))

  it("must be a string", case(function()
    raised(aio.future().name, aio.future(), {})
  end))
end)

describe("traceback", function()
  local function inner() aio.sleep(1) end
  local function middle()
    inner()
    return 1
  end
  local function outer()
    middle()
    return 1
  end

  it("shows where a suspended task is", case(function()
    local t = aio.spawn(outer)
    testing.settle()
    local text = t:traceback()
    has("inner", text)
    has("middle", text)
    has("spawn_spec.lua", text)
    t:await()
  end))

  it("goes through generators", case(function()
    local function generate() outer() end
    local function consume() aio.coroutine.wrap(generate)() end
    local t = aio.spawn(function()
      consume()
      return 1
    end)
    testing.settle()
    local text = t:traceback()
    has("inner", text)
    has("consume", text)
    t:await()
  end))

  it("works for the running task", case(function()
    local function here() return aio.task():traceback() end
    local text = here()
    assert.equal("string", type(text))
    has("spawn_spec.lua", text)
  end))

  it("works before the start and after the end", case(function()
    local t = aio.spawn(outer)
    assert.equal("string", type(t:traceback()))
    t:await()
    local text = t:traceback()
    assert.is_true(text == nil or type(text) == "string")
  end))
end)

describe("info", function()
  it("is a table with what there is to know", case(function()
    local main = aio.task()
    local t = aio.spawn(aio.sleep, 5)
    t:name "sleeper"
    aio.sleep(2)
    local info = t:info()
    assert.is_not_nil(info.id)
    assert.equal("sleeper", info.name)
    assert.equal("string", type(info.state))
    has("sleep", info.waiting_on)
    assert.is_true(math.abs(aio.now() - info.since - 2) < 0.1)
    assert.are_not.equal(info.id, main:info().id)
    t:await()
  end))

  it("knows the parent of a group's child", case(function()
    local g <close> = aio.group()
    local child = g:spawn(aio.yield)
    local parent = child:info().parent
    assert.is_true(parent == aio.task() or parent == aio.task():info().id)
  end))

  it("tells in debug which line spawned the task", case(function()
    local here, t
    here = helper.here() t = aio.spawn(aio.yield)
    has(here, t:info().spawned_at)
    local g <close> = aio.group()
    here = helper.here() t = g:spawn(aio.yield)
    has(here, t:info().spawned_at)
  end, { debug = true }))

  it("tells states apart", case(function()
    local t
    t = aio.spawn(function()
      local running = t:info().state
      aio.sleep(1)
      return running
    end)
    local seen = {}
    local fresh = t:info().state
    testing.settle()
    local parked = t:info().state
    local running = t:await()
    for _, state in ipairs { fresh, parked, running, t:info().state } do
      seen[state] = true
    end
    assert.are_not.equal(running, parked)
    assert.are_not.equal(parked, t:info().state)
    assert.is_not_nil(next(seen))
  end))

  it("does not wait for anything once it has ended", case(function()
    local t = aio.spawn(function() end)
    t:await()
    assert.is_nil(t:info().waiting_on)
  end))
end)

describe("cancel", function()
  it("is true while the task has not ended", case(function()
    local t = aio.spawn(aio.sleep, 1)
    assert.is_true(t:cancel())
    t:join()
    assert.is_false(t:cancel())
  end))

  it("asks, and the task ends when its body does", case(function()
    local log = helper.log()
    local t = aio.spawn(function()
      pcall(aio.sleep, 100)
      aio.shield(10, aio.sleep, 1)
      log "body"
    end)
    testing.settle()
    t:cancel()
    values({ "pending" }, t:peek())
    t:join()
    log "joined"
    assert.equal("body joined", log:text())
  end))

  it("keeps the first reason", case(function()
    local t = aio.spawn(aio.sleep, 1)
    testing.settle()
    t:cancel "first"
    t:cancel "second"
    t:join()
    values({ "cancelled", "first" }, t:peek())
  end))

  it("of a task that has ended changes nothing", case(function()
    local t = aio.spawn(function() return 1 end)
    t:await()
    assert.is_false(t:cancel "late")
    values({ "ok", 1 }, t:peek())
  end))

  it("of oneself counts at the next wait", case(function()
    local log = helper.log()
    local t = aio.spawn(function()
      aio.task():cancel "self"
      log "still running"
      aio.yield()
      log "never"
    end)
    t:join()
    assert.equal("still running", log:text())
    values({ "cancelled", "self" }, t:peek())
  end))
end)

describe("awaiting oneself", function()
  it("raises at once", case(function()
    local t = aio.spawn(function()
      local me = aio.task()
      local before = aio.now()
      raised(me.await, me)
      raised(me.join, me)
      return aio.now() - before
    end)
    assert.equal(0, t:await())
  end))

  it("in a circle of two raises at once in the second", case(function()
    local a, b
    a = aio.spawn(function() return b:join() end)
    b = aio.spawn(function()
      local e = raised(a.await, a)
      return tostring(e)
    end)
    local ok, text = a:await()
    assert.is_true(ok)
    assert.equal("string", type(text))
  end))

  it("in a circle of three raises at once in the third", case(function()
    local a, b, c
    a = aio.spawn(function() return b:await() end)
    b = aio.spawn(function() return c:await() end)
    c = aio.spawn(function()
      raised(a.await, a)
      return "told"
    end)
    assert.equal("told", a:await())
  end))

  it("leaves those who form no circle alone", case(function()
    local a = aio.spawn(function()
      aio.sleep(1)
      return 1
    end)
    local b = aio.spawn(function() return a:await() + 1 end)
    local c = aio.spawn(function() return a:await() + b:await() end)
    assert.equal(3, c:await())
  end))
end)

describe("a task's coroutine", function()
  it("resumed from outside by the stock function stays as it was",
    case(function()
      local co
      local t = aio.spawn(function()
        co = coroutine.running()
        aio.sleep(1)
        return "unharmed"
      end)
      testing.settle()
      local ok, first, message = helper.stock.resume(co, "x")
      assert.is_true(ok)
      assert.is_false(first)
      assert.equal("string", type(message))
      assert.equal("unharmed", t:await())
    end))

  it("resumed by ours is refused", case(function()
    local co
    local t = aio.spawn(function()
      co = coroutine.running()
      aio.sleep(1)
      return "unharmed"
    end)
    testing.settle()
    local ok, message = aio.coroutine.resume(co, "x")
    assert.is_false(ok)
    assert.equal("string", type(message))
    assert.equal("unharmed", t:await())
  end))

  it("resumed again and again stays as it was", case(function()
    local co
    local t = aio.spawn(function()
      co = coroutine.running()
      local ch = aio.channel()
      aio.spawn(function() ch:put "v" end)
      return ch:get()
    end)
    testing.settle()
    for _ = 1, 3 do
      helper.stock.resume(co)
    end
    assert.equal("v", t:await())
  end))

  it("cannot be closed from outside", case(function()
    local co
    local t = aio.spawn(function()
      co = coroutine.running()
      aio.sleep(1)
      return "unharmed"
    end)
    testing.settle()
    pcall(aio.coroutine.close, co)
    assert.equal("unharmed", t:await())
  end))
end)
