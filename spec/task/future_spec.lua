-- Futures, and what every awaitable has.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local raised, has, values = helper.raised, helper.has, helper.values
local case = helper.case

describe("a future", function()
  it("is pending until it is settled", case(function()
    local f = aio.future()
    values({ "pending" }, f:peek())
    f:resolve()
    values({ "ok" }, f:peek())
  end))

  it("keeps all values, nils too", case(function()
    local f = aio.future()
    assert.is_true(f:resolve(nil, 2, nil))
    values({ nil, 2, nil, n = 3 }, f:await())
    values({ true, nil, 2, nil, n = 4 }, f:join())
    values({ "ok", nil, 2, nil, n = 4 }, f:peek())
  end))

  it("keeps no value, one, and many", case(function()
    local none, one, many = aio.future(), aio.future(), aio.future()
    none:resolve()
    one:resolve(nil)
    local list = {}
    for i = 1, 250 do
      list[i] = i
    end
    many:resolve(table.unpack(list))
    values({ n = 0 }, none:await())
    values({ nil, n = 1 }, one:await())
    values(list, many:await())
  end))

  it("keeps an error of any type", case(function()
    for _, e in ipairs { "text", 1, {}, false } do
      local f = aio.future()
      assert.is_true(f:fail(e))
      values({ false, e }, pcall(f.await, f))
      values({ false, e }, f:join())
      values({ "failed", e }, f:peek())
    end
    local f = aio.future()
    f:fail(nil)
    values({ false, nil, n = 2 }, pcall(f.await, f))
    values({ "failed", nil, n = 2 }, f:peek())
  end))

  it("can be settled once", case(function()
    local settlers = {
      function(f) return f:resolve "r" end,
      function(f) return f:fail "e" end,
      function(f) return f:cancel "c" end,
    }
    local states = { "ok", "failed", "cancelled" }
    for i, first in ipairs(settlers) do
      local f = aio.future()
      assert.is_true(first(f))
      for _, later in ipairs(settlers) do
        assert.is_false(later(f))
      end
      assert.equal(states[i], (f:peek()))
    end
  end))

  it("can be settled in a callback, a generator, a finalizer",
    case(function()
      local a, b, c = aio.future(), aio.future(), aio.future()
      aio.loop():call_soon(a.resolve, a, "a")
      aio.coroutine.wrap(b.resolve)(b, "b")
      setmetatable({}, { __gc = function() c:resolve "c" end })
      collectgarbage()
      collectgarbage()
      assert.equal("a", a:await())
      assert.equal("b", b:await())
      assert.equal("c", c:await())
    end))

  it("wakes waiters in order", case(function()
    local f, log = aio.future(), helper.log()
    for i = 1, 4 do
      aio.spawn(function() log(i .. f:await()) end)
    end
    testing.settle()
    f:resolve "v"
    log "resolved"
    testing.settle()
    assert.equal("resolved 1v 2v 3v 4v", log:text())
  end))

  it("does not skip those behind a cancelled waiter", case(function()
    local f, log = aio.future(), helper.log()
    local list = {}
    for i = 1, 4 do
      list[i] = aio.spawn(function() log(i .. f:await()) end)
    end
    testing.settle()
    list[2]:cancel()
    f:resolve "v"
    testing.settle()
    assert.equal("1v 3v 4v", log:text())
    assert.equal("cancelled", (list[2]:peek()))
  end))

  it("as its own value does no harm", case(function()
    local f = aio.future()
    f:resolve(f)
    assert.equal(f, f:await())
  end))

  it("does not follow a future it is resolved with", case(function()
    local f, g = aio.future(), aio.future()
    f:resolve(g)
    assert.equal(g, f:await())
  end))

  it("is collected when nobody holds it", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    for _ = 1, 3 do
      local f = aio.future()
      f:resolve({})
      f:on_done(function() end)
      weak[f] = true
    end
    aio.sleep(1)
    helper.gone(weak)
  end))

  it("pending with a callback is collected, too", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local f = aio.future()
      f:on_done(function() end)
      f:on_cancel(function() end)
      weak[f] = true
    end
    helper.gone(weak)
  end))

  it("stays as long as someone waits", case(function()
    local weak = setmetatable({}, { __mode = "v" })
    local t = aio.spawn(function()
      weak.f = aio.future()
      return weak.f:await()
    end)
    testing.settle()
    collectgarbage()
    collectgarbage()
    weak.f:resolve "v"
    assert.equal("v", t:await())
  end))

  it("has a metatable nobody trips over", case(function()
    local f = aio.future()
    assert.equal("string", type(tostring(f)))
    assert.is_nil(f.no_such_method)
  end))
