-- Groups, in any order and wherever somebody is cancelled: who was started
-- has ended before the group has, and the first failure is the one raised.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local explore = helper.explore

-- Runs `body(group)` in a group and checks that its members end before it.
local function joined(s, opts, body)
  s.inside = s.inside or helper.presence()
  local before = s.inside.now
  local ok, err = pcall(aio.group, opts, body)
  assert(s.inside.now == before, "the group ended before its members")
  return ok, err
end

-- A child that works for a while, and then fails or not.
local function child(s, rounds, failure)
  local _ <close> = s.inside()
  for _ = 1, rounds do
    aio.yield()
  end
  if failure then
    s.failures[#s.failures + 1] = failure
    error(failure, 0)
  end
end

-- What a group raised is its first failure, or a cancellation from outside.
local function first_failure(s, run, ok, err)
  if s.failures[1] then
    assert.equal(s.failures[1], err)
  elseif not ok then
    assert(run.cancelled and aio.is_cancelled(err), tostring(err))
  end
end

local function passed_on(ok, err)
  if not ok and aio.is_cancelled(err) then
    error(err, 0)
  end
end

describe("groups", function()
  explore("join their children", {
    cancel = "both",
    scenario = function(s)
      passed_on(joined(s, nil, function(g)
        for i = 1, 4 do
          g:spawn(child, s, i)
        end
        aio.yield()
        g:spawn(child, s, 2)
      end))
    end,
    invariant = function(s, run)
      assert.equal(0, s.inside.now)
      assert(run.cancelled or s.inside.came == 5)
    end,
  })

  explore("raise the first failure", {
    cancel = "both",
    scenario = function(s)
      s.failures = {}
      s.ok, s.err = joined(s, nil, function(g)
        g:spawn(child, s, 5)
        g:spawn(child, s, 2, "one")
        g:spawn(child, s, 2, "two")
        g:spawn(child, s, 2, "three")
        aio.sleep(10)
      end)
    end,
    invariant = function(s, run)
      first_failure(s, run, s.ok, s.err)
      assert(run.cancelled or #s.failures > 0)
      assert.equal(math.max(0, #s.failures - 1), #run.secondary)
    end,
  })

  explore("take a failure of the body as one of a member", {
    cancel = "both",
    scenario = function(s)
      s.failures = {}
      s.ok, s.err = joined(s, nil, function(g)
        g:spawn(child, s, 2, "child")
        g:spawn(child, s, 3)
        child(s, 2, "body")
      end)
    end,
    invariant = function(s, run) first_failure(s, run, s.ok, s.err) end,
  })

  explore("tell on_failure of each failure, before they end", {
    cancel = "both",
    scenario = function(s)
      s.failures, s.told = {}, {}
      local open = true
      local function on_failure(task, err)
        assert(open, "told when it was over")
        assert(task:peek() == "failed")
        s.told[#s.told + 1] = err
      end
      passed_on(joined(s, { on_failure = on_failure }, function(g)
        for i = 1, 3 do
          g:spawn(child, s, i, "failure " .. i)
        end
        g:spawn(child, s, 2)
      end))
      open = false
    end,
    invariant = function(s)
      table.sort(s.failures)
      table.sort(s.told)
      assert.same(s.failures, s.told)
    end,
  })

  explore("iterate over each child once, as it ends", {
    cancel = "both",
    scenario = function(s)
      s.ended, s.seen = {}, {}
      passed_on(joined(s, nil, function(g)
        for i = 1, 4 do
          g:spawn(function()
            local _ <close> = s.inside()
            local _ <close> = setmetatable({}, { __close = function()
              s.ended[#s.ended + 1] = i
            end })
            aio.sleep(i % 2)
            return i
          end):name(tostring(i))
        end
        for task in g do
          s.seen[#s.seen + 1] = math.tointeger(tonumber(task:name()))
        end
      end))
    end,
    invariant = function(s, run)
      if run.ok then
        assert(run.cancelled or #s.seen == 4)
        for i = 1, #s.seen - 1 do
          assert(s.seen[i] ~= s.seen[i + 1])
        end
        assert(#s.seen < 4 or table.concat(s.seen) == table.concat(s.ended))
      end
    end,
  })

  explore("end services after the children", {
    cancel = "both",
    scenario = function(s)
      s.inside = helper.presence()
      local served = helper.presence()
      passed_on(joined(s, nil, function(g)
        g:service(function()
          local _ <close> = served()
          s.ready = true
          local ok = pcall(aio.sleep, math.huge)
          s.alone = not ok and s.inside.now == 0
        end)
        for i = 1, 3 do
          g:spawn(child, s, i)
        end
      end))
      assert(served.now == 0)
    end,
    invariant = function(s, run)
      assert.equal(0, s.inside.now)
      assert(run.cancelled or s.alone)
    end,
  })

  explore("wait for the children, whatever services do", {
    cancel = "both",
    scenario = function(s)
      s.inside = helper.presence()
      passed_on(joined(s, nil, function(g)
        g:service(aio.yield)
        for i = 1, 3 do
          g:spawn(child, s, i)
        end
        g:wait()
        assert(s.inside.now == 0, "wait returned too early")
      end))
    end,
  })

  explore("start children that say when they are ready", {
    cancel = "both",
    scenario = function(s)
      s.inside, s.got = helper.presence(), {}
      passed_on(joined(s, nil, function(g)
        for i = 1, 2 do
          local ok, v = pcall(g.start, g, function(started)
            local _ <close> = s.inside()
            aio.sleep(i)
            started(i)
            s["started" .. i] = true
            aio.sleep(i)
          end)
          if not ok and aio.is_cancelled(v) then
            error(v, 0)
          end
          s.got[i] = ok and v
        end
      end))
    end,
    invariant = function(s, run)
      assert.equal(0, s.inside.now)
      for i = 1, 2 do
        assert(not s.got[i] or (s.got[i] == i and s["started" .. i]))
        assert(run.cancelled or s.got[i] == i)
      end
    end,
  })

  explore("keep out of failures before started()", {
    cancel = "both",
    scenario = function(s)
      s.inside, s.failures = helper.presence(), {}
      passed_on(joined(s, nil, function(g)
        g:spawn(child, s, 4)
        local ok, err = pcall(g.start, g, function()
          child(s, 2, "early")
        end)
        assert(not ok)
        if aio.is_cancelled(err) then
          error(err, 0)
        end
        s.err = err
        aio.yield()
        s.went_on = true
      end))
    end,
    invariant = function(s, run)
      assert(run.cancelled or (s.err == "early" and s.went_on))
    end,
  })

  explore("inside groups end first", {
    cancel = "both",
    scenario = function(s)
      s.inside = helper.presence()
      passed_on(joined(s, nil, function(outer)
        for i = 1, 2 do
          outer:spawn(function()
            local _ <close> = s.inside()
            passed_on(pcall(aio.group, nil, function(inner)
              inner:spawn(child, s, i)
              inner:spawn(child, s, 2)
            end))
          end)
        end
      end))
    end,
    invariant = function(s, run)
      assert.equal(0, s.inside.now)
      assert(run.cancelled or s.inside.came == 6)
    end,
  })
end)
