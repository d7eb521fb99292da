-- Groups, scopes, generators and cancellation, all in one.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local raised, has, values = helper.raised, helper.has, helper.values
local failed, case = helper.failed, helper.case
local co = aio.coroutine

local function closing(fn)
  return setmetatable({}, { __close = fn })
end

describe("a group in a generator", function()
  it("is left before the generator yields", case(function()
    local log = helper.log()
    local gen = co.wrap(function()
      do
        local g <close> = aio.group()
        g:spawn(function()
          aio.sleep(1)
          log "child"
        end)
      end
      coroutine.yield "value"
    end)
    log(gen())
    assert.equal("child value", log:text())
  end))

  it("whose child fails raises in the generator", case(function()
    local e = {}
    assert.equal(e, raised(co.wrap(function()
      local g <close> = aio.group()
      g:spawn(error, e)
      aio.sleep(100)
    end)))
    assert.equal(e, raised(co.wrap(function()
      aio.group({}, function(g)
        g:spawn(error, e)
        aio.sleep(100)
      end)
    end)))
    assert.is_true(aio.sleep(1))
  end))

  it("left open at a yield is an error, and its children end",
    case(function()
      local child
      local t = aio.spawn(function()
        local gen = co.create(function()
          local g <close> = aio.group()
          child = g:spawn(aio.sleep, 100)
          coroutine.yield "too early"
        end)
        local ok, e = co.resume(gen)
        if ok then
          error "no error"
        end
        return tostring(e)
      end)
      t:join()
      testing.settle()
      assert.is_not.equal("pending", (child:peek()))
      assert.is_true(aio.sleep(1))
    end))

  it("is cancelled along with the task", case(function()
    local log = helper.log()
    local t = aio.spawn(function()
      for _ in co.wrap(function()
        local g <close> = aio.group()
        g:spawn(function()
          local e = raised(aio.sleep, 100)
          log("child", aio.is_cancelled(e))
          error(e)
        end)
        aio.sleep(100)
      end) do
      end
    end)
    testing.settle()
    t:cancel()
    t:join()
    assert.equal("child:true", log:text())
    assert.equal("cancelled", (t:peek()))
  end))
end)

describe("a timeout in a generator", function()
  it("that ends the wait leaves the generator usable", case(function()
    local gen = co.wrap(function()
      for i = 1, 3 do
        local _, _, code = aio.timeout(1, aio.sleep, 5)
        coroutine.yield(i .. code)
      end
    end)
    assert.equal("1ETIMEDOUT", gen())
    assert.equal("2ETIMEDOUT", gen())
    assert.equal("3ETIMEDOUT", gen())
  end))

  it("outside of it ends the generator", case(function()
    local log = helper.log()
    failed("ETIMEDOUT", aio.timeout(1, co.wrap(function()
      local _ <close> = closing(function() log "closed" end)
      aio.sleep(100)
    end)))
    assert.equal("closed", log:text())
  end))

  it("outside of it closes what is open on its way out, under resume too",
    case(function()
      local log = helper.log()
      local gen = co.create(function()
        local _ <close> = closing(function() log "closed" end)
        aio.sleep(100)
      end)
      failed("ETIMEDOUT", aio.timeout(1, function()
        local _, e = co.resume(gen)
        error(e)
      end))
      assert.equal("dead", co.status(gen))
      assert.equal("closed", log:text())
      assert.is_false((co.close(gen)))
      assert.equal("closed", log:text())
    end))

  it("lets __close wait in a shield on its way out", case(function()
    local log = helper.log()
    failed("ETIMEDOUT", aio.timeout(1, co.wrap(function()
      local _ <close> = closing(function()
        aio.shield(5, aio.sleep, 1)
        log "closed"
      end)
      aio.sleep(100)
    end)))
    assert.equal("closed", log:text())
  end))

  it("around a nested generator passes both", case(function()
    local inner = co.wrap(function() aio.sleep(100) end)
    local outer = co.wrap(function() inner() end)
    failed("ETIMEDOUT", aio.timeout(1, outer))
  end))
end)

describe("a shield in a group's child", function()
  it("holds against a failing sibling", case(function()
    local log, e = helper.log(), {}
    assert.equal(e, raised(aio.group, {}, function(g)
      g:spawn(function()
        aio.shield(50, aio.sleep, 5)
        log "whole"
      end)
      g:spawn(function()
        aio.sleep(1)
        error(e)
      end)
    end))
    assert.equal("whole", log:text())
  end))

  it("holds against the deadline around the group", case(function()
    local log = helper.log()
    local before = aio.now()
    failed("ETIMEDOUT", aio.timeout(1, function()
      local g <close> = aio.group()
      g:spawn(function()
        aio.shield(50, aio.sleep, 5)
        log "whole"
      end)
    end))
    assert.equal("whole", log:text())
    assert.is_true(aio.now() - before >= 5)
  end))
end)

