-- Logical contexts: what a key stands for, and hooks for the end.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local raised, has = helper.raised, helper.has
local case, bare = helper.case, helper.bare

local key, on_close = aio.context.key, aio.context.on_close
local var = aio.context.var("user", "nobody")

describe("the key", function()
  it("is the same each time", case(function()
    local first = key()
    assert.equal(first, key())
    aio.yield()
    assert.equal(first, key())
    assert.equal("userdata", type(first))
  end))

  it("is the same although nobody holds it", case(function()
    local weak = setmetatable({ [key()] = "kept" }, { __mode = "k" })
    collectgarbage()
    collectgarbage()
    assert.equal("kept", weak[key()])
  end))

  it("stays when variables change", case(function()
    local first = key()
    var:set "ann"
    assert.equal(first, key())
    assert.equal(first, var:with("bob", key))
    local _ <close> = var:let "carl"
    assert.equal(first, key())
    assert.equal(first, aio.context.suppress(key))
  end))

  it("is asked for inside `with` first, and the same outside", case(function()
    local inside = var:with("bob", key)
    assert.equal(inside, key())
  end))

  it("is a new one for each run, and for the main chunk", bare(function()
    local outside = key()
    local first = aio.run(key)
    local second = aio.run(key)
    assert.are_not.equal(outside, first)
    assert.are_not.equal(first, second)
    assert.equal(outside, key())
  end))

  it("is a new one for each spawn", case(function()
    local first, second = aio.spawn(key), aio.spawn(key)
    assert.are_not.equal(first:await(), second:await())
    assert.are_not.equal(key(), first:await())
    assert.are_not.equal(key(), second:await())
  end))

  it("is a new one for each call of run", case(function()
    local first, again = aio.context.run(function()
      aio.yield()
      return key(), key()
    end)
    assert.equal(first, again)
    assert.are_not.equal(key(), first)
    assert.are_not.equal(first, aio.context.run(key))
  end))

  it("is let go with its context", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    aio.spawn(function() weak[key()] = true end):await()
    aio.context.run(function() weak[key()] = true end)
    aio.yield()
    helper.gone(weak)
  end))
end)

describe("the key is shared by", function()
  local ways = {
    ["children of groups"] = function()
      local g <close> = aio.group()
      return g:spawn(key):await()
    end,
    ["children of children"] = function()
      local g <close> = aio.group()
      return g:spawn(function()
        local inner <close> = aio.group()
        return inner:spawn(key):await()
      end):await()
    end,
    ["services"] = function()
      local found = aio.future()
      local g <close> = aio.group()
      g:service(function() found:resolve(key()) end)
      return found:await()
    end,
    ["group:start"] = function()
      local g <close> = aio.group()
      return g:start(function(started) started(key()) end)
    end,
    ["all"] = function() return aio.all(key) end,
    ["map"] = function() return aio.map({ 1 }, key)[1] end,
    ["callbacks"] = function() return aio.loop():call_soon(key):await() end,
    ["timers"] = function() return aio.loop():call_later(1, key):await() end,
    ["on_done"] = function()
      local f, found = aio.future(), aio.future()
      f:on_done(function() found:resolve(key()) end)
      aio.spawn(f.resolve, f)
      return found:await()
    end,
    ["generators"] = function()
      local gen = aio.coroutine.wrap(key)
      return aio.spawn(gen):await()
    end,
    ["stock coroutines"] = function() return helper.stock.wrap(key)() end,
    ["bound functions"] = function()
      return aio.spawn(aio.context.bind(key)):await()
    end,
    ["on_failure"] = function()
      local found = aio.future()
      local function failure() found:resolve(key()) end
      local g <close> = aio.group { on_failure = failure }
      g:spawn(error, "x")
      return found:await()
    end,
  }

  for name, way in pairs(ways) do
    it(name, case(function()
      local found = way()
      assert.equal(key(), found)
      assert.equal(found, way())
    end))
  end
end)

