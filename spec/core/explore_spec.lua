-- testing.explore: it finds what it is for, and says how to have it again.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local raised, has = helper.raised, helper.has

-- Explores and returns what was found.
local function found(opts)
  local e = raised(testing.explore, opts)
  has("EINVARIANT", e)
  return e
end

-- The same options for the one run that was found.
local function again(opts, e)
  local one = { seed = e.seed, cancel = e.cancel, cancel_at = e.cancel_at, when = e.when }
  one.scenario, one.invariant = opts.scenario, opts.invariant
  return one
end

-- A semaphore that hands its unit to a waiter which may have left meanwhile.
local function losing_semaphore()
  local free, waiting = true, {}
  return {
    acquire = function()
      if free then
        free = false
        return
      end
      local turn = aio.future()
      waiting[#waiting + 1] = turn
      turn:await()
    end,
    release = function()
      local turn = table.remove(waiting, 1)
      if turn then
        turn:resolve()
      else
        free = true
      end
    end,
  }
end

describe("the explorer finds", function()
  it("a wake-up that is lost", function()
    local opts = {
      cancel = "task",
      scenario = function()
        local sem = losing_semaphore()
        aio.group(nil, function(g)
          for _ = 1, 3 do
            g:spawn(function()
              sem.acquire()
              local _ <close> = setmetatable({}, { __close = sem.release })
              aio.yield()
            end)
          end
        end)
      end,
    }
    local e = found(opts)
    assert.equal("EDEADLK", e.cause.code)
    assert.equal("task", e.cancel)
    local same = found(again(opts, e))
    assert.equal(tostring(e):match "alone with [^\n]*", tostring(same):match "alone with [^\n]*")
  end)

  it("a child that a swallowed cancellation leaves behind", function()
    local opts = {
      scenario = function()
        local child = aio.spawn(aio.sleep, 10)
        pcall(aio.sleep, 1)
        aio.yield()
        child:cancel()
      end,
    }
    local e = found(opts)
    has("left alive: 1 tasks, 1 timers", e)
    has("waits for sleep", e)
    has("left alive", found(again(opts, e)))
  end)

  it("what depends on the order", function()
    local opts = {
      scenario = function(s)
        local setter = aio.spawn(function() s.value = 1 end)
        local getter = aio.spawn(function() s.seen = s.value end)
        aio.wait { setter, getter }
      end,
      invariant = function(s) return s.seen == 1 end,
      cancel = false,
    }
    local e = found(opts)
    has("the invariant does not hold", e)
    assert.is_true(e.seed > 0)
    has("the invariant does not hold", found(again(opts, e)))
    opts.seeds = 1
    assert.equal(1, testing.explore(opts).runs)
  end)

  it("what never ends", function()
    local e = found {
      deadline = 0.05 * helper.slow,
      seeds = 1,
      scenario = function()
        aio.spawn(function()
          while true do
            aio.sleep(1)
          end
        end)
        aio.event():wait()
      end,
    }
    has("did not end within", e)
  end)

  it("failures that nobody hears of", function()
    local e = found {
      seeds = 1,
      scenario = function()
        aio.spawn(error, "unheard", 0)
        aio.yield()
      end,
    }
    has("task: unheard", e)
  end)

  it("failures of the scenario, with its stack", function()
    local culprit = { code = "mine" }
    local e = found { seeds = 1, scenario = function() error(culprit) end }
    assert.equal(culprit, e.cause)
    has("explore_spec.lua", e)
  end)

  it("what an invariant raises", function()
    local e = found {
      seeds = 1,
      scenario = function() end,
      invariant = function() assert.equal(1, 2) end,
    }
    has("Expected objects to be equal", e)
    has("seed = 0, cancel = false", e)
  end)
end)

describe("the explorer cancels", function()
  -- What became of a `get` that is completed in a later turn, by `when`.
  local function fate(when)
    local log = helper.log()
    local counts = testing.explore {
      seed = 0,
      when = when,
      cancel_at = 1,
      scenario = function()
        local ch = aio.channel(1)
        aio.loop():call_soon(ch.try_put, ch, "value")
        local ok, got = pcall(ch.get, ch)
        log(ok and got or aio.is_cancelled(got), (pcall(aio.yield)))
      end,
    }
    assert.equal(2, counts.runs)
    assert.equal(1, counts.points)
    return log:text()
  end

  it("as a wait begins", function()
    assert.equal("value:true true:false", fate "entry")
  end)

  it("while it is parked", function()
    assert.equal("value:true true:false", fate "parked")
  end)

  it("some turns later", function()
    local turns = {}
    testing.explore {
      seeds = 20,
      cancel_seeds = 20,
      cancel = "task",
      when = "later",
      scenario = function(s)
        aio.group(nil, function(g)
          g:spawn(function()
            local stats = aio.loop().stats
            local start = stats(aio.loop()).turns
            local ok = pcall(aio.sleep, 1)
            s.turns = not ok and stats(aio.loop()).turns - start
          end)
          for _ = 1, 5 do
            aio.yield()
          end
        end)
      end,
      invariant = function(s)
        turns[s.turns or 0] = true
      end,
    }
    assert(turns[2] and turns[3] and turns[4], "not in each turn")
  end)

  it("once it was woken, which keeps the value", function()
    assert.equal("value:true value:false", fate "woken")
  end)

  it("at each wait of each task", function()
    local cancelled = {}
    local counts = testing.explore {
      seeds = 1,
      when = "entry",
      scenario = function(s)
        aio.group(nil, function(g)
          for _ = 1, 2 do
            g:spawn(function()
              aio.yield()
              aio.yield()
            end)
          end
        end)
        s.ended = true
      end,
      invariant = function(s, run)
        assert.equal(run.cancel_at == nil, s.ended or false)
        cancelled[run.cancel_at or 0] = run.cancelled
      end,
    }
    assert.same({ seeds = 1, runs = 6, waits = 5, points = 5 }, counts)
    assert.same({ [0] = false, true, true, true, true, true }, cancelled)
  end)

  it("the task alone, if asked to", function()
    local alone = 0
    testing.explore {
      seeds = 1,
      cancel = "both",
      scenario = function(s)
        aio.group(nil, function(g)
          s.tasks = { g:spawn(aio.yield), g:spawn(aio.yield) }
        end)
      end,
      invariant = function(s, run)
        local ended = 0
        for _, t in ipairs(s.tasks or {}) do
          ended = ended + (t:peek() == "cancelled" and 1 or 0)
        end
        if run.cancel == "task" then
          assert(ended <= 1)
          alone = alone + ended
        end
      end,
    }
    assert.equal(2, alone)
  end)
end)

describe("the explorer", function()
  it("does the same for a seed each time", function()
    local function trace(seed)
      local log = helper.log()
      testing.explore {
        seed = seed,
        cancel = "both",
        scenario = function()
          local ch = aio.channel()
          aio.group({ on_failure = false }, function(g)
            for i = 1, 4 do
              g:spawn(function() aio.timeout(i, ch.put, ch, i) end)
              g:spawn(function() log(i, aio.timeout(1, ch.get, ch)) end)
            end
          end)
        end,
      }
      return log:text()
    end
    local one = trace(3)
    assert.equal(one, trace(3))
    assert.are_not.equal(one, trace(4))
  end)

  it("counts", function()
    local counts = testing.explore {
      seeds = 10,
      cancel_seeds = 2,
      scenario = function() aio.sleep(1) end,
    }
    -- A sleep is cancelled in three ways, under two seeds; there is no turn in
    -- which nothing happens, so that it could be later.
    assert.same({ seeds = 10, runs = 18, waits = 1, points = 6 }, counts)
  end)

  it("tells the invariant what came of it", function()
    local seen = {}
    testing.explore {
      seed = 0,
      when = "parked",
      scenario = function()
        aio.sleep(1)
        return "done", nil
      end,
      invariant = function(_, run) seen[#seen + 1] = run end,
    }
    assert.is_true(seen[1].ok)
    helper.values({ "done", nil, n = 2 }, table.unpack(seen[1].results, 1, 2))
    assert.is_false(seen[2].ok)
    assert.is_true(seen[2].cancelled)
  end)

  it("leaves secondary failures to the invariant", function()
    local heard
    testing.explore {
      seeds = 1,
      cancel = false,
      scenario = function()
        pcall(aio.group, nil, function(g)
          g:spawn(error, "one", 0)
          g:spawn(error, "two", 0)
        end)
      end,
      invariant = function(_, run) heard = run.secondary[1].err end,
    }
    assert.equal("two", heard)
  end)

  it("puts the clock and the order back", function()
    testing.explore { seeds = 2, scenario = function() aio.sleep(1e6) end }
    local start = aio.now()
    aio.sleep(0.01)
    local took = aio.now() - start
    assert.is_true(took >= 0.01 and took < 5, took)
  end)

  it("refuses what makes no sense", function()
    local function fails(text, opts)
      has(text, raised(testing.explore, opts))
    end
    fails("table expected", nil)
    fails("'scenario' is missing", {})
    local scenario = function() end
    fails("unknown option 'sceds'", { scenario = scenario, sceds = 1 })
    fails("'seeds' must be a whole number", { scenario = scenario, seeds = 1.5 })
    fails("'invariant': function expected", { scenario = scenario, invariant = 1 })
    fails("'cancel'", { scenario = scenario, cancel = "all" })
    fails("'when'", { scenario = scenario, when = "never" })
    has("the loop runs already", raised(function()
      helper.manual(function() testing.explore { scenario = scenario } end)
    end))
  end)
end)
