-- Events, in any order and wherever somebody is cancelled.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local explore = helper.explore

describe("events", function()
  explore("wake all who wait", {
    cancel = "both",
    scenario = function(s)
      local event = aio.event()
      s.woken, s.inside = 0, helper.presence()
      aio.group(nil, function(g)
        for _ = 1, 4 do
          g:spawn(function()
            local _ <close> = s.inside()
            event:wait()
            s.woken = s.woken + 1
          end)
        end
        event:set()
      end)
    end,
    invariant = function(s, run)
      assert.equal(0, s.inside.now)
      local lost = run.cancel == "task" and run.cancelled and 1 or 0
      assert(s.woken >= 4 - lost or run.cancel == "body")
    end,
  })

  explore("wake those who wait, though cleared at once", {
    scenario = function(s)
      local event = aio.event()
      s.woken = 0
      aio.group(nil, function(g)
        for _ = 1, 3 do
          g:start(function(started)
            started()
            event:wait()
            s.woken = s.woken + 1
          end)
        end
        aio.yield() -- started() only readies us: now they all wait
        aio.yield()
        event:set()
        event:clear()
        s.set = true
      end)
      assert(not event:is_set())
    end,
    invariant = function(s, run)
      assert(run.cancelled or s.woken == 3)
    end,
  })

  explore("pass a turn on and on", {
    cancel = "both",
    scenario = function(s)
      local events, left = {}, {}
      for i = 1, 4 do
        events[i] = aio.event()
      end
      s.order = left
      aio.group(nil, function(g)
        for i = 1, 4 do
          g:spawn(function()
            local _ <close> = setmetatable({}, { __close = function()
              left[#left + 1] = i
              if events[i + 1] then
                events[i + 1]:set()
              end
            end })
            events[i]:wait()
          end)
        end
        events[1]:set()
      end)
    end,
    invariant = function(s, run)
      if run.cancelled then
        return
      end
      assert.same({ 1, 2, 3, 4 }, s.order)
    end,
  })
end)
