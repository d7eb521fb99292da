-- The end of a run: one ordered pass.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local raised, has, values = helper.raised, helper.has, helper.values
local bare = helper.bare

-- A background task that says how it was cancelled.
local function mourner(log, name)
  return function()
    local e = raised(aio.sleep, 1000)
    log(name, e.reason)
    error(e)
  end
end

describe("at the end of a run, background tasks", function()
  it("are cancelled for shutdown", bare(function()
    local log = helper.log()
    aio.run(function()
      aio.spawn(mourner(log, "a"))
      aio.spawn(mourner(log, "b"))
      aio.yield()
      log "main"
    end)
    assert.equal("main a:shutdown b:shutdown", log:text())
  end))

  it("are started even if main ends at once", bare(function()
    local log = helper.log()
    aio.run(function()
      aio.spawn(function()
        log "started"
        raised(aio.sleep, 1)
        log "cancelled"
      end)
    end)
    assert.equal("started cancelled", log:text())
  end))

  it("are joined", bare(function()
    local log = helper.log()
    aio.run(function()
      aio.spawn(function()
        local _ <close> = setmetatable({}, { __close = function()
          aio.shield(nil, aio.sleep, 1)
          log "closed"
        end })
        aio.sleep(1000)
      end)
      aio.yield()
    end)
    assert.equal("closed", log:text())
  end))

  it("are joined as well when main fails", bare(function()
    local log = helper.log()
    assert.equal("oops", raised(aio.run, function()
      aio.spawn(mourner(log, "a"))
      aio.yield()
      error("oops", 0)
    end))
    assert.equal("a:shutdown", log:text())
  end))

  it("are joined if spawned meanwhile", bare(function()
    local log = helper.log()
    aio.run(function()
      aio.spawn(function()
        raised(aio.sleep, 1000)
        aio.spawn(function()
          log "late"
          local e = raised(aio.sleep, 1000)
          log(aio.is_cancelled(e))
        end)
      end)
      aio.yield()
    end)
    assert.equal("late true", log:text())
  end))

  it("end before run returns, whatever depth they were spawned at",
    bare(function()
      local log = helper.log()
      local function chain(n)
        return function()
          raised(aio.sleep, 1000)
          log(n)
          if n > 1 then
            aio.spawn(chain(n - 1))
          end
        end
      end
      aio.run(function()
        aio.spawn(chain(4))
        aio.yield()
      end)
      assert.equal("4 3 2 1", log:text())
    end))

  it("do not change main's result", bare(function()
    values({ "mine" }, aio.run(function()
      aio.spawn(function()
        raised(aio.sleep, 1000)
        return "theirs"
      end)
      aio.yield()
      return "mine"
    end))
  end))

  it("may fail then, and run raises it", bare(function()
    local text = helper.written(function()
      assert.equal("in shutdown", raised(aio.run, function()
        aio.spawn(function()
          raised(aio.sleep, 1000)
          error("in shutdown", 0)
        end)
        aio.yield()
      end))
    end)
    has("in shutdown", text)
  end))
end)

describe("a callback that is not due at the end of a run", function()
  it("is called when a later one drives the loop", bare(function()
    local log = helper.log()
    aio.run(function() aio.loop():call_later(10, log, "callback") end)
    log "between"
    aio.run(aio.sleep, 20)
    assert.equal("between callback", log:text())
  end))
end)

