-- Nothing is ready, and nothing can ever come.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

-- Seconds in which a program that is not stuck does not end, at any speed.
local PATIENCE = 0.5 * math.min(helper.slow, 4) / helper.slow

local raised, has, bare = helper.raised, helper.has, helper.bare

local function deadlocked(fn, ...)
  local e = raised(fn, ...)
  assert.equal("EDEADLK", type(e) == "table" and e.code or e)
  return e
end

describe("a deadlock", function()
  it("of main raises EDEADLK at its wait", bare(function()
    local seen
    deadlocked(aio.run, function()
      local f = aio.future()
      local ok, e = pcall(f.await, f)
      seen = not ok and e.code
      error(e)
    end)
    assert.equal("EDEADLK", seen)
  end))

  for name, wait in pairs {
    ["a future"] = function() aio.future():await() end,
    ["a future's join"] = function() aio.future():join() end,
    ["an event"] = function() aio.event():wait() end,
    ["a channel's get"] = function() aio.channel():get() end,
    ["a channel's put"] = function() aio.channel():put(1) end,
    ["aio.wait"] = function() aio.wait { aio.future() } end,
  } do
    it("is found in " .. name, bare(function()
      deadlocked(aio.run, wait)
    end))

    it("is found in a driven wait for " .. name, bare(function()
      deadlocked(wait)
    end))
  end

  it("names who waits for what", bare(function()
    local e = deadlocked(aio.run, function()
      local ch = aio.channel()
      local t = aio.spawn(function() ch:get() end)
      t:name("worker bee")
      t:await()
    end)
    has("worker bee", e.message)
    has("channel", e.message)
  end))

  it("names the line where one waits", bare(function()
    local here
    local e = deadlocked(aio.run, function()
      local f = aio.future()
      aio.spawn(function()
        here = helper.here() f:await()
      end):await()
    end)
    has(here, e.message)
  end))

  it("is found among several tasks", bare(function()
    deadlocked(aio.run, function()
      local a, b = aio.channel(), aio.channel()
      aio.all(
        function() b:get() a:put(1) end,
        function() a:get() b:put(1) end)
    end)
  end))

  it("in a group ends the group, and its tasks are cleaned up",
    bare(function()
      local log = helper.log()
      deadlocked(aio.run, function()
        local g <close> = aio.group()
        g:spawn(function()
          local _ <close> = setmetatable({}, {
            __close = function() log "closed" end,
          })
          aio.future():await()
        end)
      end)
      assert.equal("closed", log:text())
    end))

  it("can be caught, and the run goes on", bare(function()
    assert.equal("fine", aio.run(function()
      pcall(aio.await, aio.future())
      aio.sleep(1)
      return "fine"
    end))
  end))

  it("is reported again when it comes again", bare(function()
    aio.run(function()
      for _ = 1, 3 do
        assert.equal("EDEADLK", raised(aio.await, aio.future()).code)
      end
    end)
  end))

  it("at top level leaves the loop usable", bare(function()
    deadlocked(aio.await, aio.future())
    assert.is_true(aio.sleep(1))
    assert.equal(1, aio.spawn(function() return 1 end):await())
  end))

  it("is found when the last timer has fired", bare(function()
    local before = aio.now()
    deadlocked(aio.run, function()
      aio.spawn(aio.sleep, 5)
      aio.future():await()
    end)
    assert.is_true(aio.now() >= before + 5)
  end))
end)

describe("a write end", function()
  it("that is dropped is no reason to wait any longer", bare(function()
    deadlocked(aio.run, function()
      local f = aio.future()
      f:remote()
      collectgarbage()
      collectgarbage()
      assert.equal("EBROKEN", raised(f.await, f).code)
      aio.future():await()
    end)
  end))

  it("of a future that was settled is none, either", bare(function()
    for _, how in ipairs { "resolve", "fail", "cancel" } do
      deadlocked(aio.run, function()
        local f = aio.future()
        local w <close> = f:remote() -- luacheck: ignore 211
        f[how](f)
        aio.future():await()
      end)
    end
  end))
end)

describe("it is no deadlock", function()
  it("while a timer can come", bare(function()
    assert.equal("v", aio.run(function()
      local f = aio.future()
      aio.loop():call_later(5, f.resolve, f, "v")
      return f:await()
    end))
  end))

  it("while a deadline can come", bare(function()
    helper.failed("ETIMEDOUT", aio.run(aio.timeout, 5, function()
      aio.future():await()
    end))
  end))

  it("while someone sleeps for ever", function()
    local out, _, status = helper.script([[
      io.stdout:setvbuf "no"
      local aio = require "perilune"
      aio.run(function()
        aio.spawn(aio.sleep, math.huge)
        print "waits"
        aio.future():await()
      end)
    ]], PATIENCE)
    assert.equal("waits\n", out)
    assert.equal(137, status)
  end)

  it("while a remote end is held", function()
    local out, _, status = helper.script([[
      io.stdout:setvbuf "no"
      local aio = require "perilune"
      aio.run(function()
        local f = aio.future()
        local w = f:remote()
        print "waits"
        f:await()
        print(w)
      end)
    ]], PATIENCE)
    assert.equal("waits\n", out)
    assert.equal(137, status)
  end)
end)