end)

describe("await", function()
  it("at once if it is done", case(function()
    local f = aio.future()
    f:resolve(1)
    local log = helper.log()
    aio.spawn(log, "other")
    log(f:await())
    aio.yield()
    assert.equal("1 other", log:text())
  end))

  it("raises ECANCELED if it was cancelled", case(function()
    local f = aio.future()
    f:cancel "why"
    local e = raised(f.await, f)
    assert.equal("ECANCELED", e.code)
    assert.equal("why", e.reason)
    assert.is_false(aio.is_cancelled(e))
  end))

  it("raises ECANCELED if it is cancelled while parked", case(function()
    local f = aio.future()
    local t = aio.spawn(function() return raised(f.await, f) end)
    testing.settle()
    f:cancel "why"
    local e = t:await()
    assert.equal("ECANCELED", e.code)
    assert.is_false(aio.is_cancelled(e))
  end))

  it("of what was cancelled does not cancel the waiter", case(function()
    local f = aio.future()
    f:cancel()
    raised(f.await, f)
    assert.is_true(aio.check())
    assert.is_true(aio.sleep(1))
  end))

  it("waiting never cancels what is waited for", case(function()
    local f = aio.future()
    aio.timeout(1, f.await, f)
    values({ "pending" }, f:peek())
    assert.is_true(f:resolve(1))
  end))
end)

describe("join", function()
  it("never raises what it finds", case(function()
    local ok, failed, cancelled = aio.future(), aio.future(), aio.future()
    ok:resolve(1, nil)
    failed:fail "e"
    cancelled:cancel "why"
    values({ true, 1, nil, n = 3 }, ok:join())
    values({ false, "e" }, failed:join())
    local good, e = cancelled:join()
    assert.is_false(good)
    assert.equal("ECANCELED", e.code)
    assert.equal("why", e.reason)
  end))

  it("waits", case(function()
    local f = aio.future()
    aio.loop():call_later(1, f.fail, f, "late")
    values({ false, "late" }, f:join())
  end))
end)

describe("cancel", function()
  it("ends a plain future at once", case(function()
    local f = aio.future()
    assert.is_true(f:cancel "why")
    values({ "cancelled", "why" }, f:peek())
    assert.is_false(f:cancel())
  end))

  it("without a reason has none", case(function()
    local f = aio.future()
    f:cancel()
    values({ "cancelled", nil, n = 2 }, f:peek())
  end))
end)

