-- Futures and tasks, in any order and wherever somebody is cancelled.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local explore = helper.explore

describe("futures", function()
  explore("end once, for all who wait", {
    cancel = "both",
    scenario = function(s)
      local f = aio.future()
      s.wins, s.seen = 0, {}
      f:on_done(function() s.told = (s.told or 0) + 1 end)
      aio.group(nil, function(g)
        for i = 1, 3 do
          g:spawn(function() s.seen[i] = f:await() end)
          g:spawn(function()
            aio.yield()
            s.wins = s.wins + (f:resolve(i) and 1 or 0)
          end)
        end
      end)
    end,
    invariant = function(s, run)
      assert(s.wins <= 1 and (s.told or 0) <= 1)
      assert(run.cancelled or (s.wins == 1 and s.told == 1))
      local value
      for i = 1, 3 do
        value = value or s.seen[i]
        assert(run.cancelled or s.seen[i])
        assert(not s.seen[i] or s.seen[i] == value)
      end
    end,
  })

  explore("tell their callbacks in order", {
    cancel = "both",
    scenario = function(s)
      local f = aio.future()
      s.log = helper.log()
      aio.group(nil, function(g)
        g:spawn(function()
          aio.yield()
          s.resolved = f:resolve()
        end)
        for i = 1, 3 do
          f:on_done(function() s.log(i) end)
        end
      end)
    end,
    invariant = function(s)
      local all = #s.log == 3 or (#s.log == 0 and not s.resolved)
      assert(all, s.log:text())
    end,
  })

  explore("of tasks have what these returned, or why not", {
    cancel = "both",
    scenario = function(s)
      s.joined = 0
      aio.group({ on_failure = false }, function(g)
        local task = g:spawn(function()
          aio.sleep(1)
          error("mine", 0)
        end)
        for _ = 1, 2 do
          g:spawn(function()
            local ok, err = task:join()
            assert(not ok)
            assert(err == "mine" or err.code == "ECANCELED" or aio.is_cancelled(err))
            s.joined = s.joined + 1
          end)
        end
        s.task = task
      end)
    end,
    invariant = function(s, run)
      assert(run.cancelled or s.joined == 2)
      assert(not s.task or s.task:peek() ~= "pending")
    end,
  })
end)

describe("generators", function()
  explore("wait, and are closed where their task is cancelled", {
    cancel = "both",
    scenario = function(s)
      s.values, s.inside = {}, helper.presence()
      aio.group(nil, function(g)
        for id = 1, 2 do
          g:spawn(function()
            local _ <close> = s.inside()
            for v in coroutine.wrap(function()
              for i = 1, 3 do
                aio.yield()
                coroutine.yield(id * 10 + i)
              end
            end) do
              s.values[v] = (s.values[v] or 0) + 1
              aio.yield()
            end
          end)
        end
      end)
    end,
    invariant = function(s, run)
      assert.equal(0, s.inside.now)
      for id = 1, 2 do
        for i = 1, 3 do
          local n = s.values[id * 10 + i]
          assert(n == 1 or run.cancelled and n == nil)
        end
      end
    end,
  })
end)
