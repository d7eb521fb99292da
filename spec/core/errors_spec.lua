-- Errors: objects with a code, other people's values unchanged, tracebacks.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local raised, has, values = helper.raised, helper.has, helper.values
local case, bare = helper.case, helper.bare

-- An error object of the library: that of awaiting what was cancelled.
local function an_error()
  local f = aio.future()
  f:cancel("why")
  return raised(f.await, f)
end

-- The Cancelled object that a cancelled task meets.
local function a_cancelled(...)
  local t, e
  t = aio.spawn(function() e = raised(aio.sleep, 1) end)
  t:cancel(...)
  t:join()
  return e
end

local function thrower(value)
  return function() error(value, 0) end
end

describe("an error object", function()
  it("has a code and a message that starts with it", bare(function()
    local e = an_error()
    assert.equal("ECANCELED", e.code)
    assert.equal("string", type(e.message))
    assert.equal("ECANCELED", e.message:sub(1, 9))
  end))

  it("is its message for tostring", bare(function()
    local e = an_error()
    assert.equal(e.message, tostring(e))
  end))

  it("concatenates on both sides", bare(function()
    local e = an_error()
    assert.equal("left " .. e.message, "left " .. e)
    assert.equal(e.message .. " right", e .. " right")
    assert.equal("1" .. e.message, 1 .. e)
    assert.equal(e.message .. e.message, e .. e)
  end))

  it("comes out of assert(nil, message, code) as its text", bare(function()
    local ch = aio.channel()
    ch:close()
    local e = raised(_G.assert, ch:try_put(1))
    has("ECLOSED", e)
  end))
end)

describe("a mistake of the caller", function()
  it("names argument and function", bare(function()
    has("bad argument #1 to 'sleep'", raised(function() aio.sleep {} end))
    has("bad argument #1 to 'spawn'", raised(function() aio.spawn(7) end))
    has("bad argument #1 to 'timeout'", raised(function()
      aio.timeout("soon", print)
    end))
    has("bad argument #2 to 'timeout'", raised(function()
      aio.timeout(1, nil)
    end))
  end))

  it("has the position of the caller", bare(function()
    local here
    local e = raised(function()
      here = helper.here() aio.sleep({})
    end)
    has(here, e)
  end))

  it("has the position of the caller inside a task", case(function()
    local here
    local e = raised(function()
      here = helper.here() aio.spawn()
    end)
    has(here, e)
  end))

  it("is raised before anything starts", case(function()
    local before = aio.loop():stats().tasks
    raised(aio.spawn, {})
    raised(aio.timeout, 0 / 0, print)
    raised(aio.sleep, 0 / 0)
    assert.equal(before, aio.loop():stats().tasks)
  end))

  it("is found for a method called on something else", bare(function()
    local f, ch = aio.future(), aio.channel()
    raised(f.resolve, ch)
    raised(ch.get, f)
    raised(f.await)
    raised(ch.put, {})
    raised(aio.event().wait, ch)
  end))
end)

describe("a task's own error", function()
  local given = {
    { "a string", "text" }, { "a number", 42 }, { "a table", {} },
    { "false", false }, { "nil", nil }, { "a function", function() end },
    { "an error object of ours", nil },
  }

  for _, pair in ipairs(given) do
    local name, value = pair[1], pair[2]
    it("is raised unchanged by await: " .. name, case(function()
      if name:find "ours" then
        value = an_error()
      end
      local t = aio.spawn(thrower(value))
      values({ false, value, n = 2 }, pcall(t.await, t))
    end))

    it("is returned unchanged by join: " .. name, case(function()
      if name:find "ours" then
        value = an_error()
      end
      local t = aio.spawn(thrower(value))
      values({ false, value, n = 2 }, t:join())
    end))
  end

  it("is the same table, again and again", case(function()
    local e = { code = "EMINE" }
    local t = aio.spawn(thrower(e))
    for _ = 1, 3 do
      assert.equal(e, raised(t.await, t))
    end
  end))
end)

describe("a Cancelled object", function()
  it("is told apart by is_cancelled", case(function()
    assert.is_true(aio.is_cancelled(a_cancelled()))
  end))

  it("is an error object with code and message", case(function()
    local e = a_cancelled()
    assert.equal("ECANCELED", e.code)
    assert.equal(e.message, tostring(e))
    has("ECANCELED", e.message)
  end))

  it("carries the reason, of any type", case(function()
    local reason = {}
    assert.equal("enough", a_cancelled("enough").reason)
    assert.equal(reason, a_cancelled(reason).reason)
    assert.equal(false, a_cancelled(false).reason)
    assert.is_nil(a_cancelled().reason)
  end))

  it("is nothing else", case(function()
    for _, x in ipairs { "ECANCELED", 1, {}, { code = "ECANCELED" },
      true, print, an_error() } do
      assert.is_false(aio.is_cancelled(x))
    end
    assert.is_false(aio.is_cancelled(nil))
  end))
end)

describe("aio.pcall", function()
  it("returns true and all values", bare(function()
    values({ true, 1, nil, 3, nil, n = 5 },
      aio.pcall(function(...) return ... end, 1, nil, 3, nil))
  end))

  it("returns false and the error", bare(function()
    local e = {}
    values({ false, e }, aio.pcall(error, e))
    values({ false, nil, n = 2 }, aio.pcall(error, nil))
  end))

  it("lets waits through", case(function()
    values({ true, "done" }, aio.pcall(function()
      aio.sleep(1)
      return "done"
    end))
  end))

  it("catches an error after a wait", case(function()
    values({ false, "late" }, aio.pcall(function()
      aio.sleep(1)
      error("late", 0)
    end))
  end))

  it("lets Cancelled pass", case(function()
    local after = false
    local t = aio.spawn(function()
      aio.pcall(aio.sleep, 1)
      after = true
    end)
    t:cancel()
    assert.is_false((t:join()))
    assert.is_false(after)
    assert.equal("cancelled", (t:peek()))
  end))

  it("catches that something awaited was cancelled", case(function()
    local f = aio.future()
    f:cancel()
    local ok, e = aio.pcall(f.await, f)
    assert.is_false(ok)
    assert.equal("ECANCELED", e.code)
  end))
end)

describe("aio.traceback", function()
  it("gives the stack of the failure", case(function()
    local e = {}
    local function culprit() error(e) end
    aio.spawn(function() culprit() end):join()
    has("culprit", aio.traceback(e))
  end))

  it("is nil for what never failed a task", bare(function()
    assert.is_nil(aio.traceback({}))
  end))

  it("has the last failure of several with one value", case(function()
    local e = {}
    local function first() error(e) end
    local function second() error(e) end
    aio.spawn(function() first() end):join()
    aio.spawn(error, "something else"):join()
    aio.spawn(function() second() end):join()
    has("second", aio.traceback(e))
  end))

  it("has the deepest stack when an error is passed on", case(function()
    for _, e in ipairs { {}, "text" } do
      local function origin() error(e, 0) end
      local t = aio.spawn(function() origin() end)
      aio.spawn(function() t:await() end):join()
      has("origin", aio.traceback(e))
    end
  end))
end)

describe("what succeeds without a value", function()
  it("returns true", case(function()
    local ch, ev, f = aio.channel(1), aio.event(), aio.future()
    assert.is_true(aio.sleep(1))
    assert.is_true(aio.yield())
    assert.is_true(aio.check())
    assert.is_true(f:resolve())
    assert.is_true(ch:put(1))
    ev:set()
    assert.is_true(ev:wait())
    assert.truthy(ch:close())
    assert.is_true(aio.timeout(1, function() end))
  end))
end)