describe("on_done", function()
  it("calls with the future, in the next turn, in order", case(function()
    local f, log = aio.future(), helper.log()
    f:on_done(function(g) log(1, g == f) end)
    f:on_done(function(g) log(2, g:peek()) end)
    f:resolve "v"
    log "resolved"
    testing.settle()
    assert.equal("resolved 1:true 2:ok:v", log:text())
  end))

  it("calls in the next turn also if it is done", case(function()
    local f, log = aio.future(), helper.log()
    f:resolve()
    f:on_done(function() log "done" end)
    log "registered"
    testing.settle()
    assert.equal("registered done", log:text())
  end))

  it("calls for failed and cancelled ones", case(function()
    local log = helper.log()
    for _, how in ipairs { "resolve", "fail", "cancel" } do
      local f = aio.future()
      f:on_done(function(g) log((g:peek())) end)
      f[how](f, "x")
    end
    testing.settle()
    assert.equal("ok failed cancelled", log:text())
  end))

  it("works on tasks and callbacks", case(function()
    local log = helper.log()
    aio.spawn(aio.sleep, 1):on_done(function() log "task" end)
    aio.loop():call_soon(function() end)
      :on_done(function() log "callback" end)
    aio.sleep(2)
    assert.equal("callback task", log:text())
  end))

  it("is a callback: a future that can be cancelled", case(function()
    local f, log = aio.future(), helper.log()
    local cb = f:on_done(function() log "never" end)
    assert.is_true(aio.is_awaitable(cb))
    assert.is_true(cb:cancel())
    f:resolve()
    testing.settle()
    assert.equal("", log:text())
    assert.equal("cancelled", (cb:peek()))
  end))

  it("has the function's values", case(function()
    local f = aio.future()
    local cb = f:on_done(function(g) return select(2, g:peek()) end)
    f:resolve(1, 2)
    values({ 1, 2 }, cb:await())
  end))

  it("runs in the registering context", case(function()
    local var, seen = aio.context.var("v", 0), nil
    local f = aio.future()
    var:with(5, f.on_done, f, function() seen = var:get() end)
    f:resolve()
    testing.settle()
    assert.equal(5, seen)
  end))

  it("cannot wait inside", case(function()
    local f = aio.future()
    f:resolve()
    local cb = f:on_done(function() aio.sleep(1) end)
    has("callback", raised(cb.await, cb))
  end))

  it("a failing one is heard, and harms no other", case(function()
    local f, log = aio.future(), helper.log()
    aio.loop():on_error(function(e, info) log(info.kind, e) end)
    f:on_done(function() error("bad", 0) end)
    f:on_done(function() log "other" end)
    f:resolve()
    aio.sleep(1)
    aio.loop():on_error(nil)
    has("other", log:text())
    has("callback:bad", log:text())
  end))

  it("needs a function", case(function()
    local f = aio.future()
    raised(f.on_done, f)
    raised(f.on_done, f, 1)
    raised(f.on_cancel, f, {})
  end))
end)

describe("on_cancel", function()
  it("is called when it was cancelled", case(function()
    local f, log = aio.future(), helper.log()
    f:on_cancel(function() log "stop" end)
    f:cancel()
    testing.settle()
    assert.equal("stop", log:text())
  end))

  it("is not called otherwise", case(function()
    local log = helper.log()
    for _, how in ipairs { "resolve", "fail" } do
      local f = aio.future()
      f:on_cancel(function() log "never" end)
      f[how](f)
    end
    testing.settle()
    assert.equal("", log:text())
  end))

  it("is called also if registered late", case(function()
    local f, log = aio.future(), helper.log()
    f:cancel()
    f:on_cancel(function() log "stop" end)
    testing.settle()
    assert.equal("stop", log:text())
  end))

  it("tells a producer to stop", case(function()
    local f, log = aio.future(), helper.log()
    local producer = aio.spawn(function()
      aio.sleep(100)
      f:resolve()
    end)
    f:on_cancel(function() log(producer:cancel()) end)
    testing.settle()
    f:cancel()
    producer:join()
    assert.equal("true", log:text())
    assert.equal("cancelled", (producer:peek()))
  end))
end)

