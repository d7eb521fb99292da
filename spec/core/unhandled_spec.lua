-- Failures are heard: who takes one, and where the others go.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local raised, has = helper.raised, helper.has
local bare = helper.bare

-- Runs `main` with a hook; returns what the hook was told, a list of infos
-- with the error in `err`.
local function heard(main)
  local infos = {}
  aio.run({
    on_error = function(err, info)
      infos[#infos + 1] = { err = err, info = info }
    end,
  }, main)
  return infos
end

local function failing(e)
  return function() error(e, 0) end
end

describe("an untaken failure", function()
  it("goes to on_error", bare(function()
    local infos = heard(function()
      aio.spawn(failing "oops")
      aio.sleep(1)
    end)
    assert.equal(1, #infos)
    assert.equal("oops", infos[1].err)
  end))

  it("is described by info", bare(function()
    local t
    local function culprit() error("oops") end
    local infos = heard(function()
      t = aio.spawn(function() culprit() end)
      aio.sleep(1)
    end)
    local info = infos[1].info
    assert.equal("task", info.kind)
    assert.equal(t, info.task)
    has("culprit", info.traceback)
  end))

  it("comes to the hook in the context of the task", bare(function()
    local var = aio.context.var("v", "none")
    local seen
    local infos = heard(function()
      var:with("mine", aio.spawn, failing "oops")
      aio.sleep(1)
    end)
    aio.run(function()
      if infos[1].info.context then
        seen = true
      end
    end)
    assert.is_true(seen)
  end))

  it("is reported a turn later, not at once", bare(function()
    local log = helper.log()
    aio.run({ on_error = function() log "heard" end }, function()
      aio.spawn(failing "oops")
      aio.yield()
      log "next"
      aio.sleep(1)
    end)
    assert.equal("next heard", log:text())
  end))

  it("has an error of any type", bare(function()
    local e = {}
    local infos = heard(function()
      aio.spawn(failing(e))
      aio.spawn(failing(nil))
      aio.spawn(failing(false))
      aio.sleep(1)
    end)
    assert.equal(3, #infos)
    assert.equal(e, infos[1].err)
    assert.is_nil(infos[2].err)
    assert.is_false(infos[3].err)
  end))

  it("of a callback is of kind callback", bare(function()
    local infos = heard(function()
      aio.loop():call_soon(failing "oops")
      aio.sleep(1)
    end)
    assert.equal("callback", infos[1].info.kind)
    assert.equal("oops", infos[1].err)
  end))

  it("of a callback tells its context, too", bare(function()
    local user = aio.context.var "user"
    local infos = heard(function()
      user:with("ann", aio.loop().call_soon, aio.loop(), failing "oops")
      aio.sleep(1)
    end)
    assert.equal("ann", infos[1].info.context(function() return user:get() end))
    assert.is_nil(infos[1].info.task)
  end))

  it("of a task of the state is raised by a run that hears of it",
    bare(function()
      aio.spawn(failing "before")
      helper.written(function()
        assert.equal("before", raised(aio.run, aio.sleep, 1))
      end)
    end))

  it("in clean-up is heard as well", bare(function()
    local infos = heard(function()
      aio.spawn(function()
        local _ <close> = setmetatable({}, { __close = failing "oops" })
        aio.sleep(1000)
      end)
      aio.yield()
    end)
    assert.equal(1, #infos)
    assert.equal("oops", infos[1].err)
  end))

  it("of a plain future is its waiters' business", bare(function()
    local infos = heard(function()
      aio.future():fail("nobody")
      aio.sleep(1)
      collectgarbage()
      aio.sleep(1)
    end)
    assert.equal(0, #infos)
  end))

  it("is reported once", bare(function()
    local infos = heard(function()
      aio.spawn(failing "oops")
      aio.sleep(1)
      aio.sleep(1)
      collectgarbage()
      aio.sleep(1)
    end)
    assert.equal(1, #infos)
  end))

  it("of a cancelled task is none", bare(function()
    local infos = heard(function()
      local t = aio.spawn(aio.sleep, 100)
      aio.yield()
      t:cancel()
      aio.sleep(1)
    end)
    assert.equal(0, #infos)
  end))
end)

describe("a failure is taken", function()
  local takers = {
    ["awaited"] = function(t) raised(t.await, t) end,
    ["joined"] = function(t) t:join() end,
    ["waited for"] = function(t) aio.wait { t } end,
    ["given on_done"] = function(t) t:on_done(function() end) end,
    ["peeked at"] = function(t) t:peek() end,
    ["awaited by aio.await"] = function(t) raised(aio.await, t) end,
  }

  for name, take in pairs(takers) do
    it("when its task was " .. name, bare(function()
      local infos = heard(function()
        local t = aio.spawn(failing "oops")
        take(t)
        aio.sleep(1)
      end)
      assert.equal(0, #infos)
    end))
  end

  for name, take in pairs {
    ["peeked at"] = function(t) t:peek() end,
    ["given on_done"] = function(t) t:on_done(function() end) end,
    ["awaited by one that was cancelled before it failed"] = function(t)
      aio.timeout(0.5, t.await, t)
    end,
  } do
    it("when its task was once " .. name .. ", before it failed", bare(function()
      local infos = heard(function()
        local t = aio.spawn(function()
          aio.sleep(1)
          error "oops"
        end)
        take(t)
        aio.sleep(5)
      end)
      assert.equal(0, #infos)
    end))
  end

  it("not when only its name or info was asked for", bare(function()
    local infos = heard(function()
      local t = aio.spawn(failing "oops"):name "nobody's"
      t:info()
      t:cancel()
      aio.sleep(1)
    end)
    assert.equal(1, #infos)
  end))

  it("when its callback was awaited", bare(function()
    local infos = heard(function()
      aio.loop():call_soon(failing "oops"):join()
      aio.sleep(1)
    end)
    assert.equal(0, #infos)
  end))

  it("when the one who awaited was cancelled", bare(function()
    local infos = heard(function()
      local slow = aio.spawn(function()
        aio.sleep(2)
        error("oops")
      end)
      aio.timeout(1, slow.await, slow)
      aio.sleep(5)
    end)
    assert.equal(0, #infos)
  end))

  it("when its task belongs to a group", bare(function()
    local infos = heard(function()
      pcall(aio.group, {}, function(g) g:spawn(failing "oops") end)
      aio.sleep(1)
    end)
    assert.equal(0, #infos)
  end))

  it("when it is taken in the turn after it failed", bare(function()
    local infos = heard(function()
      local t = aio.spawn(failing "oops")
      aio.yield() -- it fails meanwhile
      t:join()
      aio.sleep(1)
    end)
    assert.equal(0, #infos)
  end))
end)

describe("without a hook", function()
  it("the failure is printed and raised at the end", function()
    local out, err, status = helper.script [[
      local aio = require "perilune"
      print(pcall(aio.run, function()
        aio.spawn(function() error("oops", 0) end)
        aio.sleep(0.01)
        print "goes on"
        return "value"
      end))
    ]]
    assert.equal("goes on\nfalse\toops\n", out)
    has("oops", err)
    assert.equal(0, status)
  end)

  it("what is printed has a traceback", function()
    local _, err = helper.script [[
      local aio = require "perilune"
      local function culprit() error("oops") end
      aio.spawn(function() culprit() end)
      aio.sleep(0.01)
    ]]
    has("oops", err)
    has("culprit", err)
  end)

  it("a failing main wins", function()
    local out = helper.script [[
      local aio = require "perilune"
      print(pcall(aio.run, function()
        aio.spawn(function() error("theirs", 0) end)
        aio.sleep(0.01)
        error("mine", 0)
      end))
    ]]
    assert.equal("false\tmine\n", out)
  end)

  it("the first of several is raised", function()
    local out = helper.script [[
      local aio = require "perilune"
      print(pcall(aio.run, function()
        aio.spawn(function() error("first", 0) end)
        aio.spawn(function() error("second", 0) end)
        aio.sleep(0.01)
      end))
    ]]
    assert.equal("false\tfirst\n", out)
  end)

  it("nothing is printed for what is taken", function()
    assert.equal("fine\n", helper.program [[
      local aio = require "perilune"
      aio.run(function()
        aio.spawn(function() error("oops", 0) end):join()
        aio.sleep(0.01)
        print "fine"
      end)
    ]])
  end)
end)

describe('unhandled = "fail"', function()
  it("cancels main at once, and run raises the failure", bare(function()
    local e, seen = { code = "EMINE" }, nil
    local before = aio.now()
    local text = helper.written(function()
      assert.equal(e, raised(aio.run, { unhandled = "fail" }, function()
        aio.spawn(failing(e))
        seen = raised(aio.sleep, 1000)
        error(seen)
      end))
    end)
    assert.is_true(aio.is_cancelled(seen))
    assert.equal(before, aio.now())
    has("table", text)
  end))

  it("raises though main swallows its cancellation", bare(function()
    local e = {}
    helper.written(function()
      assert.equal(e, raised(aio.run, { unhandled = "fail" }, function()
        aio.spawn(failing(e))
        pcall(aio.sleep, 1000)
        return "fine"
      end))
    end)
  end))

  it("raises the failure though main fails then, too", bare(function()
    local e = {}
    helper.written(function()
      assert.equal(e, raised(aio.run, { unhandled = "fail" }, function()
        aio.spawn(failing(e))
        pcall(aio.sleep, 1000)
        error "main's own"
      end))
    end)
  end))

  it("raises what fails in clean-up as well", bare(function()
    local e = {}
    helper.written(function()
      assert.equal(e, raised(aio.run, { unhandled = "fail" }, function()
        aio.spawn(function()
          pcall(aio.sleep, 1000)
          error(e)
        end)
        aio.yield()
      end))
    end)
  end))

  it("is for callbacks, too", bare(function()
    local e = {}
    helper.written(function()
      assert.equal(e, raised(aio.run, { unhandled = "fail" }, function()
        aio.loop():call_later(1, failing(e))
        aio.sleep(1000)
      end))
    end)
  end))

  it("has no say where there is a hook", bare(function()
    assert.equal("fine", aio.run({
      unhandled = "fail",
      on_error = function() end,
    }, function()
      aio.spawn(failing "oops")
      aio.sleep(1)
      return "fine"
    end))
  end))

  it("leaves taken failures alone", bare(function()
    assert.equal("fine", aio.run({ unhandled = "fail" }, function()
      aio.spawn(failing "oops"):join()
      aio.sleep(1)
      return "fine"
    end))
  end))
end)

describe("the error hook", function()
  it("keeps run from raising", bare(function()
    assert.equal("value", aio.run({ on_error = function() end }, function()
      aio.spawn(failing "oops")
      aio.sleep(1)
      return "value"
    end))
  end))

  it("can be set on the loop, and nil restores the default",
    bare(function()
      local log = helper.log()
      aio.run(function()
        aio.loop():on_error(function(e) log(e) end)
        aio.spawn(failing "one")
        aio.sleep(1)
        aio.loop():on_error(function(e) log("again", e) end)
        aio.spawn(failing "two")
        aio.sleep(1)
        aio.loop():on_error(nil)
      end)
      assert.equal("one again:two", log:text())
    end))

  it("given to a run can be taken back: then run raises", bare(function()
    local log = helper.log()
    local text = helper.written(function()
      assert.equal("second", raised(aio.run, { on_error = log }, function()
        aio.spawn(failing "first")
        aio.sleep(1)
        aio.loop():on_error(nil)
        aio.spawn(failing "second")
        aio.sleep(1)
      end))
    end)
    has("first", log:text())
    has("second", text)
    assert.is_nil(text:find "first")
  end))

  it("set on the loop before holds in a run, which does not raise",
    bare(function()
      local log = helper.log()
      aio.loop():on_error(function(e) log(e) end)
      assert.equal("fine", aio.run(function()
        aio.spawn(failing "oops")
        aio.sleep(1)
        return "fine"
      end))
      aio.loop():on_error(nil)
      assert.equal("oops", log:text())
    end))

  it("set on the loop holds at top level", bare(function()
    local log = helper.log()
    aio.loop():on_error(function(e) log(e) end)
    aio.spawn(failing "oops")
    aio.sleep(1)
    aio.loop():on_error(nil)
    assert.equal("oops", log:text())
  end))

  it("given to a run ends with it", function()
    local out, err = helper.script [[
      local aio = require "perilune"
      aio.run({ on_error = print }, function() end)
      aio.spawn(function() error("oops", 0) end)
      aio.sleep(0.01)
    ]]
    assert.equal("", out)
    has("oops", err)
  end)

  it("cannot wait", bare(function()
    local ok
    aio.run({ on_error = function() ok = pcall(aio.sleep, 1) end },
      function()
        aio.spawn(failing "oops")
        aio.sleep(1)
      end)
    assert.is_false(ok)
  end))

  it("may spawn", bare(function()
    local log = helper.log()
    aio.run({
      on_error = function(e)
        aio.spawn(function()
          aio.sleep(1)
          log(e)
        end)
      end,
    }, function()
      aio.spawn(failing "oops")
      aio.sleep(5)
    end)
    assert.equal("oops", log:text())
  end))

  it("may raise, and the program goes on", function()
    local out = helper.script [[
      local aio = require "perilune"
      local n = 0
      pcall(aio.run, { on_error = function() n = n + 1 error("hook") end },
        function()
          for _ = 1, 3 do
            aio.spawn(function() error("oops") end)
            aio.sleep(0.01)
          end
          print "end"
        end)
      print(n >= 3, n < 100)
    ]]
    assert.equal("end\ntrue\ttrue\n", out)
  end)

  it("must be a function", bare(function()
    raised(aio.loop().on_error, aio.loop(), 42)
  end))
end)

describe("a secondary failure", function()
  it("of a group is told as such", bare(function()
    local infos = heard(function()
      pcall(aio.group, {}, function(g)
        g:spawn(failing "first")
        g:spawn(failing "second")
      end)
      testing.settle()
      aio.sleep(1)
    end)
    assert.equal(1, #infos)
    assert.equal("second", infos[1].err)
    assert.equal("secondary", infos[1].info.kind)
  end))
end)
