-- Waiting outside of tasks drives the loop.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local raised, has, values = helper.raised, helper.has, helper.values
local bare = helper.bare

describe("at top level", function()
  it("sleep takes its time", bare(function()
    local before = aio.now()
    assert.is_true(aio.sleep(1.5))
    assert.is_true(aio.now() - before >= 1.5)
  end))

  it("awaiting a task returns its values", bare(function()
    values({ 1, nil, 3, n = 3 }, aio.spawn(function()
      aio.sleep(1)
      return 1, nil, 3
    end):await())
  end))

  it("awaiting a task raises its error unchanged", bare(function()
    local e = {}
    local t = aio.spawn(function()
      aio.sleep(1)
      error(e)
    end)
    assert.equal(e, raised(t.await, t))
  end))

  it("awaiting a future that a callback resolves", bare(function()
    local f = aio.future()
    aio.loop():call_later(1, f.resolve, f, "v")
    values({ "v" }, f:await())
  end))

  it("other tasks progress meanwhile, and stop with the wait",
    bare(function()
      local log = helper.log()
      local t = aio.spawn(function()
        for i = 1, 4 do
          aio.sleep(1)
          log(i)
        end
      end)
      aio.sleep(2.5)
      assert.equal("1 2", log:text())
      t:await()
      assert.equal("1 2 3 4", log:text())
    end))

  it("nothing runs without a wait", bare(function()
    local log = helper.log()
    local t = aio.spawn(log, "ran")
    collectgarbage()
    assert.equal("", log:text())
    t:await()
    assert.equal("ran", log:text())
  end))

  it("yield is one turn", bare(function()
    local log = helper.log()
    aio.spawn(log, "a")
    aio.spawn(log, "b")
    assert.is_true(aio.yield())
    assert.equal("a b", log:text())
  end))

  it("there is no current task", bare(function()
    assert.is_nil(aio.task())
    aio.sleep(1)
    assert.is_nil(aio.task())
  end))

  it("timeout limits a wait", bare(function()
    helper.failed("ETIMEDOUT", aio.timeout(1, aio.sleep, 5))
    values({ "in time" }, aio.timeout(5, function()
      aio.sleep(1)
      return "in time"
    end))
  end))

  it("scopes work", bare(function()
    local e = raised(function()
      local _ <close> = aio.scope(1)
      aio.sleep(5)
    end)
    assert.equal("ETIMEDOUT", e.code)
    assert.is_true(aio.sleep(0.1))
  end))

  it("groups work", bare(function()
    local log = helper.log()
    do
      local g <close> = aio.group()
      g:spawn(function()
        aio.sleep(1)
        log "child"
      end)
    end
    log "after"
    assert.equal("child after", log:text())
  end))

  it("a failing child cancels the chunk's wait", bare(function()
    local e = {}
    assert.equal(e, raised(aio.group, {}, function(g)
      g:spawn(error, e)
      aio.sleep(100)
    end))
  end))

  it("context variables work", bare(function()
    local var = aio.context.var("v", 0)
    do
      local _ <close> = var:let(5)
      aio.sleep(1)
      assert.equal(5, var:get())
      assert.equal(5, aio.spawn(var.get, var):await())
    end
    assert.equal(0, var:get())
  end))

  it("aio.all, event and channel work", bare(function()
    values({ 1, 2 }, aio.all(
      function() aio.sleep(2) return 1 end,
      function() aio.sleep(1) return 2 end))
    local ch, ev = aio.channel(), aio.event()
    local t = aio.spawn(function()
      ev:set()
      ch:put "x"
    end)
    assert.is_true(ev:wait())
    assert.equal("x", ch:get())
    t:await()
  end))

  it("a wait works in places where no coroutine could yield",
    bare(function()
      local list = { 3, 1, 2 }
      table.sort(list, function(a, b)
        aio.yield()
        return a < b
      end)
      assert.same({ 1, 2, 3 }, list)
    end))

  it("a wait works in a coroutine of the main chunk", bare(function()
    local co = coroutine.wrap(function()
      aio.sleep(1)
      coroutine.yield "first"
      aio.sleep(1)
      return "second"
    end)
    assert.equal("first", co())
    assert.equal("second", co())
  end))

  it("an error leaves the loop in order", bare(function()
    for _ = 1, 3 do
      raised(aio.await, aio.spawn(error, "x"))
    end
    assert.is_true(aio.sleep(1))
  end))
end)

describe("waits are refused", function()
  it("in a callback, with a reason", bare(function()
    local cb = aio.loop():call_soon(function() aio.sleep(1) end)
    has("callback", raised(cb.await, cb))
  end))

  it("in an on_done callback", bare(function()
    local f = aio.future()
    local cb = f:on_done(function() aio.yield() end)
    f:resolve()
    has("callback", raised(cb.await, cb))
  end))

  it("in __gc, where nothing could resume it", bare(function()
    local ok, e = nil, nil
    setmetatable({}, { __gc = function() ok, e = pcall(aio.sleep, 1) end })
    collectgarbage()
    collectgarbage()
    assert.is_false(ok)
    has("__gc", e)
  end))
end)