describe("remote", function()
  it("is a write end that resolves", case(function()
    local f = aio.future()
    local w = f:remote()
    w:resolve(1, "x")
    values({ 1, "x" }, f:await())
  end))

  it("is a write end that fails", case(function()
    local f = aio.future()
    local w = f:remote()
    w:fail "e"
    values({ false, "e" }, f:join())
  end))

  it("dropped unsettled fails the future with EBROKEN", case(function()
    local f = aio.future()
    f:remote()
    collectgarbage()
    collectgarbage()
    local ok, e = f:join()
    assert.is_false(ok)
    assert.equal("EBROKEN", e.code)
  end))

  it("dropped while someone waits wakes him", case(function()
    local f = aio.future()
    local held = { remote = f:remote() }
    local t = aio.spawn(function() return raised(f.await, f).code end)
    testing.settle()
    assert.is_not_nil(held.remote)
    held.remote = nil
    collectgarbage()
    collectgarbage()
    assert.equal("EBROKEN", t:await())
  end))

  it("dropped after it was settled changes nothing", case(function()
    local f = aio.future()
    do
      local w = f:remote()
      w:resolve "v"
    end
    collectgarbage()
    collectgarbage()
    assert.equal("v", f:await())
  end))

  it("settles once, whoever settles", case(function()
    for _, first in ipairs { "resolve", "fail", "close" } do
      local w = aio.future():remote()
      assert.is_true(w[first](w))
      for _, later in ipairs { "resolve", "fail", "close" } do
        assert.is_false(w[later](w))
      end
    end
    local f = aio.future()
    local a, b = f:remote(), f:remote()
    assert.is_true(a:resolve "a")
    assert.is_false(b:resolve "b")
    assert.is_false(f:resolve "f")
    assert.equal("a", f:await())
  end))

  it("of a future that is done settles nothing", case(function()
    local f = aio.future()
    local before = f:remote()
    f:resolve "v"
    local after = f:remote()
    assert.is_false(before:fail())
    assert.is_false(after:close())
    assert.equal("v", f:await())
  end))

  it("closed by <close> ends the wait", case(function()
    local f = aio.future()
    do
      local _ <close> = f:remote()
    end
    assert.equal("EBROKEN", raised(f.await, f).code)
  end))

  it("wakes waiters and callbacks in order, among them", case(function()
    local f, log = aio.future(), helper.log()
    aio.spawn(function() log(1, f:await()) end)
    testing.settle()
    local w = f:remote()
    f:on_done(function() log(2) end)
    aio.spawn(function() log(3, f:await()) end)
    testing.settle()
    w:resolve "v"
    testing.settle()
    assert.equal("1:v 2 3:v", log:text())
  end))

  it("is collected along with its future", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local f = aio.future()
      local w = f:remote()
      weak[f], weak[w] = true, true
    end
    helper.gone(weak)
  end))

  it("of a future that is cancelled does no harm", case(function()
    local f = aio.future()
    local w = f:remote()
    f:cancel()
    pcall(w.resolve, w, "late")
    assert.equal("cancelled", (f:peek()))
  end))
end)

describe("an object with __await", function()
  local function object(f)
    return setmetatable({}, { __await = function() return f end })
  end

  it("is awaitable; other things are not", case(function()
    assert.is_true(aio.is_awaitable(object()))
    assert.is_true(aio.is_awaitable(aio.future()))
    assert.is_true(aio.is_awaitable(aio.spawn(function() end)))
    assert.is_true(aio.is_awaitable(aio.loop():call_soon(function() end)))
    for _, x in ipairs { 1, "x", {}, print, true, setmetatable({}, {}) } do
      assert.is_false(aio.is_awaitable(x))
    end
    assert.is_false(aio.is_awaitable(nil))
    aio.yield()
  end))

  it("is awaited by aio.await", case(function()
    local f = aio.future()
    aio.loop():call_later(1, f.resolve, f, 1, nil)
    values({ 1, nil, n = 2 }, aio.await(object(f)))
  end))

  it("may give a task", case(function()
    local t = aio.spawn(function() return "v" end)
    assert.equal("v", aio.await(object(t)))
  end))

  it("is given itself", case(function()
    local f = aio.future()
    f:resolve "v"
    local seen
    local x = setmetatable({}, { __await = function(self)
      seen = self
      return f
    end })
    aio.await(x)
    assert.equal(x, seen)
  end))

  it("that gives no future raises", case(function()
    raised(aio.await, object(nil))
    raised(aio.await, object(42))
  end))

  it("that raises raises", case(function()
    local e = {}
    assert.equal(e, raised(aio.await, setmetatable({}, {
      __await = function() error(e) end,
    })))
  end))

  it("aio.await refuses anything else", case(function()
    for _, x in ipairs { 1, "x", {}, print } do
      has("await", raised(aio.await, x))
    end
    raised(aio.await)
  end))
end)
