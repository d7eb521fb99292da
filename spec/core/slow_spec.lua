-- Steps that take long, and turning debugging on and off.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local debugging = require "perilune.debug"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local bare, has, raised = helper.bare, helper.has, helper.raised

describe("perilune.debug", function()
  it("is off, and can be turned on and off", bare(function()
    local function noted()
      local t = aio.spawn(aio.yield)
      t:await()
      return t:info().spawned_at ~= nil
    end
    assert.is_false(noted())
    assert.is_true(debugging.enable { slow = false })
    local on = noted()
    assert.is_true(debugging.disable())
    assert.is_true(on)
    assert.is_false(noted())
  end))

  it("holds for a run, and what was before is put back", bare(function()
    local function noted()
      return aio.task():info().spawned_at ~= nil
    end
    assert.is_true(aio.run({ debug = true }, noted))
    assert.is_false(aio.run(noted))
    assert.is_true(aio.run({ debug = { slow = 1 } }, noted))
    debugging.enable { slow = false }
    local on, off = aio.run(noted), aio.run({ debug = false }, noted)
    local again = aio.run(noted)
    debugging.disable()
    assert.same({ true, false, true }, { on, off, again })
  end))

  it("says what is wrong with its options", bare(function()
    has("unknown option 'fast'", raised(debugging.enable, { fast = 1 }))
    has("option 'slow': seconds", raised(debugging.enable, { slow = 0 }))
    has("option 'slow': seconds", raised(debugging.enable, { slow = "1" }))
    has("table expected", raised(debugging.enable, 5))
    has("option 'debug': unknown option", raised(aio.run, { debug = { x = 1 } }, print))
    has("option 'debug': boolean or table", raised(aio.run, { debug = 5 }, print))
  end))
end)

if os.getenv "PERILUNE_NO_UV" then return end

local Child = require "spec.child"

local LIMIT = 0.02

-- Uses the processor for several times the limit.
local function spin()
  local before = os.clock()
  repeat until os.clock() - before > 5 * LIMIT
end

