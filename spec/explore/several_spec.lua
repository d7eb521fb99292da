-- Waiting for several, in any order and wherever somebody is cancelled.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local explore = helper.explore

local function is_expected(run, err)
  return run.cancelled and (aio.is_cancelled(err) or err.code == "ECANCELED")
end

describe("all", function()
  explore("gives the values in order, and joins", {
    cancel = "both",
    scenario = function(s)
      s.inside = helper.presence()
      local function work(i)
        return function()
          local _ <close> = s.inside()
          aio.sleep(i % 3)
          return i
        end
      end
      s.results = table.pack(pcall(aio.all, work(1), work(2), work(3), work(4)))
      s.left = s.inside.now
    end,
    invariant = function(s, run)
      assert.equal(0, s.left)
      if s.results[1] then
        assert.same({ true, 1, 2, 3, 4, n = 5 }, s.results)
      else
        assert(is_expected(run, s.results[2]), tostring(s.results[2]))
      end
    end,
  })

  explore("is refused by the first that refuses", {
    cancel = "both",
    scenario = function(s)
      s.inside, s.refused = helper.presence(), {}
      local function refuse(i)
        return function()
          local _ <close> = s.inside()
          aio.sleep(1)
          s.refused[#s.refused + 1] = "ENO" .. i
          return nil, "no", "ENO" .. i
        end
      end
      s.results = table.pack(pcall(aio.all, refuse(1), refuse(2), aio.check))
      s.left = s.inside.now
    end,
    invariant = function(s, run)
      assert.equal(0, s.left)
      if s.results[1] then
        assert.equal(s.refused[1], s.results[4])
      else
        assert(is_expected(run, s.results[2]), tostring(s.results[2]))
      end
    end,
  })
end)

describe("map", function()
  explore("does each item once, so many at a time", {
    cancel = "both",
    scenario = function(s)
      s.inside, s.done = helper.presence(), {}
      local items = { 3, 1, nil, 2, 1, n = 5 }
      s.results = table.pack(pcall(aio.map, items, function(item)
        local _ <close> = s.inside()
        aio.sleep(item or 1)
        s.done[#s.done + 1] = item
        return item and item * 2
      end, 2))
      s.left = s.inside.now
    end,
    invariant = function(s, run)
      assert.equal(0, s.left)
      assert(s.inside.most <= 2 and s.inside.came <= 5)
      if s.results[1] then
        assert.same({ 6, 2, nil, 4, 2, n = 5 }, s.results[2])
      else
        assert(is_expected(run, s.results[2]), tostring(s.results[2]))
      end
    end,
  })
end)

describe("wait", function()
  for _, mode in ipairs { "all", "any", "first_error" } do
    explore(("for %s tells all that are done, once"):format(mode), {
      cancel = "both",
      scenario = function(s)
        aio.group({ on_failure = false }, function(g)
          local tasks = {}
          for i = 1, 3 do
            tasks[i] = g:spawn(function()
              aio.sleep(i)
              if i == 2 then
                error("two", 0)
              end
            end)
          end
          local done, pending = aio.wait(tasks, { mode = mode })
          assert(#done + #pending == 3)
          for _, task in ipairs(done) do
            assert(task:peek() ~= "pending")
          end
          s.done = #done
        end)
      end,
      invariant = function(s, run)
        local least = { all = 3, any = 1, first_error = 2 }
        assert(run.cancelled or s.done == least[mode])
      end,
    })
  end
end)