describe("a service that fails while it is cancelled", function()
  it("is raised by the group", case(function()
    assert.equal("in clean-up", raised(aio.group, {}, function(g)
      g:service(function()
        pcall(aio.sleep, 100)
        error("in clean-up", 0)
      end)
      aio.yield()
    end))
  end))
end)

describe("groups inside groups", function()
  it("pass a failure up through all", case(function()
    local e, log = {}, helper.log()
    local function level(n)
      local g <close> = aio.group()
      local _ <close> = closing(function() log(n) end)
      if n == 0 then
        aio.sleep(1)
        error(e)
      end
      g:spawn(level, n - 1)
      aio.sleep(100)
    end
    assert.equal(e, raised(level, 3))
    assert.equal(4, #log)
  end))

  it("cancelled from the top end from the bottom", case(function()
    local log = helper.log()
    local function level(n)
      local _ <close> = closing(function() log(n) end)
      local g <close> = aio.group()
      if n > 0 then
        g:spawn(level, n - 1)
      end
      aio.sleep(100)
    end
    local t = aio.spawn(level, 3)
    testing.settle()
    t:cancel()
    t:join()
    assert.equal("0 1 2 3", log:text())
  end))
end)

describe("a child that was handed to the outside", function()
  it("awaited by another task raises its error there, too", case(function()
    local e, child = {}, nil
    local outside
    assert.equal(e, raised(aio.group, {}, function(g)
      child = g:spawn(function()
        aio.sleep(1)
        error(e)
      end)
      outside = aio.spawn(function() return raised(child.await, child) end)
      aio.sleep(100)
    end))
    assert.equal(e, outside:await())
  end))

  it("cancelled with its group raises ECANCELED there", case(function()
    local outside
    aio.group({}, function(g)
      local child = g:spawn(aio.sleep, 100)
      outside = aio.spawn(function() return raised(child.await, child) end)
      testing.settle()
      g:cancel "enough"
    end)
    local e = outside:await()
    assert.equal("ECANCELED", e.code)
    assert.equal("enough", e.reason)
  end))
end)

describe("an error while another unwinds", function()
  it("in __close of a group's body is the group's error", case(function()
    assert.equal("second", raised(aio.group, {}, function(g)
      g:spawn(aio.sleep, 100)
      local _ <close> = closing(function() error("second", 0) end)
      error("first", 0)
    end))
  end))

  it("in a child's __close while it is cancelled is raised",
    case(function()
      assert.equal("in close", raised(aio.group, {}, function(g)
        g:spawn(function()
          local _ <close> = closing(function() error("in close", 0) end)
          aio.sleep(100)
        end)
        aio.yield()
        g:cancel()
      end))
    end))
end)

describe("cancelling in odd places", function()
  it("a task from its own on_done does nothing", case(function()
    local t = aio.spawn(function() return 1 end)
    local cb
    cb = t:on_done(function(f) return f:cancel() end)
    assert.is_false(cb:await())
    values({ "ok", 1 }, t:peek())
  end))

  it("a group while it is iterated", case(function()
    local log = helper.log()
    aio.group({}, function(g)
      for _ = 1, 3 do
        g:spawn(aio.sleep, 100)
      end
      aio.loop():call_later(1, g.cancel, g)
      for task in g do
        log((task:peek()))
      end
    end)
    assert.equal("cancelled cancelled cancelled", log:text())
  end))

  it("a task by a child of its own group", case(function()
    local log = helper.log()
    local t
    t = aio.spawn(function()
      local g <close> = aio.group()
      g:spawn(function()
        t:cancel "by my child"
        log "asked"
      end)
      aio.sleep(100)
    end)
    t:join()
    assert.equal("asked", log:text())
    values({ "cancelled", "by my child" }, t:peek())
  end))

  it("a scope that is not the innermost", case(function()
    local log = helper.log()
    failed("ECANCELED", aio.scope({}, function(outer)
      failed("ECANCELED", aio.scope({}, function(inner)
        inner:cancel()
        aio.yield()
      end))
      log "after the inner"
      aio.scope({}, function()
        outer:cancel()
        aio.yield()
        log "never"
      end)
      log "never"
    end))
    assert.equal("after the inner", log:text())
  end))

  it("everything at once", case(function()
    local g <close> = aio.group()
    local ch, ev, f = aio.channel(1), aio.event(), aio.future()
    local list = {}
    for i, wait in ipairs {
      function() ch:get() end, function() ev:wait() end,
      function() f:await() end, function() aio.sleep(100) end,
      function() aio.all(function() f:await() end) end,
      function() aio.wait { f } end,
      function() co.wrap(function() aio.sleep(100) end)() end,
      function() aio.timeout(50, aio.sleep, 100) end,
    } do
      list[i] = g:spawn(wait)
    end
    testing.settle()
    g:cancel()
    f:resolve()
    ev:set()
    ch:try_put(1)
    g:wait()
    for _, t in ipairs(list) do
      assert.equal("cancelled", (t:peek()))
    end
    values({ true, 1 }, ch:try_get())
  end))
end)

describe("long chains", function()
  it("of tasks that await each other end well", case(function()
    local f = aio.future()
    local last = f
    local n = helper.many(2000)
    for _ = 1, n do
      local before = last
      last = aio.spawn(function() return before:await() + 1 end)
    end
    testing.settle()
    f:resolve(0)
    assert.equal(n, last:await())
  end))

  it("of failures, too", case(function()
    local e, f = {}, aio.future()
    local last = f
    for _ = 1, helper.many(500) do
      local before = last
      last = aio.spawn(function() return before:await() end)
    end
    testing.settle()
    f:fail(e)
    assert.equal(e, raised(last.await, last))
  end))

  it("of on_done callbacks", case(function()
    local n, last = 0, helper.many(1000)
    local function again(f)
      n = n + 1
      if n < last then
        f:on_done(again)
      end
    end
    local f = aio.future()
    f:on_done(again)
    f:resolve()
    testing.settle()
    assert.equal(last, n)
  end))
end)

describe("a used coroutine", function()
  it("is clean for the next task", case(function()
    local function deep(n) return n == 0 and aio.yield() or deep(n - 1) end
    for i = 1, 50 do
      local t = aio.spawn(function(...)
        local _ <close> = closing(function() end)
        if i % 3 == 0 then
          pcall(deep, 100)
          error "failed"
        elseif i % 3 == 1 then
          coroutine.yield(...)
        end
        return select("#", ...), ...
      end, table.unpack({}, 1, i))
      local ok, n = t:join()
      assert.equal(i % 3 ~= 0, ok)
      if ok then
        assert.equal(i, n)
      end
    end
  end))

  it("has no hook left from the last one", case(function()
    aio.spawn(function()
      debug.sethook(function() end, "l")
    end):await()
    for _ = 1, 3 do
      assert.is_nil((aio.spawn(debug.gethook):await()))
    end
  end))

  it("keeps nothing of the last one alive", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    for _ = 1, 5 do
      local value = {}
      weak[value] = true
      aio.spawn(function(v)
        local kept = { v, value }
        aio.yield()
        return #kept
      end, value):await()
    end
    aio.yield()
    helper.gone(weak)
  end))
end)

