-- aio.run: its values, its errors, its options.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local raised, has, values = helper.raised, helper.has, helper.values
local bare = helper.bare

describe("run", function()
  it("returns main's values, nils too", bare(function()
    values({ 1, nil, "x", nil, n = 4 }, aio.run(function()
      return 1, nil, "x", nil
    end))
    values({ n = 0 }, aio.run(function() end))
  end))

  it("hands arguments to main, nils too", bare(function()
    values({ 1, nil, 3, nil, n = 4 }, aio.run(function(...)
      return ...
    end, 1, nil, 3, nil))
  end))

  it("takes options first", bare(function()
    values({ "a", "b" }, aio.run({ grace = 1 }, function(...)
      return ...
    end, "a", "b"))
  end))

  it("makes main a task", bare(function()
    assert.is_nil(aio.task())
    aio.run(function()
      assert.is_not_nil(aio.task())
      assert.is_true(aio.is_awaitable(aio.task()))
    end)
    assert.is_nil(aio.task())
  end))

  it("returns values that came after a wait", bare(function()
    values({ "late" }, aio.run(function()
      aio.sleep(1)
      return "late"
    end))
  end))

  it("raises main's error unchanged", bare(function()
    local e = {}
    assert.equal(e, raised(aio.run, function() error(e) end))
    values({ false, nil, n = 2 }, pcall(aio.run, function() error(nil) end))
    values({ false, false }, pcall(aio.run, function() error(false) end))
  end))

  it("raises main's error after a wait", bare(function()
    local e = {}
    assert.equal(e, raised(aio.run, function()
      aio.sleep(1)
      error(e)
    end))
  end))

  it("can be called again, also after an error", bare(function()
    raised(aio.run, error, "first")
    values({ 2 }, aio.run(function() return 2 end))
    values({ 3 }, aio.run(function() return 3 end))
  end))

  it("raises inside a run and leaves that in order", bare(function()
    local log = helper.log()
    aio.run(function()
      raised(aio.run, function() log "inner" end)
      aio.sleep(1)
      log "outer"
    end)
    assert.equal("outer", log:text())
  end))

  it("raises in a callback", bare(function()
    local ok
    aio.run(function()
      aio.loop():call_soon(function()
        ok = pcall(aio.run, function() end)
      end):await()
    end)
    assert.is_false(ok)
  end))

  it("raises in a task of the state that is driven", bare(function()
    local ok
    aio.spawn(function() ok = pcall(aio.run, function() end) end):await()
    assert.is_false(ok)
  end))

  it("can be told an exit status for os.exit", function()
    local program = [[
      os.exit(require "perilune".run(function() return %s end))
    ]]
    assert.equal(3, select(3, helper.script(program:format "3")))
    assert.equal(0, select(3, helper.script(program:format "true")))
    assert.equal(1, select(3, helper.script(program:format "false")))
    assert.equal(0, select(3, helper.script(program:format "")))
  end)

  it("raises ECANCELED if main lets its own cancellation out",
    bare(function()
      local e = raised(aio.run, function()
        aio.task():cancel "tired"
        aio.yield()
      end)
      assert.equal("ECANCELED", e.code)
      assert.equal("tired", e.reason)
      assert.is_true(aio.sleep(1)) -- the main chunk is not cancelled
    end))

  it("obeys a scope of the main chunk", bare(function()
    local log = helper.log()
    helper.failed("ETIMEDOUT", aio.timeout(1, aio.run, function()
      local _ <close> = setmetatable({}, {
        __close = function() log "closed" end,
      })
      aio.sleep(1000)
    end))
    assert.equal("closed", log:text())
    assert.is_true(aio.sleep(1))
  end))
end)

