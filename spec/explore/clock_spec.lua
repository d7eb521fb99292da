-- Clocks that are moved by hand, and signals, in any order and wherever somebody
-- is cancelled.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local explore = helper.explore

describe("clocks", function()
  explore("wake sleepers in the order of their times", {
    cancel = "both",
    scenario = function(s)
      local clock = aio.clock "explore"
      s.inside, s.woken = helper.presence(), {}
      aio.group(nil, function(g)
        for i = 1, 4 do
          g:spawn(function()
            local _ <close> = s.inside()
            local _ <close> = aio.scope { clock = clock }
            local begun = aio.now()
            aio.sleep(i)
            assert(aio.now() >= begun + i)
            s.woken[#s.woken + 1] = i
          end)
        end
        while s.inside.came < 4 or s.inside.now > 0 do -- by the body: others may be cancelled
          clock:advance(1)
          aio.yield()
          aio.yield()
        end
      end)
    end,
    invariant = function(s, run)
      assert.equal(0, s.inside.now)
      for i = 2, #s.woken do
        assert(s.woken[i - 1] < s.woken[i])
      end
      assert(run.cancelled or #s.woken == 4)
    end,
  })

  explore("end limits, selects and callbacks", {
    cancel = "both",
    scenario = function(s)
      local clock = aio.clock "explore"
      s.inside, s.late, s.called = helper.presence(), 0, 0
      local function late(_, _, code)
        assert.equal("ETIMEDOUT", code)
        s.late = s.late + 1
      end
      local function by_clock(g, fn)
        g:spawn(function()
          local _ <close> = s.inside()
          local _ <close> = aio.scope { clock = clock }
          fn()
        end)
      end
      aio.group(nil, function(g)
        by_clock(g, function() late(aio.timeout(2, aio.sleep, 9)) end)
        by_clock(g, function() late(aio.select { aio.future(), timeout = 2 }) end)
        by_clock(g, function()
          local callback = aio.loop():call_later(1, function() s.called = s.called + 1 end)
          if not pcall(callback.await, callback) then callback:cancel() end
        end)
        while s.inside.came < 3 or s.inside.now > 0 do
          clock:advance(1)
          aio.yield()
          aio.yield()
        end
      end)
    end,
    invariant = function(s, run)
      assert.equal(0, s.inside.now)
      assert(s.late <= 2 and s.called <= 1)
      assert(run.cancelled or s.late == 2 and s.called == 1)
    end,
  })
end)

describe("signals", function()
  explore("give each value once to all who wait", {
    cancel = "both",
    scenario = function(s)
      local signal = aio.signal "explore"
      s.inside, s.given, s.taken = helper.presence(), 0, 0
      aio.group(nil, function(g)
        for _ = 1, 3 do
          g:spawn(function()
            local _ <close> = s.inside()
            for _ = 1, 2 do
              local a, b = signal:wait()
              s.taken = s.taken + 1
              assert(a == b and a <= s.given)
            end
          end)
        end
        while s.inside.came < 3 or s.inside.now > 0 do
          s.given = s.given + 1
          signal:emit(s.given, s.given)
          aio.yield()
        end
      end)
      assert.equal(0, signal:emit())
    end,
    invariant = function(s, run)
      assert.equal(0, s.inside.now)
      assert(s.taken <= 6 and (run.cancelled or s.taken == 6))
    end,
  })
end)