describe("a hook of on_close", function()
  it("is called when the task has ended", case(function()
    local log = helper.log()
    aio.spawn(function()
      assert.is_true(on_close(function() log "closed" end))
      aio.yield()
      log "ends"
    end):await()
    testing.settle()
    assert.equal("ends closed", log:text())
  end))

  it("comes last one first", case(function()
    local log = helper.log()
    aio.spawn(function()
      for i = 1, 3 do on_close(function() log(i) end) end
    end)
    testing.settle()
    assert.equal("3 2 1", log:text())
  end))

  it("is called in its context, with the values of then", case(function()
    local log, keys = helper.log(), {}
    aio.spawn(function()
      keys.task = key()
      var:set "ann"
      on_close(function()
        keys.hook = key()
        log(var:get())
      end)
      var:set "bob"
    end)
    testing.settle()
    assert.equal("ann", log:text())
    assert.equal(keys.task, keys.hook)
  end))

  it("may wait", case(function()
    local log = helper.log()
    aio.spawn(function()
      on_close(function() log "second" end)
      on_close(function()
        aio.sleep(1)
        log "first"
      end)
    end)
    aio.sleep(2)
    assert.equal("first second", log:text())
  end))

  it("can be added by a hook", case(function()
    local log = helper.log()
    aio.spawn(function()
      on_close(function() log "last" end)
      on_close(function()
        on_close(function() log "added" end)
      end)
    end)
    testing.settle()
    assert.equal("added last", log:text())
  end))

  it("is called when its task fails or is cancelled", case(function()
    local log = helper.log()
    local task = aio.spawn(function()
      on_close(function() log "cancelled" end)
      aio.sleep(10)
    end)
    aio.yield()
    task:cancel()
    local failing = aio.spawn(function()
      on_close(function() log "failed" end)
      error "x"
    end)
    failing:join()
    testing.settle()
    assert.equal("cancelled failed", log:text())
  end))

  it("is called at the end of context.run", case(function()
    local log = helper.log()
    aio.context.run(function() on_close(function() log "closed" end) end)
    pcall(aio.context.run, function()
      on_close(function() log "failed" end)
      error "x"
    end)
    assert.equal("", log:text())
    testing.settle()
    assert.equal("closed failed", log:text())
  end))

  it("needs a function", case(function()
    raised(on_close)
    raised(on_close, 1)
  end))

  it("lets go of what it was", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    aio.spawn(function()
      local value = {}
      weak[value], weak[key()] = true, true
      var:set(value)
      on_close(function() return value end)
    end)
    testing.settle()
    helper.gone(weak)
  end))
end)

describe("a context has not ended as long as there is", function()
  -- Runs `fn`, which begins something, in a task that ends at once; the
  -- function it is given says what has come to its end.
  local function ends(fn)
    local log = helper.log()
    aio.spawn(function()
      on_close(function() log "closed" end)
      fn(log)
      log "ends"
    end):await()
    aio.sleep(10)
    return log:text()
  end

  it("a timer", case(function()
    assert.equal("ends timer closed", ends(function(log)
      aio.loop():call_later(1, log, "timer")
    end))
  end))

  it("a timer, that is cancelled", case(function()
    assert.equal("ends closed", ends(function(log)
      local timer = aio.loop():call_later(100, log, "timer")
      aio.spawn(timer.cancel, timer)
    end))
  end))

  it("a callback of a future", case(function()
    assert.equal("ends done closed", ends(function(log)
      local f = aio.future()
      f:on_done(function() log "done" end)
      aio.spawn(function()
        aio.sleep(1)
        f:resolve()
      end)
    end))
  end))

  it("a callback that spawned nothing of its own", case(function()
    assert.equal("ends soon later closed", ends(function(log)
      local loop = aio.loop()
      loop:call_soon(function()
        log "soon"
        loop:call_later(1, log, "later")
      end)
    end))
  end))

  it("a task of its group", case(function()
    assert.equal("child ends closed", ends(function(log)
      local g <close> = aio.group()
      g:spawn(function()
        aio.sleep(1)
        log "child"
      end)
    end))
  end))

  it("a call of a bound function", case(function()
    assert.equal("ends bound closed", ends(function(log)
      local bound = aio.context.bind(function()
        aio.sleep(1)
        log "bound"
      end)
      aio.spawn(bound)
    end))
  end))

  it("but none of what was spawned in it", case(function()
    assert.equal("ends closed other", ends(function(log)
      aio.spawn(function()
        aio.sleep(1)
        log "other"
      end)
    end))
  end))

  it("nor what was suppressed, or only can be called", case(function()
    local kept = {}
    assert.equal("ends closed timer", ends(function(log)
      aio.context.suppress(function()
        aio.loop():call_later(1, log, "timer")
      end)
      kept.bound = aio.context.bind(print)
      kept.gen = aio.coroutine.create(print)
      kept.key = key()
    end))
    assert.equal("userdata", type(kept.key))
  end))

  it("nor a generator that was left in the middle", case(function()
    assert.equal("ends closed", ends(function(log)
      log.gen = aio.coroutine.wrap(function()
        var:set "ann"
        coroutine.yield()
      end)
      log.gen()
    end))
  end))
end)

