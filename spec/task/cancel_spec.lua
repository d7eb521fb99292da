-- Cancellation is a state of a scope: what a wait makes of it.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local raised, values, case = helper.raised, helper.values, helper.case

-- Every way to wait: `make` returns a function that parks, a function that
-- completes the wait, and one that looks whether nothing has happened.
local waits = {
  ["sleep"] = function()
    local before = aio.loop():stats().timers
    return function() return aio.sleep(50) end, nil, function()
      assert.equal(before, aio.loop():stats().timers)
    end
  end,
  ["future:await"] = function()
    local f = aio.future()
    return function() return f:await() end,
      function() f:resolve "value" end,
      function() assert.is_true(f:resolve()) end
  end,
  ["future:join"] = function()
    local f = aio.future()
    return function() return f:join() end,
      function() f:fail "value" end,
      function() assert.is_true(f:resolve()) end
  end,
  ["aio.await of an object"] = function()
    local f = aio.future()
    local x = setmetatable({}, { __await = function() return f end })
    return function() return aio.await(x) end,
      function() f:resolve "value" end,
      function() assert.is_true(f:resolve()) end
  end,
  ["task:await"] = function()
    local f = aio.future()
    local t = aio.spawn(f.await, f)
    return function() return t:await() end,
      function() f:resolve "value" end,
      function()
        assert.equal("pending", (t:peek()))
        f:resolve "later"
        assert.equal("later", t:await())
      end
  end,
  ["callback:await"] = function()
    local cb = aio.loop():call_later(40, function() return "value" end)
    return function() return cb:await() end,
      function() aio.sleep(41) end,
      function()
        assert.equal("pending", (cb:peek()))
        cb:cancel()
      end
  end,
  ["event:wait"] = function()
    local ev = aio.event()
    return function() return ev:wait() end,
      function() ev:set() end,
      function() assert.is_false(ev:is_set()) end
  end,
  ["channel:get"] = function()
    local ch = aio.channel()
    return function() return ch:get() end,
      function() ch:put "value" end,
      function() values({ false }, ch:try_put "x") end
  end,
  ["channel:put"] = function()
    local ch = aio.channel()
    return function() return ch:put "mine" end,
      function() ch:get() end,
      function() values({ false }, ch:try_get()) end
  end,
  ["channel:put, full"] = function()
    local ch = aio.channel(1)
    ch:try_put "first"
    return function() return ch:put "mine" end,
      function() ch:get() end,
      function()
        values({ true, "first" }, ch:try_get())
        values({ false }, ch:try_get())
      end
  end,
  ["aio.wait"] = function()
    local f = aio.future()
    return function() return #aio.wait { f } end,
      function() f:resolve() end,
      function() assert.is_true(f:resolve()) end
  end,
  ["aio.all"] = function()
    local f = aio.future()
    return function() return aio.all(function() return f:await() end) end,
      function() f:resolve "value" end,
      function() assert.is_true(f:resolve()) end
  end,
  ["aio.map"] = function()
    local f = aio.future()
    return function()
      return #aio.map({ 1 }, function() return f:await() end)
    end, function() f:resolve "value" end,
      function() assert.is_true(f:resolve()) end
  end,
  ["group:wait"] = function()
    local f = aio.future()
    return function()
      local g <close> = aio.group()
      g:spawn(f.await, f)
      return g:wait()
    end, function() f:resolve() end,
      function() assert.is_true(f:resolve()) end
  end,
  ["leaving a group"] = function()
    local f = aio.future()
    return function()
      return aio.group({}, function(g) g:spawn(f.await, f) end)
    end, function() f:resolve() end,
      function() assert.is_true(f:resolve()) end
  end,
  ["group:start"] = function()
    local f = aio.future()
    return function()
      local g <close> = aio.group()
      return g:start(function(started) started(f:await()) end)
    end, function() f:resolve "value" end,
      function() assert.is_true(f:resolve()) end
  end,
  ["iterating a group"] = function()
    local f = aio.future()
    return function()
      local g <close> = aio.group()
      g:spawn(f.await, f)
      for _ in g do end
    end, function() f:resolve() end,
      function() assert.is_true(f:resolve()) end
  end,
  ["iterating a channel"] = function()
    local ch = aio.channel()
    return function()
      for v in ch do -- luacheck: ignore 512
        return v
      end
    end,
      function() ch:put "value" end,
      function() values({ false }, ch:try_put "x") end
  end,
}

