-- Functions have no colour: where a wait works, and where it says why not.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local raised, has, values = helper.raised, helper.has, helper.values
local case = helper.case

local function wait(...)
  aio.sleep(1)
  return ...
end

describe("a wait works", function()
  it("in pcall", case(function()
    values({ true, 1, nil, n = 3 }, pcall(wait, 1, nil))
    values({ false, "e" }, pcall(function()
      aio.sleep(1)
      error("e", 0)
    end))
  end))

  it("in xpcall, whose handler sees the stack", case(function()
    local ok, trace = xpcall(function()
      aio.sleep(1)
      error "after the wait"
    end, debug.traceback)
    assert.is_false(ok)
    has("after the wait", trace)
    has("colour_spec.lua", trace)
  end))

  it("in metamethods", case(function()
    local meta = {
      __index = function(_, k) return wait(k) end,
      __newindex = function(t, k, v) rawset(t, k, wait(v)) end,
      __call = function(_, x) return wait(x) end,
      __add = function() return wait "add" end,
      __unm = function() return wait "unm" end,
      __concat = function() return wait "concat" end,
      __len = function() return wait(7) end,
      __eq = function() return wait(true) end,
      __lt = function() return wait(true) end,
      __le = function() return wait(true) end,
    }
    local a, b = setmetatable({}, meta), setmetatable({}, meta)
    assert.equal("k", a.k)
    a.x = "set"
    assert.equal("set", rawget(a, "x"))
    assert.equal("call", a "call")
    assert.equal("add", a + 1)
    assert.equal("unm", -a)
    assert.equal("concat", a .. "s")
    assert.equal(7, #a)
    assert.is_true(a == b)
    assert.is_true(a < b)
    assert.is_true(a <= b)
  end))

  it("in iterators", case(function()
    local log = helper.log()
    local function upto(n, i)
      aio.sleep(1)
      if i < n then
        return i + 1
      end
    end
    for i in upto, 3, 0 do
      log(i)
    end
    assert.equal("1 2 3", log:text())
  end))

  it("deep in calls", case(function()
    local function deep(n)
      if n == 0 then
        return wait "bottom"
      end
      return (deep(n - 1))
    end
    assert.equal("bottom", deep(1000))
  end))

  it("deep in pcalls", case(function()
    local function deep(n)
      if n == 0 then
        return wait "bottom"
      end
      return select(2, pcall(deep, n - 1))
    end
    assert.equal("bottom", deep(100))
  end))

  it("in dofile", case(function()
    local path = os.tmpname()
    local file = io.open(path, "w")
    file:write 'require "perilune".sleep(1) return "loaded"'
    file:close()
    local ok, result = pcall(dofile, path)
    os.remove(path)
    values({ true, "loaded" }, ok, result)
  end))
end)

describe("in __close, a wait works", function()
  local function closing(fn)
    return setmetatable({}, { __close = fn })
  end

  it("at the end of a block", case(function()
    local log = helper.log()
    do
      local _ <close> = closing(function()
        aio.sleep(1)
        log "closed"
      end)
      log "body"
    end
    log "after"
    assert.equal("body closed after", log:text())
  end))

  it("at a return, whose values are kept", case(function()
    local function f()
      local _ <close> = closing(wait)
      return 1, nil, 3
    end
    values({ 1, nil, 3, n = 3 }, f())
  end))

  it("at a break and in a loop", case(function()
    local log = helper.log()
    for i = 1, 3 do
      local _ <close> = closing(function()
        aio.sleep(1)
        log(i)
      end)
      if i == 2 then
        break
      end
    end
    assert.equal("1 2", log:text())
  end))

  it("while an error unwinds, which stays the same", case(function()
    local e, log = {}, helper.log()
    values({ false, e }, pcall(function()
      local _ <close> = closing(function(_, err)
        aio.sleep(1)
        log(err == e)
      end)
      error(e)
    end))
    assert.equal("true", log:text())
  end))

  it("while an error unwinds through the task's body", case(function()
    local e, log = {}, helper.log()
    local t = aio.spawn(function()
      local _ <close> = closing(function()
        aio.sleep(1)
        log "outer"
      end)
      local _ <close> = closing(function()
        aio.sleep(1)
        log "inner"
      end)
      error(e)
    end)
    values({ false, e }, t:join())
    assert.equal("inner outer", log:text())
  end))

  it("while a cancellation unwinds, in a shield", case(function()
    local log = helper.log()
    local t = aio.spawn(function()
      local _ <close> = closing(function()
        aio.shield(5, aio.sleep, 1)
        log "closed"
      end)
      aio.sleep(100)
    end)
    testing.settle()
    t:cancel()
    t:join()
    assert.equal("closed", log:text())
    assert.equal("cancelled", (t:peek()))
  end))

  it("while a cancellation unwinds, else raises Cancelled there",
    case(function()
      local seen
      local t = aio.spawn(function()
        local _ <close> = closing(function()
          seen = raised(aio.sleep, 1)
        end)
        aio.sleep(100)
      end)
      testing.settle()
      t:cancel()
      t:join()
      assert.is_true(aio.is_cancelled(seen))
    end))

  it("and an error there replaces the first", case(function()
    local t = aio.spawn(function()
      local _ <close> = closing(function()
        aio.sleep(1)
        error("second", 0)
      end)
      error("first", 0)
    end)
    values({ false, "second" }, t:join())
  end))
end)

describe("where Lua cannot yield, a wait raises", function()
  -- Calls `place(fn)`, which calls `fn` where one cannot wait; `fn` tries to.
  local function refused(name, place)
    local e
    pcall(place, function()
      e = raised(aio.sleep, 1)
      return nil
    end)
    assert.is_not_nil(e, "the place was not reached")
    assert.equal("string", type(e.code))
    has(name, e)
    assert.is_false(aio.is_cancelled(e))
    return e
  end

  it("in a sort comparator, naming it", case(function()
    refused("sort", function(try)
      table.sort({ 1, 2 }, function(a, b)
        try()
        return a < b
      end)
    end)
  end))

  it("in a gsub callback, naming it", case(function()
    refused("gsub", function(try)
      string.gsub("x", "x", function() try() end)
    end)
  end))

  it("in a module that is being required, naming require",
    case(function()
      refused("require", function(try)
        package.preload["perilune.spec.waits"] = function()
          try()
          return true
        end
        require "perilune.spec.waits"
      end)
      package.preload["perilune.spec.waits"] = nil
      package.loaded["perilune.spec.waits"] = nil
    end))

  it("in __tostring, naming tostring", case(function()
    refused("tostring", function(try)
      tostring(setmetatable({}, {
        __tostring = function()
          try()
          return ""
        end,
      }))
    end)
  end))

  it("in __gc, naming it", case(function()
    refused("__gc", function(try)
      setmetatable({}, { __gc = try })
      collectgarbage()
      collectgarbage()
    end)
  end))

  it("in a message handler", case(function()
    local e
    xpcall(error, function(m)
      e = raised(aio.sleep, 1)
      return m
    end, "x")
    assert.equal("string", type(e.code))
  end))

  it("in load's reader, naming load", case(function()
    refused("load", function(try)
      load(function() return try() end)
    end)
  end))

  it("with the position of the caller", case(function()
    local here
    local e
    table.sort({ 1, 2 }, function(a, b)
      e = raised(function()
        here = helper.here() aio.sleep(1)
      end)
      return a < b
    end)
    has(here, e)
  end))

  it("also when it could complete at once, or does not matter",
    case(function()
      local f = aio.future()
      f:resolve(1)
      local list = { 2, 1 }
      pcall(table.sort, list, function(a, b)
        pcall(f.await, f)
        return a < b
      end)
      assert.same({ 1, 2 }, list)
    end))

  -- Every way to wait, tried inside a comparator, must leave things as they
  -- were: `made` makes what is waited for, `try` waits, `check` looks.
  local waits = {
    ["sleep"] = function()
      local before = aio.loop():stats().timers
      return function() aio.sleep(5) end, function()
        assert.equal(before, aio.loop():stats().timers)
      end
    end,
    ["future:await"] = function()
      local f = aio.future()
      return function() f:await() end, function()
        assert.is_true(f:resolve(1))
      end
    end,
    ["channel:put"] = function()
      local ch = aio.channel(1)
      return function() ch:put(1) end, function()
        assert.equal(0, #ch)
        values({ false }, ch:try_get())
      end
    end,
    ["channel:put without room"] = function()
      local ch = aio.channel()
      return function() ch:put(1) end, function()
        values({ false }, ch:try_get())
      end
    end,
    ["channel:get"] = function()
      local ch = aio.channel(1)
      ch:try_put "kept"
      return function() ch:get() end, function()
        values({ true, "kept" }, ch:try_get())
      end
    end,
    ["channel:get of nothing"] = function()
      local ch = aio.channel()
      return function() ch:get() end, function()
        values({ false }, ch:try_put(1))
      end
    end,
    ["event:wait"] = function()
      local ev = aio.event()
      return function() ev:wait() end, function()
        assert.is_false(ev:is_set())
      end
    end,
    ["aio.all"] = function()
      local before = aio.loop():stats().tasks
      local ran = false
      return function() aio.all(function() ran = true end) end, function()
        aio.sleep(1)
        assert.is_false(ran)
        assert.equal(before, aio.loop():stats().tasks)
      end
    end,
    ["aio.map"] = function()
      local ran = false
      return function()
        aio.map({ 1 }, function() ran = true end)
      end, function()
        aio.sleep(1)
        assert.is_false(ran)
      end
    end,
    ["aio.wait"] = function()
      local f = aio.future()
      return function() aio.wait({ f }, { timeout = 5 }) end, function()
        assert.is_true(f:resolve())
      end
    end,
  }

  for name, make in pairs(waits) do
    it("before anything was registered: " .. name, case(function()
      local tried
      local try, check = make()
      table.sort({ 1, 2 }, function(a, b)
        tried = raised(try)
        return a < b
      end)
      has("sort", tried)
      check()
    end))
  end

  it("and the task goes on", case(function()
    pcall(table.sort, { 1, 2, 3 }, function() aio.sleep(1) end)
    assert.is_true(aio.sleep(1))
  end))
end)

describe("coroutine.yield at task level", function()
  it("means aio.yield", case(function()
    local log = helper.log()
    local t = aio.spawn(function()
      log "before"
      coroutine.yield()
      log "after"
      return "ended"
    end)
    aio.spawn(log, "other")
    assert.equal("ended", t:await())
    assert.equal("before other after", log:text())
  end))

  it("with values does no harm", case(function()
    local t = aio.spawn(function()
      for i = 1, 5 do
        coroutine.yield(i, "x", nil)
      end
      return "ended"
    end)
    assert.equal("ended", t:await())
  end))

  it("in a pcall does no harm", case(function()
    local t = aio.spawn(function()
      local ok = pcall(function()
        coroutine.yield(1)
        error "x"
      end)
      return ok
    end)
    assert.is_false(t:await())
  end))

  it("does not swallow a cancellation", case(function()
    local t = aio.spawn(function()
      while true do
        coroutine.yield()
        aio.check()
      end
    end)
    aio.yield()
    t:cancel()
    assert.is_false((t:join()))
  end))
end)