describe("a context that has ended", function()
  it("ends again, after what is begun in it later", case(function()
    local log, bound = helper.log(), nil
    aio.spawn(function()
      on_close(function() log "first" end)
      bound = aio.context.bind(function()
        on_close(function() log "second" end)
        aio.sleep(1)
        log "called"
      end)
    end):await()
    aio.sleep(1)
    bound()
    aio.yield()
    testing.settle()
    assert.equal("first called second", log:text())
  end))
end)

describe("an error of a hook", function()
  it("goes to the error hook and stops no other", bare(function()
    local log = helper.log()
    aio.run({ on_error = function(e, info) log(e, info.kind) end }, function()
      aio.spawn(function()
        on_close(function() log "last" end)
        on_close(function() error("x", 0) end)
        on_close(function() error("y", 0) end)
      end):await()
      testing.settle()
    end)
    assert.equal("y:callback x:callback last", log:text())
  end))

  it("is one if it takes longer than the grace", bare(function()
    local log = helper.log()
    local opts = { grace = 2, on_error = function(e) log(e.code) end }
    aio.run(opts, function()
      aio.spawn(function()
        on_close(function() log "last" end)
        on_close(function() aio.sleep(100) end)
      end):await()
      aio.sleep(10)
      assert.equal("ETIMEDOUT last", log:text())
    end)
  end))
end)

describe("at the end of a run", function()
  it("hooks of main are called", bare(function()
    local log = helper.log()
    aio.run(function()
      on_close(function() log(key() and "closed") end)
      aio.on_close(function() log "run" end)
    end)
    assert.equal("closed run", log:text())
  end))

  it("hooks may wait, within the grace", bare(function()
    local log = helper.log()
    aio.run({ grace = 5 }, function()
      on_close(function()
        aio.sleep(1)
        log "closed"
      end)
      aio.spawn(function()
        on_close(function()
          aio.sleep(2)
          log "task"
        end)
        aio.sleep(100)
      end)
      aio.yield()
      aio.on_close(function() log "run" end)
    end)
    assert.equal("closed task run", log:text())
  end))

  it("hooks that take too long are ended, all are called", bare(function()
    local log = helper.log()
    local opts = { grace = 1, on_error = function(e) log(e.code) end }
    aio.run(opts, function()
      on_close(function() log "last" end)
      on_close(function() aio.sleep(100) end)
      on_close(function() log "first" end)
    end)
    has("first", log:text())
    has("last", log:text())
    has("ETIMEDOUT", log:text())
  end))

  it("hooks are called although a timer is left", function()
    local log = helper.log()
    local timer = aio.run(function()
      on_close(function() log(var:get()) end)
      var:set "ann"
      on_close(function() log(var:get()) end)
      return aio.loop():call_later(100, log, "timer")
    end)
    assert.equal("ann nobody", log:text())
    timer:cancel()
    aio.yield()
  end)

  it("hooks of the main chunk are not", function()
    assert.equal("run\nend\nstate\n", (helper.script [[
      local aio = require "perilune"
      aio.context.on_close(function() print "state" end)
      aio.run(function()
        aio.context.suppress(aio.context.on_close, function()
          local ok, e = pcall(aio.sleep, 1)
          assert(not ok and e.code == "EPERM", e)
        end)
      end)
      print "run"
      print "end"
    ]]))
  end)

  it("of the Lua state all are", function()
    assert.equal("task\n", (helper.script [[
      local aio = require "perilune"
      aio.spawn(function()
        aio.context.on_close(function() print "task" end)
        aio.sleep(100)
      end)
      aio.yield()
    ]]))
  end)
end)