describe("the grace", function()
  it("limits how long clean-up takes", bare(function()
    local kinds = helper.log()
    local before = aio.now()
    aio.run({
      grace = 2,
      on_error = function(_, info) kinds(info.kind) end,
    }, function()
      aio.spawn(function()
        aio.shield(1000, aio.sleep, 500)
      end)
      aio.yield()
    end)
    local took = aio.now() - before
    assert.is_true(took >= 2 and took < 3, took)
    has("shutdown", kinds:text())
  end))

  it("is what a shield without limit gets", bare(function()
    local before = aio.now()
    local result
    aio.run({ grace = 2 }, function()
      aio.spawn(function()
        result = table.pack(aio.shield(nil, aio.sleep, 500))
      end)
      aio.yield()
    end)
    helper.failed("ETIMEDOUT", table.unpack(result, 1, result.n))
    assert.is_true(aio.now() - before <= 2.001)
  end))

  it("is five seconds where nothing else is said", bare(function()
    local before = aio.now()
    aio.run({ on_error = function() end }, function()
      aio.spawn(aio.shield, 1000, aio.sleep, 500)
      aio.yield()
    end)
    assert.is_true(math.abs(aio.now() - before - 5) < 0.1)
  end))

  it("of 0 ends everybody at once", bare(function()
    local before, log = aio.now(), helper.log()
    aio.run({ grace = 0, on_error = function() end }, function()
      aio.spawn(function()
        local _ <close> = setmetatable({}, {
          __close = function() log "closed" end,
        })
        aio.shield(1000, aio.sleep, 500)
      end)
      aio.yield()
    end)
    assert.equal(before, aio.now())
    assert.equal("closed", log:text())
  end))

  it("is not waited for when nothing is left", bare(function()
    local before = aio.now()
    aio.run({ grace = 100 }, function()
      aio.spawn(aio.sleep, 1000)
      aio.yield()
    end)
    assert.equal(before, aio.now())
  end))

  it("does not help who swallows cancellation for ever", bare(function()
    local kinds = helper.log()
    aio.run({
      grace = 1,
      on_error = function(_, info) kinds(info.kind) end,
    }, function()
      aio.spawn(function()
        while true do
          pcall(aio.sleep, 1)
          aio.shield(0.25, aio.sleep, 10)
        end
      end)
      aio.yield()
    end)
    has("shutdown", kinds:text())
  end))

  it("of 0 lets those end who need no time", bare(function()
    local log = helper.log()
    aio.run({ grace = 0 }, function()
      aio.spawn(mourner(log, "a"))
      aio.spawn(function()
        local g <close> = aio.group()
        g:spawn(mourner(log, "child"))
      end)
      aio.yield()
      aio.yield()
    end)
    assert.equal("a:shutdown child:shutdown", log:text())
  end))

  it("over, its tasks are reported once, and run does not raise",
    bare(function()
      local text = helper.written(function()
        assert.equal("mine", aio.run({ grace = 1 }, function()
          aio.spawn(aio.shield, 1000, aio.sleep, 500)
          aio.yield()
          return "mine"
        end))
      end)
      has("not ended in time", text)
      assert.is_nil(text:find("failure", 1, true))
    end))

  it("over, the error hook is a callback", bare(function()
    local ok
    aio.run({ grace = 1, on_error = function() ok = pcall(aio.sleep, 1) end },
      function()
        aio.spawn(aio.shield, 1000, aio.sleep, 500)
        aio.yield()
      end)
    assert.is_false(ok)
  end))

  it("reports with a traceback who is over the limit", bare(function()
    local found
    local function stubborn() aio.sleep(500) end
    aio.run({
      grace = 1,
      on_error = function(_, info)
        if info.kind == "shutdown" then
          found = info
        end
      end,
    }, function()
      aio.spawn(function()
        aio.shield(1000, function() stubborn() end)
      end)
      aio.yield()
    end)
    has("stubborn", found.traceback)
    assert.is_not_nil(found.task)
  end))
end)

