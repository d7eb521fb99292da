-- Context: an immutable map that follows the work.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local raised, has, values = helper.raised, helper.has, helper.values
local case, bare = helper.case, helper.bare

local var = aio.context.var("user", "nobody")

describe("a variable", function()
  it("has a default", case(function()
    assert.equal("nobody", var:get())
    assert.is_nil(aio.context.var "bare":get())
  end))

  it("can be set", case(function()
    var:set "ann"
    assert.equal("ann", var:get())
  end))

  it("is not the one of another of the same name", case(function()
    local other = aio.context.var("user", "other")
    var:set "ann"
    assert.equal("other", other:get())
  end))

  it("has nil as a value", case(function()
    var:set(nil)
    assert.is_nil(var:get())
    var:with(nil, function() assert.is_nil(var:get()) end)
  end))

  it("has false as a value", case(function()
    var:set(false)
    assert.is_false(var:get())
  end))

  it("set in one run is not seen in the next", bare(function()
    aio.run(function() var:set "ann" end)
    aio.run(function() assert.equal("nobody", var:get()) end)
    assert.equal("nobody", var:get())
  end))

  it("set at top level is seen by what is made there", bare(function()
    local _ <close> = var:let "top"
    assert.equal("top", aio.run(var.get, var))
    assert.equal("top", aio.spawn(var.get, var):await())
  end))
end)

describe("let", function()
  it("holds to the end of the block", case(function()
    var:set "ann"
    do
      local _ <close> = var:let "bob"
      assert.equal("bob", var:get())
    end
    assert.equal("ann", var:get())
  end))

  it("holds across waits", case(function()
    local _ <close> = var:let "bob"
    aio.sleep(1)
    assert.equal("bob", var:get())
  end))

  it("nests", case(function()
    local _ <close> = var:let "a"
    do
      local _ <close> = var:let "b"
      assert.equal("b", var:get())
    end
    assert.equal("a", var:get())
  end))

  it("ends when an error leaves the block", case(function()
    pcall(function()
      local _ <close> = var:let "bob"
      error "x"
    end)
    assert.equal("nobody", var:get())
  end))
end)

describe("with", function()
  it("calls with the value, returns all values", case(function()
    values({ "bob", 1, nil, n = 3 }, var:with("bob", function(...)
      return var:get(), ...
    end, 1, nil))
    assert.equal("nobody", var:get())
  end))

  it("lets waits through", case(function()
    assert.equal("bob", var:with("bob", function()
      aio.sleep(1)
      return var:get()
    end))
    assert.equal("nobody", var:get())
  end))

  it("ends with an error, too", case(function()
    local e = {}
    assert.equal(e, raised(var.with, var, "bob", error, e))
    assert.equal("nobody", var:get())
  end))

  it("needs a function", case(function()
    raised(var.with, var, "bob")
    raised(var.with, var, "bob", 1)
    assert.equal("nobody", var:get())
  end))
end)

describe("set", function()
  it("is the task's own: the parent does not see it", case(function()
    aio.spawn(function() var:set "child" end):await()
    assert.equal("nobody", var:get())
  end))

  it("is the task's own: a child has what was when it was spawned",
    case(function()
      var:set "before"
      local t = aio.spawn(var.get, var)
      var:set "after"
      assert.equal("before", t:await())
      assert.equal("after", var:get())
    end))

  it("in a callback ends with it", case(function()
    aio.loop():call_soon(function()
      var:set "callback"
      assert.equal("callback", var:get())
    end):await()
    assert.equal("nobody", var:get())
    assert.equal("nobody", aio.loop():call_soon(var.get, var):await())
  end))

  it("in a bound function ends with it", case(function()
    local bound = aio.context.bind(function()
      var:set "bound"
      return var:get()
    end)
    assert.equal("bound", bound())
    assert.equal("nobody", var:get())
  end))

  it("is seen across waits, whoever ran meanwhile", case(function()
    local log = helper.log()
    local g <close> = aio.group()
    for i = 1, 3 do
      g:spawn(function()
        var:set(i)
        aio.yield()
        aio.sleep(4 - i)
        log(i, var:get())
      end)
    end
    g:wait()
    assert.equal("3:3 2:2 1:1", log:text())
  end))
end)