describe("run's arguments", function()
  it("need a function", bare(function()
    raised(aio.run)
    raised(aio.run, {})
    raised(aio.run, {}, 3)
    raised(aio.run, "main")
  end))

  it("may have a callable object as main", bare(function()
    local main = setmetatable({}, { __call = function(_, x) return x end })
    values({ 5 }, aio.run(main, 5))
    values({ 6 }, aio.run({}, main, 6))
  end))

  it("are checked for type and range before anything starts", bare(function()
    local ran = false
    local function main() ran = true end
    for _, opts in ipairs {
      { grace = "long" }, { grace = 0 / 0 }, { grace = -1 },
      { unhandled = "maybe" }, { unhandled = 1 }, { on_error = 42 },
    } do
      raised(aio.run, opts, main)
    end
    assert.is_false(ran)
  end))

  it("name the option that is wrong", bare(function()
    has("grace", raised(aio.run, { grace = {} }, function() end))
    has("unhandled", raised(aio.run, { unhandled = "x" }, function() end))
  end))

  it("may have all options", bare(function()
    values({ 1 }, aio.run({ grace = 1, signals = false, patch = false,
      unhandled = "report", on_error = function() end, debug = false },
      function() return 1 end))
  end))
end)

describe("a background task", function()
  it("belongs to the run and may outlive its maker", bare(function()
    local log = helper.log()
    aio.run(function()
      aio.spawn(function()
        aio.spawn(function()
          aio.sleep(2)
          log "grandchild"
        end)
      end)
      aio.sleep(3)
    end)
    assert.equal("grandchild", log:text())
  end))

  it("belongs to the state without a run", bare(function()
    local t = aio.spawn(function()
      aio.sleep(2)
      return "kept"
    end)
    aio.run(function() aio.sleep(1) end)
    assert.equal("kept", t:await())
  end))

  it("progresses during a later run, too", bare(function()
    local t = aio.spawn(function()
      aio.sleep(1)
      return "seen"
    end)
    aio.run(function()
      aio.sleep(2)
      values({ "ok", "seen" }, t:peek())
    end)
  end))
end)

describe("yield, sleep and check", function()
  it("yield lets all others run once", helper.case(function()
    local log = helper.log()
    for i = 1, 3 do
      aio.spawn(function() log(i) end)
    end
    aio.yield()
    assert.equal("1 2 3", log:text())
  end))

  it("sleep takes the time it is given", helper.case(function()
    local before = aio.now()
    aio.sleep(2.5)
    assert.is_true(math.abs(aio.now() - before - 2.5) < 1e-6)
  end))

  it("sleep(0) and less let others run, too", helper.case(function()
    local log = helper.log()
    aio.spawn(log, "other")
    aio.sleep(0)
    log "main"
    aio.spawn(log, "another")
    aio.sleep(-1)
    assert.equal("other main another", log:text())
  end))

  it("sleep wakes in order of time", helper.case(function()
    local log = helper.log()
    local g <close> = aio.group()
    for _, s in ipairs { 3, 1, 2 } do
      g:spawn(function()
        aio.sleep(s)
        log(s)
      end)
    end
    g:wait()
    assert.equal("1 2 3", log:text())
  end))

  it("sleep raises for NaN and what is no number", helper.case(function()
    raised(aio.sleep, 0 / 0)
    raised(aio.sleep)
    raised(aio.sleep, {})
  end))

  it("a cancelled sleep leaves no timer", helper.case(function()
    local before = aio.loop():stats().timers
    local t = aio.spawn(aio.sleep, 100)
    testing.settle()
    assert.equal(before + 1, aio.loop():stats().timers)
    t:cancel()
    t:join()
    assert.equal(before, aio.loop():stats().timers)
  end))

  it("check does not switch", helper.case(function()
    local log = helper.log()
    aio.spawn(log, "other")
    assert.is_true(aio.check())
    log "main"
    aio.yield()
    assert.equal("main other", log:text())
  end))

  it("check raises once cancelled", helper.case(function()
    local t = aio.spawn(function()
      local e = raised(aio.check)
      assert.is_true(aio.is_cancelled(e))
      assert.equal("stop", e.reason)
      return "checked"
    end)
    t:cancel("stop")
    assert.equal("checked", t:await())
  end))

  it("now is the loop's clock", helper.case(function()
    assert.equal("number", type(aio.now()))
    assert.equal(aio.loop():time(), aio.now())
  end))

  it("now stands still in a turn", helper.real(function()
    local before = aio.now()
    for _ = 1, 1e5 do end
    assert.equal(before, aio.now())
  end))
end)