describe("a thousand background tasks", function()
  local kinds = {
    function() aio.sleep(1000) end,
    function()
      pcall(aio.sleep, 1000)
      aio.shield(nil, aio.sleep, 1)
    end,
    function(add)
      pcall(aio.sleep, 1000)
      for _ = 1, 3 do
        aio.spawn(function()
          local _ <close> = add()
          aio.sleep(1000)
        end)
      end
    end,
    function() for _ = 1, 20 do pcall(aio.sleep, 1000) end end,
    function() end,
    function(add)
      local g <close> = aio.group()
      g:spawn(function()
        local _ <close> = add()
        aio.sleep(1000)
      end)
    end,
  }

  -- How many were alive at once, and are at the end.
  local function count(grace, on_error)
    local most, alive = 0, 0
    local closing = { __close = function() alive = alive - 1 end }
    local function add()
      alive = alive + 1
      most = math.max(most, alive)
      return setmetatable({}, closing)
    end
    aio.run({ grace = grace, on_error = on_error }, function()
      for i = 1, helper.many(1000) do
        aio.spawn(function()
          local _ <close> = add()
          kinds[i % #kinds + 1](add)
        end)
      end
      aio.yield()
    end)
    return most, alive, aio.loop():stats().tasks
  end

  it("that shield, spawn, or never wait all end within the grace",
    bare(function()
      local most, alive, tasks = count(5, function(e) error(e) end)
      assert.is_true(most >= helper.many(1000) / 2)
      assert.equal(0, alive)
      assert.equal(0, tasks)
    end))

  it("all end, also by force", bare(function()
    local forced = 0
    local _, alive, tasks = count(0, function(_, info)
      assert.equal("shutdown", info.kind)
      forced = forced + 1
    end)
    assert.is_true(forced > 0)
    assert.equal(0, alive)
    assert.equal(0, tasks)
  end))
end)

describe("on_close", function()
  it("runs last in, first out, after the tasks have ended", bare(function()
    local log = helper.log()
    aio.run(function()
      aio.on_close(function() log "first" end)
      aio.on_close(function() log "second" end)
      aio.spawn(mourner(log, "task"))
      aio.yield()
      log "main"
    end)
    assert.equal("main task:shutdown second first", log:text())
  end))

  it("runs when main fails", bare(function()
    local log = helper.log()
    raised(aio.run, function()
      aio.on_close(function() log "closed" end)
      error("oops")
    end)
    assert.equal("closed", log:text())
  end))

  it("belongs to one run", bare(function()
    local log = helper.log()
    aio.run(function() aio.on_close(function() log "one" end) end)
    aio.run(function() log "two" end)
    assert.equal("one two", log:text())
  end))

  it("runs all hooks though one fails", bare(function()
    local log = helper.log()
    aio.run({ on_error = function(e) log(e) end }, function()
      aio.on_close(function() log "last" end)
      aio.on_close(function() error("bad", 0) end)
    end)
    has("bad", log:text())
    has("last", log:text())
  end))

  it("takes a hook that was added by a hook", bare(function()
    local log = helper.log()
    aio.run(function()
      aio.on_close(function()
        log "outer"
        aio.on_close(function() log "inner" end)
      end)
    end)
    assert.equal("outer inner", log:text())
  end))

  it("may wait", bare(function()
    local log, before = helper.log(), aio.now()
    aio.run(function()
      aio.on_close(function()
        log(aio.sleep(1))
        log(aio.spawn(function() return "joined" end):await())
      end)
    end)
    assert.equal("true joined", log:text())
    assert.is_true(aio.now() - before < 1.1)
  end))

  it("tells of an error, with its traceback, to a hook that cannot wait",
    bare(function()
      local function culprit() error "bad" end
      local info, waited
      aio.run({ on_error = function(_, i)
        info, waited = i, pcall(aio.sleep, 1)
      end }, function() aio.on_close(function() culprit() end) end)
      assert.equal("shutdown", info.kind)
      has("culprit", info.traceback)
      assert.is_false(waited)
    end))

  it("joins what it spawns, which is cancelled from the start",
    bare(function()
      local log = helper.log()
      aio.run(function()
        aio.on_close(function()
          aio.spawn(function()
            log(raised(aio.sleep, 1000).reason)
            aio.shield(nil, aio.sleep, 1)
            log "joined"
          end)
        end)
      end)
      assert.equal("shutdown joined", log:text())
    end))

  it("has what is left of the grace", bare(function()
    local e
    local before = aio.now()
    aio.run({ grace = 2, on_error = function() end }, function()
      aio.spawn(aio.shield, nil, aio.sleep, 1)
      aio.on_close(function() e = raised(aio.sleep, 1000) error(e) end)
      aio.yield()
    end)
    assert.is_true(aio.is_cancelled(e))
    assert.is_true(aio.now() - before < 2.1)
  end))

  it("ends by force a hook that never ends, and calls the others",
    bare(function()
      local log = helper.log()
      aio.run({
        grace = 1,
        on_error = function(_, info) log(info.kind, info.task:name()) end,
      }, function()
        aio.on_close(function() log "other" end)
        aio.on_close(function() while true do pcall(aio.sleep, 1) end end)
      end)
      assert.equal("shutdown:on_close other", log:text())
    end))

  it("needs a function", bare(function()
    aio.run(function()
      raised(aio.on_close)
      raised(aio.on_close, 1)
    end)
  end))

  it("runs at the end of the state, without a run", function()
    assert.equal("second\nfirst\n", helper.program [[
      local aio = require "perilune"
      aio.on_close(function() print "first" end)
      aio.on_close(function() print "second" end)
      aio.sleep(0)
    ]])
  end)
end)