for name, make in pairs(waits) do
  describe("cancelling " .. name, function()
    it("while parked raises Cancelled, and nothing happened", case(function()
      local park, _, check = make()
      local t = aio.spawn(park)
      testing.settle()
      assert.equal("pending", (t:peek()))
      assert.is_true(t:cancel "why")
      testing.settle()
      values({ "cancelled", "why" }, t:peek())
      check()
    end))

    it("before it is entered raises, nothing tried", case(function()
      local park, complete, check = make()
      local t = aio.spawn(park)
      t:cancel "why"
      testing.settle()
      values({ "cancelled", "why" }, t:peek())
      assert.is_true(complete == nil or type(complete) == "function")
      check()
    end))

    it("after a second one parked leaves that alone", case(function()
      local park, complete = make()
      if name:find "put" or name:find "await" or name:find "join" then
        local first = aio.spawn(park)
        local second = aio.spawn(park)
        testing.settle()
        first:cancel()
        testing.settle()
        assert.equal("cancelled", (first:peek()))
        complete()
        if name == "channel:put, full" then
          complete()
        end
        testing.settle()
        assert.are_not.equal("pending", (second:peek()))
        assert.are_not.equal("cancelled", (second:peek()))
      else
        local first = aio.spawn(park)
        testing.settle()
        first:cancel()
        first:join()
        assert.equal("cancelled", (first:peek()))
      end
    end))

    it("by a deadline is a timeout, and nothing happened", case(function()
      local park, _, check = make()
      helper.failed("ETIMEDOUT", aio.timeout(1, park))
      check()
    end))
  end)
end

-- Those where one call completes the wait.
for _, name in ipairs { "future:await", "future:join", "task:await",
  "event:wait", "channel:get", "channel:put", "channel:put, full",
  "aio.wait", "iterating a channel", "aio.await of an object" } do
  it(name .. " that completed while parked keeps its value, though cancelled "
    .. "before it ran", case(function()
      local park, complete = waits[name]()
      local got
      local t = aio.spawn(function()
        got = table.pack(park())
        return raised(aio.yield)
      end)
      testing.settle()
      complete()
      if name == "task:await" then
        aio.yield() -- the inner task ends
        if t:peek() ~= "pending" then
          return assert.is_not_nil(got)
        end
      end
      t:cancel()
      local e = t:await()
      assert.is_not_nil(got)
      assert.is_true(got.n >= 1)
      assert.is_true(aio.is_cancelled(e))
    end))
end