-- What is reported while `fn` runs: a list of { err, info }.
local function reports(fn, limit)
  local list = {}
  helper.run(fn, {
    debug = { slow = limit or LIMIT },
    on_error = function(err, info)
      if info.kind == "slow" then
        list[#list + 1] = { err = err, info = info }
      end
    end,
  })
  return list
end

-- The report of `task`: a busy machine may make others slow as well.
local function report_of(list, task)
  for _, report in ipairs(list) do
    if report.info.task == task then
      return report
    end
  end
  error "it was not reported"
end

describe("a slow step", function()
  it("is reported, with the stack while it runs", function()
    local task
    local list = reports(function()
      task = aio.spawn(function() spin() return "a value" end)
      assert.equal("a value", task:await())
    end)
    local report = report_of(list, task)
    has("s passed without a wait", report.err)
    assert.is_true(tonumber(report.err:match "^[%d.]+") >= LIMIT)
    has("spin", report.info.traceback)
    has("slow_spec.lua", report.info.traceback)
  end)

  it("is reported once for each", function()
    local task
    local list = reports(function()
      task = aio.spawn(function()
        spin()
        aio.yield()
        spin()
      end)
      task:await()
    end)
    local count = 0
    for _, report in ipairs(list) do
      count = count + (report.info.task == task and 1 or 0)
    end
    assert.equal(2, count)
  end)

  it("is caught inside of generators", function()
    local task
    local list = reports(function()
      local function consumer()
        aio.coroutine.wrap(function() spin() end)()
      end
      task = aio.spawn(function() consumer() end)
      task:await()
    end)
    local trace = report_of(list, task).info.traceback
    has("spin", trace)
    has("consumer", trace)
  end)

  it("of a callback is reported without a task", function()
    local list = reports(function()
      aio.loop():call_soon(function() spin() end):await()
    end)
    has("spin", report_of(list, nil).info.traceback)
  end)

  it("that is a call of a C function is reported when that returns", function()
    local task
    local list = reports(function()
      task = aio.spawn(function() os.execute "sleep 0.1" end)
      task:await()
    end)
    has("execute", report_of(list, task).info.traceback)
  end)

  it("leaves no hook behind", function()
    local hook
    reports(function()
      aio.spawn(function()
        spin()
        aio.yield()
        hook = debug.gethook()
      end):await()
    end)
    assert.is_nil(hook)
  end)

  it("leaves the hook of the program in place", function()
    local task, same, lines, count
    local list = reports(function()
      task = aio.spawn(function()
        lines = 0
        local function hook() lines = lines + 1 end
        debug.sethook(hook, "l")
        spin()
        local before = lines
        same = debug.gethook() == hook
        count = lines - before
        debug.sethook()
      end)
      task:await()
    end)
    assert.is_not_nil(report_of(list, task))
    assert.is_true(same)
    assert.is_true(count > 0)
  end)

  it("of a task that fails is reported besides", function()
    local task
    local list = reports(function()
      task = aio.spawn(function() spin() error("oops", 0) end)
      assert.equal("oops", select(2, task:join()))
    end)
    assert.is_not_nil(report_of(list, task))
  end)

  it("can turn the reports off", function()
    local count = 0
    helper.run(function()
      aio.spawn(spin):await()
      aio.spawn(spin):await()
    end, {
      debug = { slow = LIMIT },
      on_error = function()
        count = count + 1
        debugging.disable()
      end,
    })
    assert.equal(1, count)
  end)

  it("is written to stderr by the default hook", function()
    local text = helper.written(function()
      aio.run({ debug = { slow = LIMIT } }, function()
        aio.spawn(spin):name("turtle"):await()
      end)
    end)
    has("perilune: slow step of task ", text)
    has("(turtle): ", text)
    has("slow_spec.lua", text)
  end)

  it("does not keep Ctrl-C from a task that spins", function()
    local child <close> = Child.code [[
      local aio = require "perilune"
      print(pcall(aio.run, { debug = { slow = 0.01 } }, function()
        print "ready"
        while true do end
      end))
    ]]
    assert.equal("ready", child:line())
    child:signal "INT"
    child:signal "INT"
    has("EINTR", (child:finish()))
  end)
end)

describe("no slow step", function()
  it("is a wait", function()
    local limit = 0.5 * helper.slow
    assert.same({}, reports(function() aio.sleep(1.2 * limit) end, limit))
  end)

  it("is reported without a limit", bare(function()
    local reported = false
    aio.run({
      debug = { slow = false },
      on_error = function() reported = true end,
    }, function() aio.spawn(spin):await() end)
    assert.is_false(reported)
  end))

  it("is watched for by a test's clock", function()
    local list = {}
    helper.manual(function()
      aio.sleep(3600)
      testing.settle()
    end, {
      debug = { slow = 100 * helper.slow },
      on_error = function(err) list[#list + 1] = err end,
    })
    assert.same({}, list)
  end)
end)

describe("a program in debug", function()
  it("ends well with the watch on", function()
    helper.program [[
      local aio = require "perilune"
      require("perilune.debug").enable { slow = 0.01 }
      aio.sleep(0.03)
    ]]
  end)

  it("is not slow in between the steps of its host", function()
    helper.program [[
      local aio = require "perilune"
      require("perilune.debug").enable { slow = 0.2 }
      local reports = 0
      aio.loop():on_error(function() reports = reports + 1 end)
      local function spin(s)
        local before = os.clock()
        repeat until os.clock() - before > s
      end
      for i = 1, 3 do
        aio.spawn(spin, 0.002)
      end
      for _ = 1, 3 do
        aio.loop():step(0) -- one of them, the others are put back
        spin(0.25)
      end
      assert(reports == 0, reports)
      aio.spawn(spin, 0.25)
      aio.loop():step(1)
      assert(reports == 1, reports)
    ]]
  end)

  it("ends well from inside a slow step", function()
    local _, _, status = helper.script [[
      local aio = require "perilune"
      aio.run({ debug = { slow = 0.01 } }, function()
        local before = os.clock()
        repeat until os.clock() - before > 0.05
        os.exit(3, true)
      end)
    ]]
    assert.equal(3, status)
  end)
end)
