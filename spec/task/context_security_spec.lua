-- What is set for one request is never visible in another, whatever mixes.
--
-- Requests are tasks that set `user` to their name; `seen` is what others see.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local raised, has = helper.raised, helper.has
local case, bare = helper.case, helper.bare
local co, stock = aio.coroutine, helper.stock

local context = aio.context
local user = context.var("user", "nobody")

-- Runs `fn` as a request of that name, in a task of its own.
local function request(name, fn, ...)
  return aio.spawn(function(...)
    user:set(name)
    return fn(...)
  end, ...)
end

-- A function that adds what it sees of `user` to the log.
local function looker(log, word)
  return function() log(word, user:get()) end
end

describe("a generator shared by two requests", function()
  -- Made in request a: each value is what it sees.
  local function shared(body)
    return request("a", co.wrap, body or function()
      while true do
        coroutine.yield(user:get())
      end
    end):await()
  end

  it("sees only that in which it was made", case(function()
    local gen = shared()
    assert.equal("a", request("b", gen):await())
    assert.equal("a", request("c", gen):await())
    assert.equal("a", gen())
  end))

  it("changes nothing of who resumes it", case(function()
    local gen = shared(function()
      user:set "inside"
      coroutine.yield()
      local _ <close> = user:let "let"
      aio.yield()
      coroutine.yield()
    end)
    for _ = 1, 3 do
      assert.equal("b", request("b", function()
        gen()
        return user:get()
      end):await())
    end
  end))

  it("has its callbacks and tasks in its own context", case(function()
    local log = helper.log()
    local gen = shared(function()
      aio.loop():call_soon(looker(log, "soon"))
      aio.spawn(looker(log, "task"))
    end)
    request("b", gen):await()
    testing.settle()
    assert.equal("soon:a task:a", log:text())
  end))

  it("that fails leaves nothing, its handlers neither", case(function()
    local log = helper.log()
    local gen = shared(function()
      local _ <close> = setmetatable({}, { __close = looker(log, "handler") })
      user:set "inside"
      error "x"
    end)
    assert.equal("b", request("b", function()
      raised(gen)
      return user:get()
    end):await())
    assert.equal("handler:inside", log:text())
  end))

  -- Made by the stock function; the first who resumes it is request a.
  it("that is a stock coroutine and fails does as well", case(function()
    local log = helper.log()
    local gen = stock.create(function()
      local _ <close> = setmetatable({}, { __close = looker(log, "handler") })
      coroutine.yield()
      error "x"
    end)
    request("a", co.resume, gen):await()
    assert.equal("b", request("b", function()
      assert.is_false((co.resume(gen)))
      co.close(gen)
      return user:get()
    end):await())
    assert.equal("handler:a", log:text())
  end))

  it("is closed in its own context", case(function()
    local log = helper.log()
    local gen = request("a", function()
      local gen = co.create(function()
        local _ <close> = setmetatable({}, { __close = looker(log, "handler") })
        user:with("with", coroutine.yield)
      end)
      co.resume(gen)
      return gen
    end):await()
    request("b", function()
      co.close(gen)
      log("after", user:get())
    end):await()
    assert.equal("handler:a after:b", log:text())
  end))

  it("closed by the stock function puts back nothing here", case(function()
    local gen = request("a", function()
      local gen = co.create(function()
        local _ <close> = user:let "inside"
        user:with("with", coroutine.yield)
      end)
      co.resume(gen)
      return gen
    end):await()
    assert.equal("b", request("b", function()
      assert.is_true(stock.close(gen))
      return user:get()
    end):await())
  end))

  it("that is dropped in the middle leaves nothing", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    request("b", function()
      local value = {}
      weak[value] = true
      user:with(value, function() shared()() end)
      co.wrap(function() user:with(value, coroutine.yield) end)()
      assert.equal("b", user:get())
    end):await()
    aio.yield()
    helper.gone(weak)
  end))

  it("works in a callback, which keeps its own", case(function()
    local log = helper.log()
    local gen = shared(function()
      user:set "inside"
      coroutine.yield(user:get())
    end)
    request("b", function()
      aio.loop():call_soon(function()
        log(gen(), user:get())
        user:set "callback"
        log(user:get())
      end)
      testing.settle()
      log(user:get())
    end):await()
    assert.equal("inside:b callback b", log:text())
  end))