describe("capture", function()
  local function captured(register)
    local f = aio.future()
    var:with("captured", register, function() f:resolve(var:get()) end)
    local _ <close> = var:let "other"
    return f:await()
  end

  local ways = {
    ["by spawn"] = aio.spawn,
    ["by group:spawn"] = function(fn)
      aio.spawn(function()
        local g <close> = aio.group()
        g:spawn(fn)
      end)
    end,
    ["by call_soon"] = function(fn) aio.loop():call_soon(fn) end,
    ["by call_later"] = function(fn) aio.loop():call_later(1, fn) end,
    ["by call_at"] = function(fn) aio.loop():call_at(aio.now() + 1, fn) end,
    ["by on_done"] = function(fn)
      local f = aio.future()
      f:on_done(fn)
      aio.loop():call_later(1, f.resolve, f)
    end,
    ["by on_done of what is done"] = function(fn)
      local f = aio.future()
      f:resolve()
      f:on_done(fn)
    end,
    ["by on_cancel"] = function(fn)
      local f = aio.future()
      f:on_cancel(fn)
      aio.loop():call_later(1, f.cancel, f)
    end,
    ["by bind"] = function(fn)
      local bound = aio.context.bind(fn)
      aio.loop():call_later(1, function() var:with("odd", bound) end)
    end,
    ["through two spawns"] = function(fn)
      aio.spawn(function()
        aio.sleep(1)
        aio.spawn(fn)
      end)
    end,
    ["through a callback that spawns"] = function(fn)
      aio.loop():call_later(1, function() aio.spawn(fn) end)
    end,
    ["by aio.all"] = function(fn) aio.spawn(aio.all, fn) end,
    ["by aio.map"] = function(fn) aio.spawn(aio.map, { 1 }, fn) end,
  }

  for name, register in pairs(ways) do
    it(name .. " is of the time of registering", case(function()
      assert.equal("captured", captured(register))
    end))
  end
end)

describe("bind", function()
  it("passes arguments and values", case(function()
    values({ 1, nil, 3, n = 3 }, aio.context.bind(function(...)
      return ...
    end)(1, nil, 3))
  end))

  it("lets waits through", case(function()
    local bound = var:with("bound", aio.context.bind, function()
      aio.sleep(1)
      return var:get()
    end)
    assert.equal("bound", bound())
    assert.equal("nobody", var:get())
  end))

  it("lets errors through", case(function()
    local e = {}
    local bound = aio.context.bind(function() error(e) end)
    assert.equal(e, raised(bound))
    assert.equal("nobody", var:get())
  end))

  it("can be called again, by anyone", case(function()
    local bound = var:with("bound", aio.context.bind, var.get)
    assert.equal("bound", bound(var))
    assert.equal("bound", aio.spawn(bound, var):await())
    assert.equal("bound", aio.loop():call_soon(bound, var):await())
  end))

  it("needs a function", case(function()
    raised(aio.context.bind)
    raised(aio.context.bind, 1)
  end))
end)

describe("context.run", function()
  it("keeps the values and leaks none out", case(function()
    local _ <close> = var:let "outer"
    values({ "outer", "inner" }, aio.context.run(function()
      local before = var:get()
      var:set "inner"
      return before, var:get()
    end))
    assert.equal("outer", var:get())
  end))

  it("passes arguments, lets waits and errors through", case(function()
    values({ 1, nil, n = 2 }, aio.context.run(function(...)
      aio.sleep(1)
      return ...
    end, 1, nil))
    local e = {}
    assert.equal(e, raised(aio.context.run, error, e))
  end))
end)

