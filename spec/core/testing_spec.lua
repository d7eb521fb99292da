-- perilune.testing: the manual clock, settling, leaks.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local raised, has, values = helper.raised, helper.has, helper.values

describe("a manual clock", function()
  it("jumps to the next timer when nothing is ready", function()
    local before = os.time()
    local clock <close> = testing.clock()
    aio.run(function()
      local start = aio.now()
      aio.sleep(3600)
      assert.is_true(math.abs(aio.now() - start - 3600) < 1e-3)
    end)
    assert.is_true(os.time() - before < 60)
    assert.is_not_nil(clock)
  end)

  it("does not jump while something is ready", function()
    local clock <close> = testing.clock()
    aio.run(function()
      local start = aio.now()
      local cb = aio.loop():call_later(1, function() end)
      for _ = 1, 100 do
        aio.yield()
      end
      assert.equal(start, aio.now())
      assert.equal("pending", (cb:peek()))
      cb:cancel()
    end)
    assert.is_not_nil(clock)
  end)

  it("can be advanced by hand", function()
    local clock <close> = testing.clock()
    aio.run(function()
      local start, log = aio.now(), helper.log()
      aio.loop():call_later(1, log, "one")
      aio.loop():call_later(3, log, "three")
      clock:advance(2)
      assert.is_true(math.abs(aio.now() - start - 2) < 1e-6)
      testing.settle()
      assert.equal("one", log:text())
      clock:advance(2)
      testing.settle()
      assert.equal("one three", log:text())
    end)
  end)

  it("refuses to go back", function()
    local clock <close> = testing.clock()
    raised(clock.advance, clock, -1)
    raised(clock.advance, clock, "x")
    raised(clock.advance, clock, 0 / 0)
  end)

  it("gives way to the real one when it is closed", function()
    local clock = testing.clock()
    aio.sleep(1e4)
    clock:close()
    local start = aio.now()
    aio.sleep(0.01)
    local took = aio.now() - start
    assert.is_true(took >= 0.01 and took < 5, took)
  end)

  it("works at top level", function()
    local _ <close> = testing.clock()
    local start = aio.now()
    aio.sleep(100)
    assert.is_true(aio.now() - start > 100 - 1e-6) -- both are rounded
  end)
end)

describe("settle", function()
  it("waits until all others are parked", helper.case(function()
    local n = 0
    aio.spawn(function()
      for _ = 1, 50 do
        n = n + 1
        aio.yield()
      end
      aio.sleep(1)
      n = 0
    end)
    testing.settle()
    assert.equal(50, n)
  end))

  it("does not let time pass", helper.case(function()
    local start = aio.now()
    aio.spawn(aio.sleep, 5)
    testing.settle()
    assert.equal(start, aio.now())
  end))

  it("follows tasks that wake each other", helper.case(function()
    local ch, last = aio.channel(), nil
    aio.spawn(function()
      for i = 1, 20 do
        ch:put(i)
      end
    end)
    aio.spawn(function()
      for v in ch do
        last = v
      end
    end)
    testing.settle()
    assert.equal(20, last)
  end))

  it("works at top level", helper.bare(function()
    local log = helper.log()
    aio.spawn(log, "ran")
    testing.settle()
    assert.equal("ran", log:text())
  end))
end)

describe("shuffle", function()
  -- The order in which ten tasks run that were spawned in order.
  local function order()
    local log = helper.log()
    for i = 1, 10 do
      aio.spawn(log, i)
    end
    testing.settle()
    return log:text()
  end

  it("changes the order, the same way for a seed", helper.case(function()
    local straight = order()
    testing.shuffle(7)
    local one = order()
    testing.shuffle(7)
    local two = order()
    testing.shuffle(nil)
    assert.are_not.equal(straight, one)
    assert.equal(one, two)
    assert.equal(straight, order())
  end))
end)

describe("testing.leaks", function()
  it("tells what is alive that was not before", helper.case(function()
    local before = testing.snapshot()
    assert.is_nil(testing.leaks(before))
    local t = aio.spawn(aio.sleep, 5)
    testing.settle()
    local text = testing.leaks(before)
    has("1 task", text)
    has("1 timer", text)
    t:cancel()
    t:join()
    assert.is_nil(testing.leaks(before))
  end))
end)

describe("testing.run", function()
  it("runs main and returns its values", function()
    values({ 1, nil, 3, n = 3 }, testing.run(function()
      aio.sleep(0.001)
      return 1, nil, 3
    end))
  end)

  it("raises main's error", function()
    local e = {}
    assert.equal(e, raised(testing.run, function() error(e) end))
  end)

  it("ends a test that hangs, whatever the clock does", function()
    local function hang(opts)
      local _ <close> = testing.clock(opts)
      aio.spawn(function()
        while true do
          aio.sleep(1)
        end
      end)
      aio.event():wait()
    end
    has("did not end within 0.02 s", raised(testing.run, hang, { deadline = 0.02 }))
    has("did not end within 0.02 s", raised(testing.run, function()
      local clock <close> = testing.clock { autojump = false }
      while true do
        clock:advance(1)
        aio.yield()
      end
    end, { deadline = 0.02 }))
  end)

  it("raises the deadlock of a test that cannot go on", function()
    has("EDEADLK", raised(testing.run, function() aio.event():wait() end))
  end)

  it("refuses a deadline that is none", function()
    has("deadline", raised(testing.run, print, { deadline = 0 / 0 }))
  end)

  it("fails if something is left", function()
    local ch = aio.channel()
    local t = aio.spawn(function() aio.loop():call_later(100, print) end)
    local e = raised(testing.run, function()
      t:await()
      ch:close()
    end)
    has("timer", e)
  end)
end)

describe("testing.it", function()
  testing.it("runs its case as a task", function()
    assert.is_not_nil(aio.task())
    aio.sleep(0.001)
  end)
end)

describe("the helper", function()
  it("fails a case that takes too long, with the tree", function()
    local e = raised(helper.manual, function()
      aio.task():name "culprit"
      aio.sleep(1e9)
    end)
    has("too long", e)
    has("culprit", e)
    has("sleep", e)
  end)

  it("fails a case that leaves a task", function()
    local t
    local e = raised(helper.outside, function()
      t = aio.spawn(aio.sleep, 10)
      aio.yield()
    end)
    has("1 tasks", e)
    has("1 timers", e)
    t:cancel()
    t:join()
  end)

  it("keeps the traceback of an error", function()
    local function culprit() error "oops" end
    local e = raised(helper.manual, function() culprit() end)
    has("oops", e)
    has("culprit", e)
  end)

  it("passes values through", function()
    values({ 1, nil, n = 2 }, helper.manual(function() return 1, nil end))
    values({ 1, nil, n = 2 }, helper.run(function() return 1, nil end))
  end)
end)

describe("what is passed to the tests' tools", function()
  it("is checked", function()
    has("bad argument #1 to 'leaks'", raised(function() testing.leaks(1) end))
    has("bad argument #1 to 'shuffle'", raised(function() testing.shuffle "x" end))
    has("bad argument #2 to 'run'", raised(function() testing.run(print, 1) end))
    local e = raised(function() testing.run(print, { deadlin = 1 }) end)
    has("bad argument #2 to 'run' (unknown option 'deadlin')", e)
    has("testing_spec.lua:", e)
    has("unknown option 'autojmp'",
      raised(function() testing.clock { autojmp = false } end))
    has("option 'autojump' must be a boolean",
      raised(function() testing.clock { autojump = 0 } end))
  end)
end)