end)

describe("changing a variable raises", function()
  local ways = {
    set = function() user:set "x" end,
    let = function() return user:let "x" end,
    with = function() user:with("x", print) end,
    run = function() context.run(print) end,
    suppress = function() context.suppress(print) end,
  }

  for name, way in pairs(ways) do
    it(name .. " in a stock coroutine of a task", case(function()
      has("aio.coroutine", raised(stock.wrap(way)))
      assert.equal("nobody", user:get())
    end))

    it(name .. " in a stock coroutine of the main chunk", bare(function()
      has("aio.coroutine", raised(stock.wrap(way)))
      assert.equal("nobody", user:get())
    end))

    it(name .. " in a stock coroutine of a callback", case(function()
      aio.loop():call_soon(function()
        has("aio.coroutine", raised(stock.wrap(way)))
        assert.equal("nobody", user:get())
      end):await()
    end))

    it(name .. " in a stock coroutine of a generator", case(function()
      co.wrap(function()
        has("aio.coroutine", raised(stock.wrap(way)))
        assert.equal("nobody", user:get())
      end)()
    end))

    it(name .. " in __gc", case(function()
      local e
      setmetatable({}, { __gc = function()
        e = select(2, pcall(way))
      end })
      collectgarbage()
      has("__gc", e)
    end))
  end

  it("not in a generator of the main chunk", bare(function()
    local gen = co.wrap(function()
      user:set "inside"
      coroutine.yield(user:get())
      coroutine.yield(user:get())
    end)
    assert.equal("inside", gen())
    assert.equal("nobody", user:get())
    assert.equal("inside", gen())
  end))

  it("not in a generator of a callback", case(function()
    aio.loop():call_soon(function()
      assert.equal("inside", co.wrap(function()
        user:set "inside"
        return user:get()
      end)())
      assert.equal("nobody", user:get())
    end):await()
  end))

  it("not in a generator that a stock coroutine resumes", case(function()
    assert.equal("inside", stock.wrap(co.wrap(function()
      user:set "inside"
      return user:get()
    end))())
    assert.equal("nobody", user:get())
  end))
end)

describe("a bound function", function()
  it("called in a stock coroutine leaks nothing", case(function()
    local bound = request("a", context.bind, function()
      user:set "inside"
      return user:get()
    end):await()
    local gen = stock.wrap(function()
      coroutine.yield(bound())
      coroutine.yield(user:get())
    end)
    assert.equal("inside", gen())
    assert.equal("nobody", user:get())
    assert.equal("nobody", gen())
  end))

  it("is not left in the middle by a stock coroutine", case(function()
    local bound = request("a", context.bind, stock.yield):await()
    has("yield", raised(stock.wrap(bound)))
    assert.equal("nobody", user:get())
    assert.equal("a", stock.wrap(request("a", context.bind, user.get)
      :await())(user))
  end))

  it("is left in the middle by a generator", case(function()
    local bound = request("a", context.bind, function()
      coroutine.yield(user:get())
      return user:get()
    end):await()
    request("b", function()
      local gen = co.wrap(bound)
      assert.equal("a", gen())
      assert.equal("b", user:get())
      assert.equal("a", gen())
      assert.equal("b", user:get())
    end):await()
  end))

  it("comes back when it fails, or is cancelled", case(function()
    local fail = request("a", context.bind, error):await()
    local wait = request("a", context.bind, aio.sleep):await()
    request("b", function()
      raised(fail, "x")
      assert.equal("b", user:get())
      aio.timeout(1, wait, 10)
      assert.equal("b", user:get())
    end):await()
  end))
end)

describe("a let", function()
  it("that another task closes does nothing there", case(function()
    local let = request("a", user.let, user, "let"):await()
    assert.equal("b", request("b", function()
      do
        local _ <close> = let
      end
      return user:get()
    end):await())
  end))

  it("in a generator is not for who resumes it", case(function()
    request("b", function()
      local let = co.wrap(function() return user:let "inside" end)()
      do
        local _ <close> = let
      end
      assert.equal("b", user:get())
    end):await()
  end))
end)