describe("many", function()
  it("tasks are spawned and awaited", case(function()
    local list, sum, n = {}, 0, helper.many(10000)
    for i = 1, n do
      list[i] = aio.spawn(function() return i end)
    end
    for i = 1, n do
      sum = sum + list[i]:await()
    end
    assert.equal(n * (n + 1) // 2, sum)
  end))

  it("sleepers wake in order", case(function()
    local g <close> = aio.group()
    local last, ok = -1, true
    for i = 1, helper.many(5000) do
      local s = i * 7919 % 5003 / 100
      g:spawn(function()
        aio.sleep(s)
        ok = ok and last <= s
        last = s
      end)
    end
    g:wait()
    assert.is_true(ok)
  end))

  it("messages go around a ring of tasks", case(function()
    local g <close> = aio.group()
    local first = aio.channel()
    local from = first
    local n = helper.many(50)
    for _ = 1, n do
      local here, to = from, aio.channel()
      g:spawn(function()
        for v in here do
          to:put(v + 1)
        end
        to:close()
      end)
      from = to
    end
    g:spawn(function()
      for i = 1, 20 do
        first:put(i)
      end
      first:close()
    end)
    local sum = 0
    for v in from do
      sum = sum + v
    end
    assert.equal(20 * n + 210, sum)
  end))

  it("use no memory once they are gone", case(function()
    local function round()
      local g <close> = aio.group()
      for i = 1, helper.many(500) do
        g:spawn(function()
          aio.timeout(5, aio.sleep, i / 1000)
        end)
      end
      g:wait()
    end
    local function used()
      collectgarbage()
      collectgarbage()
      return collectgarbage "count"
    end
    round()
    round()
    local before = used()
    for _ = 1, 10 do
      round()
    end
    assert.is_true(used() < before + 50)
  end))
end)

describe("the tree of a mixed program", function()
  it("shows each where it is", case(function()
    local g <close> = aio.group()
    local t = g:spawn(function()
      co.wrap(function()
        local inner <close> = aio.group()
        inner:spawn(aio.sleep, 5)
        aio.timeout(9, aio.sleep, 7)
      end)()
    end)
    t:name "mixed"
    testing.settle()
    has("mixed", helper.tree())
    has("sleep", helper.tree())
    t:cancel()
  end))
end)