describe("cancellation", function()
  it("comes before completion if it was first", case(function()
    local f = aio.future()
    local t = aio.spawn(f.await, f)
    testing.settle()
    t:cancel()
    f:resolve "late"
    assert.is_false((t:join()))
    assert.equal("cancelled", (t:peek()))
  end))

  it("comes again at every later wait", case(function()
    local n = 0
    local t = aio.spawn(function()
      for _ = 1, 5 do
        local e = raised(aio.sleep, 1)
        assert.is_true(aio.is_cancelled(e))
        n = n + 1
      end
    end)
    testing.settle()
    t:cancel()
    t:join()
    assert.equal(5, n)
  end))

  it("is checked though the wait could complete at once", case(function()
    local ch, ev, f = aio.channel(1), aio.event(), aio.future()
    ch:try_put "kept"
    ev:set()
    f:resolve(1)
    local t = aio.spawn(function()
      raised(ch.get, ch)
      raised(ev.wait, ev)
      raised(f.await, f)
      raised(f.join, f)
      raised(aio.wait, { f })
      raised(aio.yield)
      raised(aio.sleep, 0)
      return "all raised"
    end)
    t:cancel()
    assert.equal("all raised", t:await())
    values({ true, "kept" }, ch:try_get())
  end))

  it("does not disturb what is no wait", case(function()
    local t = aio.spawn(function()
      local ch, f = aio.channel(1), aio.future()
      assert.is_true(ch:try_put(1))
      values({ true, 1 }, ch:try_get())
      f:resolve(2)
      values({ "ok", 2 }, f:peek())
      assert.is_not_nil(aio.spawn(function() end))
      return "fine"
    end)
    t:cancel()
    assert.equal("fine", t:await())
  end))

  it("cannot freeze the program by being swallowed", case(function()
    local stop, n = false, 0
    local t = aio.spawn(function()
      while not stop do
        pcall(aio.sleep, 100)
        n = n + 1
      end
    end)
    testing.settle()
    t:cancel()
    for _ = 1, 10 do
      aio.yield()
    end
    stop = true
    t:join()
    assert.is_true(n <= 14, n)
  end))

  it("swallowed around a wait that completes at once costs a turn, too",
    case(function()
      local stop, n = false, 0
      local f = aio.future()
      f:resolve()
      local t = aio.spawn(function()
        while not stop do
          pcall(f.await, f)
          n = n + 1
        end
      end)
      t:cancel()
      for _ = 1, 10 do
        aio.yield()
      end
      stop = true
      t:join()
      assert.is_true(n <= 14, n)
    end))

  it("swallowed in pcall is not gone", case(function()
    local t = aio.spawn(function()
      pcall(aio.sleep, 100)
      aio.sleep(1)
      return "never"
    end)
    testing.settle()
    t:cancel()
    t:join()
    assert.equal("cancelled", (t:peek()))
  end))

  it("never cancels what is waited for", case(function()
    local f = aio.future()
    local inner = aio.spawn(function() return f:await() end)
    local outer = aio.spawn(function() return inner:await() end)
    testing.settle()
    outer:cancel()
    outer:join()
    f:resolve "v"
    assert.equal("v", inner:await())
  end))

  it("of a task is raised as ECANCELED in who awaits it", case(function()
    local inner = aio.spawn(aio.sleep, 100)
    local outer = aio.spawn(function()
      local e = raised(inner.await, inner)
      aio.sleep(1) -- not cancelled itself
      return e
    end)
    testing.settle()
    inner:cancel "gone"
    local e = outer:await()
    assert.equal("ECANCELED", e.code)
    assert.is_false(aio.is_cancelled(e))
    assert.equal("gone", e.reason)
  end))

  it("reaches a task that waits for its turn at the next wait",
    case(function()
      local log = helper.log()
      local t = aio.spawn(function()
        aio.yield()
        log "resumed"
        aio.yield()
        log "never"
      end)
      aio.yield()
      t:cancel() -- its yield has completed already
      t:join()
      assert.equal("resumed", log:text())
    end))

  it("with an odd reason does no harm", case(function()
    local odd = setmetatable({}, { __tostring = function() return "odd" end })
    for _, reason in ipairs { 1, true, print, {}, odd } do
      local t = aio.spawn(aio.sleep, 1)
      testing.settle()
      t:cancel(reason)
      t:join()
      values({ "cancelled", reason }, t:peek())
    end
  end))

  it("of many sleepers ends them all, in order", case(function()
    local list, log, n = {}, {}, helper.many(1000)
    for i = 1, n do
      list[i] = aio.spawn(function()
        local e = raised(aio.sleep, 100)
        log[#log + 1] = i
        error(e)
      end)
    end
    testing.settle()
    for i = 1, n do
      list[i]:cancel()
    end
    testing.settle()
    assert.equal(n, #log)
    for i = 1, n do
      assert.equal(i, log[i])
    end
  end))
end)