describe("a task ended by force", function()
  -- What handlers see that run then, from the inside out.
  local function seen(body)
    local log = helper.log()
    local function guard(word)
      return setmetatable({}, { __close = looker(log, word) })
    end
    aio.run({ grace = 0, on_error = function() end }, function()
      request("b", function()
        local _ <close> = guard "task"
        body(guard)
      end)
      aio.yield()
    end)
    return log:text()
  end

  local function hang()
    while true do pcall(aio.sleep, 100) end
  end

  it("has its handlers called where they are: with", bare(function()
    assert.equal("with:with task:b", seen(function(guard)
      user:with("with", function()
        local _ <close> = guard "with"
        hang()
      end)
    end))
  end))

  it("has its handlers called where they are: let", bare(function()
    assert.equal("let:let task:b", seen(function(guard)
      local _ <close> = user:let "let"
      local _ <close> = guard "let"
      hang()
    end))
  end))

  it("has its handlers called where they are: bound", bare(function()
    assert.equal("bound:a task:b", seen(function(guard)
      local bound = user:with("a", context.bind, function()
        local _ <close> = guard "bound"
        hang()
      end)
      bound()
    end))
  end))

  it("has its handlers called where they are: generators", bare(function()
    assert.equal("inner:inner outer:a task:b", seen(function(guard)
      local function inner()
        local _ <close> = guard "inner"
        hang()
      end
      local gen = user:with("a", co.wrap, function()
        local _ <close> = guard "outer"
        user:with("inner", co.wrap, inner)()
      end)
      gen()
    end))
  end))

  it("has its hooks called in the context", bare(function()
    assert.equal("task:b hook:b", seen(function(guard)
      context.on_close(getmetatable(guard "hook").__close)
      hang()
    end))
  end))
end)

describe("a finalizer", function()
  -- Runs `fn` in one, while request a runs.
  local function finalize(fn)
    request("a", function()
      setmetatable({}, { __gc = fn })
      collectgarbage()
      assert.equal("a", user:get())
    end):await()
    testing.settle()
  end

  it("sees no request", case(function()
    local log = helper.log()
    finalize(looker(log, "gc"))
    assert.equal("gc:nobody", log:text())
  end))

  it("captures no request", case(function()
    local log = helper.log()
    finalize(function()
      aio.spawn(looker(log, "task"))
      aio.loop():call_soon(looker(log, "soon"))
      log("bound", context.bind(user.get)(user))
      log("generator", co.wrap(user.get)(user))
    end)
    assert.equal("bound:nobody generator:nobody task:nobody soon:nobody",
      log:text())
  end))

  it("has the key of none", case(function()
    local keys = {}
    request("a", function()
      keys.request = context.key()
      setmetatable({}, { __gc = function() keys.gc = context.key() end })
      collectgarbage()
    end):await()
    assert.equal(aio.context.suppress(aio.loop().call_soon, aio.loop(),
      context.key):await(), keys.gc)
    assert.are_not.equal(keys.request, keys.gc)
  end))

  it("may call a bound function and a generator", case(function()
    local log = helper.log()
    local bound = request("b", context.bind, function()
      log("bound", user:get())
      user:set "inside"
      log("set", user:get())
    end):await()
    local gen = request("c", co.wrap, looker(log, "generator")):await()
    finalize(function()
      bound()
      gen()
      log("after", user:get())
    end)
    assert.equal("bound:b set:inside generator:c after:nobody", log:text())
  end))
end)