describe("suppress", function()
  it("gives the root context to what is captured inside", case(function()
    local _ <close> = var:let "outer"
    local t = aio.context.suppress(aio.spawn, var.get, var)
    assert.equal("nobody", t:await())
    local cb = aio.context.suppress(function()
      return aio.loop():call_soon(var.get, var)
    end)
    assert.equal("nobody", cb:await())
  end))

  it("ends at its exit", case(function()
    local _ <close> = var:let "outer"
    aio.context.suppress(function() end)
    assert.equal("outer", aio.spawn(var.get, var):await())
    pcall(aio.context.suppress, error)
    assert.equal("outer", aio.spawn(var.get, var):await())
  end))

  it("holds across waits", case(function()
    local _ <close> = var:let "outer"
    aio.context.suppress(function()
      aio.sleep(1)
      assert.equal("nobody", aio.spawn(var.get, var):await())
    end)
  end))

  it("passes arguments and values", case(function()
    values({ 1, nil, n = 2 }, aio.context.suppress(function(...)
      return ...
    end, 1, nil))
  end))

  it("is not passed on to tasks spawned inside", case(function()
    aio.context.suppress(function()
      aio.spawn(function()
        var:set "own"
        assert.equal("own", aio.spawn(var.get, var):await())
      end):await()
    end)
  end))
end)

describe("a generator", function()
  it("keeps the context it was created in", case(function()
    local gen = var:with("created", aio.coroutine.wrap, function()
      while true do
        coroutine.yield(var:get())
      end
    end)
    assert.equal("created", gen())
    local _ <close> = var:let "consumer"
    assert.equal("created", gen())
    assert.equal("created", aio.spawn(gen):await())
  end))

  it("leaks nothing out", case(function()
    local gen = aio.coroutine.wrap(function()
      var:set "inside"
      coroutine.yield(var:get())
      coroutine.yield(var:get())
    end)
    assert.equal("inside", gen())
    assert.equal("nobody", var:get())
    assert.equal("inside", gen())
  end))

  it("keeps it across waits", case(function()
    local gen = var:with("created", aio.coroutine.wrap, function()
      aio.sleep(1)
      coroutine.yield(var:get())
      aio.sleep(1)
      coroutine.yield(var:get())
    end)
    assert.equal("created", gen())
    assert.equal("nobody", var:get())
    assert.equal("created", gen())
    assert.equal("nobody", var:get())
  end))

  it("keeps a let between its yields", case(function()
    local gen = aio.coroutine.wrap(function()
      local _ <close> = var:let "let"
      coroutine.yield(var:get())
      coroutine.yield(var:get())
    end)
    assert.equal("let", gen())
    assert.equal("nobody", var:get())
    assert.equal("let", gen())
    gen()
    assert.equal("nobody", var:get())
  end))

  it("that fails or is closed leaks nothing", case(function()
    local gen = aio.coroutine.create(function()
      var:set "inside"
      error "x"
    end)
    aio.coroutine.resume(gen)
    assert.equal("nobody", var:get())
    gen = aio.coroutine.create(function()
      local _ <close> = var:let "inside"
      coroutine.yield()
    end)
    aio.coroutine.resume(gen)
    aio.coroutine.close(gen)
    assert.equal("nobody", var:get())
  end))
end)

describe("in a coroutine of the stock functions", function()
  it("set and let raise", case(function()
    helper.stock.wrap(function()
      has("coroutine", raised(var.set, var, "x"))
      has("coroutine", raised(var.let, var, "x"))
    end)()
    assert.equal("nobody", var:get())
  end))

  it("get works", case(function()
    local _ <close> = var:let "outer"
    assert.equal("outer", helper.stock.wrap(var.get)(var))
  end))
end)

describe("a context nobody holds", function()
  it("is let go with its values", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local value = {}
      weak[value] = true
      var:with(value, function()
        aio.spawn(function() aio.sleep(1) end):await()
        aio.loop():call_soon(function() end):await()
      end)
    end
    aio.yield()
    helper.gone(weak)
  end))

  it("is let go when its timer is cancelled", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local value = {}
      weak[value] = true
      local cb = var:with(value, function()
        return aio.loop():call_later(100, function() end)
      end)
      cb:cancel()
    end
    testing.settle()
    helper.gone(weak)
  end))
end)
