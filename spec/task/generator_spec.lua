-- Waiting inside generators: aio.coroutine behaves as Lua's, except that a
-- wait suspends the whole task.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local raised, has, values = helper.raised, helper.has, helper.values
local case, bare = helper.case, helper.bare
local co = aio.coroutine

describe("aio.coroutine without waits is Lua's", function()
  -- Each is run with ours and with the stock functions.
  local same = {
    ["passes values in and out"] = function(c)
      local t = c.create(function(a, b)
        local x, y = coroutine.yield(a + b, nil)
        return x, y, nil
      end)
      return { c.resume(t, 1, 2) }, { c.resume(t, "x", nil) },
        { c.resume(t) }
    end,
    ["wraps"] = function(c)
      local list = {}
      for i in c.wrap(function()
        for i = 1, 5 do
          coroutine.yield(i)
        end
      end) do
        list[#list + 1] = i
      end
      return list
    end,
    ["returns errors of resume"] = function(c)
      local t = c.create(error)
      return { c.resume(t, "text", 0) }, { c.resume(t) }, c.status(t)
    end,
    ["tells the status"] = function(c)
      local list, t = {}, nil
      t = c.create(function()
        list[#list + 1] = c.status(t)
        c.wrap(function() list[#list + 1] = c.status(t) end)()
        coroutine.yield()
      end)
      list[#list + 1] = c.status(t)
      c.resume(t)
      list[#list + 1] = c.status(t)
      c.resume(t)
      list[#list + 1] = c.status(t)
      return list
    end,
    ["refuses to resume itself"] = function(c)
      local t
      t = c.create(function() return c.resume(t) end)
      return { c.resume(t) }
    end,
    ["refuses to resume the dead"] = function(c)
      local t = c.create(function() end)
      c.resume(t)
      return { c.resume(t) }, { pcall(c.wrap(function() end)) }
    end,
    ["closes"] = function(c)
      local closed = {}
      local t = c.create(function()
        local _ <close> = setmetatable({}, {
          __close = function() closed[#closed + 1] = "closed" end,
        })
        coroutine.yield(1)
      end)
      c.resume(t)
      return { c.close(t) }, closed, c.status(t), { c.close(t) }
    end,
    ["closes with an error"] = function(c)
      local t = c.create(function()
        local _ <close> = setmetatable({}, {
          __close = function() error("bad", 0) end,
        })
        coroutine.yield(1)
      end)
      c.resume(t)
      return { c.close(t) }, c.status(t)
    end,
    ["closes one that failed"] = function(c)
      local t = c.create(error)
      c.resume(t, "e", 0)
      return { c.close(t) }
    end,
    ["refuses to close what runs"] = function(c)
      local t
      t = c.create(function() return pcall(c.close, t) end)
      local _, ok = c.resume(t)
      return ok
    end,
    ["adds the position to wrap's string errors"] = function(c)
      local ok, e = pcall(c.wrap(function() error "text" end))
      return ok, (e:match "text")
    end,
    ["leaves wrap's other errors alone"] = function(c)
      return { pcall(c.wrap(function() error(false) end)) },
        { pcall(c.wrap(function() error(nil) end)) }
    end,
    ["nests"] = function(c)
      local function count(n)
        return c.wrap(function()
          for i = 1, n do
            coroutine.yield(i)
            if n > 1 then
              for j in count(n - 1) do
                coroutine.yield(n .. ":" .. j)
              end
            end
          end
        end)
      end
      local list = {}
      for x in count(3) do
        list[#list + 1] = x
      end
      return list
    end,
    ["yields across pcall"] = function(c)
      local t = c.wrap(function()
        local ok, e = pcall(function()
          coroutine.yield(1)
          error("x", 0)
        end)
        coroutine.yield(ok, e)
      end)
      return { t() }, { t() }
    end,
    ["checks its arguments"] = function(c)
      return (pcall(c.create, 1)), (pcall(c.wrap)), (pcall(c.resume, {})),
        (pcall(c.status, "x")), (pcall(c.close, nil))
    end,
  }

  for name, try in pairs(same) do
    it("in a task: " .. name, case(function()
      assert.same(table.pack(try(helper.stock)), table.pack(try(co)))
    end))

    it("outside of tasks: " .. name, bare(function()
      assert.same(table.pack(try(helper.stock)), table.pack(try(co)))
    end))
  end

  it("mixes with coroutines of the stock functions", case(function()
    local t = helper.stock.create(function() coroutine.yield "stock" end)
    values({ true, "stock" }, co.resume(t))
    assert.equal("suspended", co.status(t))
    t = co.create(function() coroutine.yield "ours" end)
    values({ true, "ours" }, helper.stock.resume(t))
  end))

  it("makes coroutines that running and isyieldable know", case(function()
    local inside, main, yieldable
    local t = co.create(function()
      inside, main = coroutine.running()
      yieldable = coroutine.isyieldable()
    end)
    co.resume(t)
    assert.equal(t, inside)
    assert.is_false(main)
    assert.is_true(yieldable)
  end))
end)

describe("a wait in a generator", function()
  it("suspends the whole task, not its consumer", case(function()
    local log = helper.log()
    local gen = co.wrap(function()
      for i = 1, 3 do
        aio.sleep(1)
        coroutine.yield(i)
      end
    end)
    local before = aio.now()
    for i in gen do
      log(i)
    end
    assert.equal("1 2 3", log:text())
    assert.is_true(aio.now() - before >= 3)
  end))

  it("lets other tasks run", case(function()
    local log = helper.log()
    aio.spawn(log, "other")
    co.wrap(function()
      log "in"
      aio.yield()
      log "out"
    end)()
    assert.equal("in other out", log:text())
  end))

  it("passes values through, in and out", case(function()
    local t = co.create(function(a)
      aio.sleep(1)
      local b = coroutine.yield(a, nil)
      aio.sleep(1)
      return b, nil
    end)
    values({ true, "a", nil, n = 3 }, co.resume(t, "a"))
    values({ true, "b", nil, n = 3 }, co.resume(t, "b"))
    assert.equal("dead", co.status(t))
  end))

  it("returns the wait's own values inside", case(function()
    local f = aio.future()
    aio.loop():call_later(1, f.resolve, f, 1, nil, 3)
    values({ 1, nil, 3, n = 3 }, co.wrap(function()
      return f:await()
    end)())
  end))

  it("raises the wait's error inside", case(function()
    local e = {}
    local t = co.create(function()
      local f = aio.future()
      aio.loop():call_later(1, f.fail, f, e)
      return pcall(f.await, f)
    end)
    values({ true, false, e }, co.resume(t))
  end))

  it("works many levels deep", case(function()
    local function level(n)
      if n == 0 then
        aio.sleep(1)
        return "bottom"
      end
      return co.wrap(level)(n - 1)
    end
    assert.equal("bottom", level(20))
  end))

  it("works when levels yield and wait in turn", case(function()
    local function producer(n)
      return co.wrap(function()
        for i = 1, n do
          aio.sleep(0.1)
          coroutine.yield(i)
        end
      end)
    end
    local function doubled(source)
      return co.wrap(function()
        for i in source do
          aio.sleep(0.1)
          coroutine.yield(2 * i)
        end
      end)
    end
    local log = helper.log()
    for i in doubled(doubled(producer(3))) do
      log(i)
    end
    assert.equal("4 8 12", log:text())
  end))

  it("works in a pcall, a metamethod and __close", case(function()
    local log = helper.log()
    local gen = co.wrap(function()
      local _ <close> = setmetatable({}, { __close = function()
        aio.sleep(1)
        log "closed"
      end })
      local t = setmetatable({}, { __index = function(_, k)
        aio.sleep(1)
        return k
      end })
      local _, v = pcall(function()
        aio.sleep(1)
        return t.key
      end)
      coroutine.yield(v)
    end)
    assert.equal("key", gen())
    gen()
    assert.equal("closed", log:text())
  end))

  it("works in a generator that moves between tasks", case(function()
    local gen = co.wrap(function()
      for i = 1, 4 do
        aio.sleep(1)
        coroutine.yield(i)
      end
    end)
    assert.equal(1, gen())
    assert.equal(2, aio.spawn(gen):await())
    assert.equal(3, gen())
    assert.equal(4, aio.spawn(gen):await())
  end))

  it("works at top level", bare(function()
    local gen = co.wrap(function()
      aio.sleep(1)
      coroutine.yield "a"
      aio.sleep(1)
      return "b"
    end)
    assert.equal("a", gen())
    assert.equal("b", gen())
  end))

  it("in many tasks at once keeps them apart", case(function()
    local g <close> = aio.group()
    local sum = 0
    for n = 1, 10 do
      g:spawn(function()
        for i in co.wrap(function()
          for i = 1, n do
            aio.sleep(n / 10)
            coroutine.yield(i)
          end
        end) do
          sum = sum + i
        end
      end)
    end
    g:wait()
    assert.equal(220, sum)
  end))
end)

describe("a generator that waits", function()
  -- One that is parked inside a task; returns it and the future it awaits.
  local function parked()
    local f = aio.future()
    local gen = co.create(function()
      coroutine.yield(f:await())
      return "end"
    end)
    local t = aio.spawn(co.resume, gen)
    testing.settle()
    return gen, f, t
  end

  it('is of status "normal"', case(function()
    local gen, f, t = parked()
    assert.equal("normal", co.status(gen))
    f:resolve "v"
    values({ true, "v" }, t:await())
    assert.equal("suspended", co.status(gen))
  end))

  it("cannot be resumed", case(function()
    local gen, f, t = parked()
    values({ false, "cannot resume non-suspended coroutine" },
      co.resume(gen))
    f:resolve "v"
    values({ true, "v" }, t:await())
  end))

  it("cannot be closed", case(function()
    local gen, f, t = parked()
    raised(co.close, gen)
    f:resolve "v"
    values({ true, "v" }, t:await())
  end))

  it("is left alone by the stock resume", case(function()
    local gen, f, t = parked()
    helper.stock.resume(gen, "junk")
    assert.equal("pending", (t:peek()))
    f:resolve "v"
    values({ true, "v" }, t:await())
  end))

  it("meets the task's cancellation inside", case(function()
    local log = helper.log()
    local t = aio.spawn(function()
      co.wrap(function()
        local _ <close> = setmetatable({}, {
          __close = function() log "generator" end,
        })
        local ok, e = pcall(aio.sleep, 100)
        log(ok, aio.is_cancelled(e))
        error(e)
      end)()
    end)
    testing.settle()
    t:cancel()
    assert.is_false((t:join()))
    assert.equal("false:true generator", log:text())
    assert.equal("cancelled", (t:peek()))
  end))

  it("meets the deadline of the consumer's scope", case(function()
    local gen = co.wrap(function() aio.sleep(100) end)
    helper.failed("ETIMEDOUT", aio.timeout(1, gen))
  end))

  it("is in the traceback of the task that runs it", case(function()
    local function outer(fn) aio.coroutine.wrap(fn)() end
    local function inner() return (aio.task():traceback()) end
    local text
    aio.spawn(function()
      outer(function() text = inner() end)
    end):await()
    helper.has("'inner'", text)
    helper.has("'outer'", text)
  end))

  it("is in the task's traceback, with those around it", case(function()
    local function outer(fn) aio.coroutine.wrap(fn)() end
    local function middle(fn) aio.coroutine.wrap(fn)() end
    local function inner() aio.sleep(1) end
    local t = aio.spawn(function()
      outer(function() middle(function() inner() end) end)
    end)
    aio.yield()
    local text = t:traceback()
    local at = 0
    for _, name in ipairs { "inner", "middle", "outer" } do
      at = assert(text:find(name, at + 1, true), text)
    end
    t:await()
  end))

  it("is in the task's traceback", case(function()
    local function in_generator() aio.sleep(1) end
    local t = aio.spawn(function()
      co.wrap(function()
        in_generator()
        return 1
      end)()
    end)
    testing.settle()
    has("in_generator", t:traceback())
    t:await()
  end))
end)

describe("close", function()
  it("runs handlers, which cannot wait", case(function()
    local e
    local gen = co.create(function()
      local _ <close> = setmetatable({}, {
        __close = function() e = raised(aio.sleep, 1) end,
      })
      coroutine.yield()
    end)
    co.resume(gen)
    values({ true }, co.close(gen))
    assert.equal("string", type(e.code))
  end))
end)

describe("a coroutine that the stock functions run", function()
  it("raises at a wait, and says what to do", case(function()
    local gen = helper.stock.create(function() aio.sleep(1) end)
    local ok, e = helper.stock.resume(gen)
    assert.is_false(ok)
    has("coroutine", e)
    has("aio.coroutine", e)
    has("aio.patch", e)
  end))

  it("raises before anything was registered", case(function()
    local ch = aio.channel()
    local before = aio.loop():stats().timers
    helper.stock.wrap(function()
      raised(aio.sleep, 1)
      raised(ch.get, ch)
      raised(ch.put, ch, 1)
    end)()
    assert.equal(before, aio.loop():stats().timers)
    values({ false }, ch:try_get())
    values({ false }, ch:try_put(1))
  end))

  it("may do everything that is no wait", case(function()
    helper.stock.wrap(function()
      local f, ch = aio.future(), aio.channel(1)
      f:resolve(1)
      values({ "ok", 1 }, f:peek())
      assert.is_true(ch:try_put "x")
      assert.is_not_nil(aio.task())
      aio.spawn(function() end)
    end)()
    testing.settle()
  end))

  it("also inside a generator of ours", case(function()
    local e = co.wrap(function()
      return helper.stock.wrap(function() return raised(aio.yield) end)()
    end)()
    has("aio.coroutine", e)
  end))
end)

describe("a generator and scopes", function()
  it("may open and close one between yields", case(function()
    local gen = co.wrap(function()
      for _ = 1, 2 do
        do
          local _ <close> = aio.scope(10)
          aio.sleep(1)
        end
        coroutine.yield "v"
      end
    end)
    assert.equal("v", gen())
    assert.equal("v", gen())
  end))

  it("may use the function forms", case(function()
    local gen = co.wrap(function()
      local _, message, code = aio.timeout(1, aio.sleep, 5)
      coroutine.yield(code, message)
      coroutine.yield(aio.group({}, function(g)
        return g:spawn(function() return "child" end):await()
      end))
    end)
    assert.equal("ETIMEDOUT", (gen()))
    assert.equal("child", gen())
  end))

  it("must not yield a value with one open", case(function()
    local here
    local t = aio.spawn(function()
      local gen = co.create(function()
        here = helper.here() local _ <close> = aio.scope(10)
        coroutine.yield "too early"
      end)
      local ok, e = co.resume(gen)
      if ok then
        error "no error"
      end
      return e
    end)
    local ok, e = t:join()
    has(here, e)
    assert.equal("boolean", type(ok))
  end))

  it("is under the scopes of who resumes it", case(function()
    local gen = co.wrap(function()
      coroutine.yield(aio.time_left())
      coroutine.yield(aio.time_left())
    end)
    local first = aio.timeout(5, gen)
    assert.is_true(first <= 5)
    assert.is_true(gen() > 5)
  end))
end)

describe("a dropped generator", function()
  it("is collected", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local gen = co.create(function()
        aio.sleep(1)
        coroutine.yield()
      end)
      co.resume(gen)
      weak[gen] = true
    end
    helper.gone(weak)
  end))
end)