describe("callbacks", function()
  it("do not see each other, nor who runs before", case(function()
    local log = helper.log()
    for _, name in ipairs { "a", "b" } do
      request(name, function()
        aio.loop():call_later(1, function()
          log(user:get())
          user:set "callback"
        end)
      end)
    end
    aio.loop():call_later(1, looker(log, "main"))
    aio.sleep(2)
    assert.equal("main:nobody a b", log:text())
  end))

  it("of a future see who registered, not who settles", case(function()
    local log, f = helper.log(), aio.future()
    request("a", f.on_done, f, looker(log, "a")):await()
    request("b", f.on_done, f, looker(log, "b")):await()
    f:on_cancel(looker(log, "main"))
    request("c", f.cancel, f):await()
    testing.settle()
    assert.equal("a:a b:b main:nobody", log:text())
  end))

  it("of groups see who opened it", case(function()
    local log = helper.log()
    local look = looker(log, "failure")
    request("a", function()
      local g <close> = aio.group { on_failure = look }
      request("b", g.spawn, g, error, "x"):await()
    end):await()
    assert.equal("failure:a", log:text())
  end))

  it("that fail tell a hook that sees no request", bare(function()
    local log = helper.log()
    local function heard(_, info)
      log(info.kind, user:get(), info.context and info.context(user.get, user))
    end
    aio.run({ on_error = heard }, function()
      request("a", function()
        aio.loop():call_soon(error, "x")
        error "y"
      end)
      aio.group({ on_failure = false }, function() end)
    end)
    has("callback:nobody", log:text())
    has("task:nobody:a", log:text())
  end))
end)

describe("tasks", function()
  it("of one coroutine, one after the other, see nothing", case(function()
    local states = {}
    for i = 1, 5 do
      request(i, function()
        states[coroutine.running()] = true
      end):await()
      assert.equal("nobody", aio.spawn(user.get, user):await())
    end
    local n = 0
    for _ in pairs(states) do n = n + 1 end
    assert.is_true(n < 5) -- they have been used again
  end))

  it("that talk by channels keep to themselves", case(function()
    local log, channel = helper.log(), aio.channel(1)
    local a = request("a", function()
      for _ = 1, 3 do channel:put(user:get()) end
      log("a", user:get())
      channel:close()
    end)
    request("b", function()
      for name in channel do log(name, user:get()) end
    end):await()
    a:await()
    has("a:b a:b", log:text())
    has("a:a", log:text())
  end))

  it("in a group of another request are of who spawned", case(function()
    request("a", function()
      local g <close> = aio.group()
      assert.equal("b", request("b", function()
        return g:spawn(user.get, user):await()
      end):await())
      assert.equal("a", g:spawn(user.get, user):await())
    end):await()
  end))

  it("are not changed by what runs while they wait", case(function()
    local g <close> = aio.group()
    for i = 1, 5 do
      g:spawn(function()
        user:set(i)
        local bound = context.bind(function()
          user:set "bound"
          aio.yield()
        end)
        local gen = co.wrap(function()
          user:set "generator"
          aio.yield()
          coroutine.yield()
        end)
        for _, wait in ipairs { aio.yield, bound, gen } do
          wait()
          assert.equal(i, user:get())
          assert.equal(i, aio.spawn(user.get, user):await())
        end
      end)
    end
  end))

  it("do not share what was in force when both began", case(function()
    user:set "main"
    local first = request("a", function()
      aio.yield()
      return user:get()
    end)
    local second = aio.spawn(function()
      aio.yield()
      return user:get()
    end)
    user:set "later"
    assert.equal("a", first:await())
    assert.equal("main", second:await())
  end))
end)

describe("hooks of on_close", function()
  it("see their own request, whatever ends it", case(function()
    local log = helper.log()
    local release = {}
    for _, name in ipairs { "a", "b" } do
      request(name, function()
        context.on_close(looker(log, "hook"))
        release[name] = aio.loop():call_later(100, print)
      end)
    end
    aio.yield()
    request("b", function() release.a:cancel() end):await()
    release.b:cancel()
    testing.settle()
    assert.equal("hook:a hook:b", log:text())
  end))
end)

describe("the main chunk", function()
  it("sees no request after a wait that drove them", bare(function()
    local tasks = {}
    for i = 1, 3 do
      tasks[i] = request(i, function()
        aio.sleep(1)
        user:set "after"
      end)
    end
    aio.sleep(0.5)
    assert.equal("nobody", user:get())
    aio.wait(tasks)
    assert.equal("nobody", user:get())
  end))

  it("has hooks that see no request, with os.exit in one", function()
    assert.equal("nobody\n", (helper.script [[
      local aio = require "perilune"
      local user = aio.context.var("user", "nobody")
      aio.on_close(function() print(user:get()) end)
      aio.spawn(function()
        user:set "a"
        os.exit(0, true)
      end)
      aio.yield()
    ]]))
  end)
end)
