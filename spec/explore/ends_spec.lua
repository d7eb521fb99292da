-- How things end, in any order and cancelled anywhere: services last, cycles
-- told of, write ends answered.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local explore = helper.explore

local function closing(fn)
  return setmetatable({}, { __close = fn })
end

-- A service that children need to end well.
local function served(s, g)
  local questions = aio.channel()
  g:service(function()
    local _ <close> = closing(function() s.service_ended = true end)
    for answer in questions do
      aio.yield()
      answer:resolve(true)
    end
  end)
  return function()
    s.started = s.started + 1
    local _ <close> = closing(function()
      aio.shield(nil, function()
        local answer = aio.future()
        questions:put(answer)
        assert(answer:await() and not s.service_ended)
        s.answered = s.answered + 1
      end)
    end)
    aio.sleep(1)
    aio.sleep(1)
  end
end

describe("services", function()
  explore("serve the others to the end", {
    scenario = function(s)
      s.started, s.answered = 0, 0
      aio.group({ on_failure = false }, function(g)
        local child = served(s, g)
        for _ = 1, 3 do g:spawn(child) end
        g:wait()
      end)
    end,
    invariant = function(s, run)
      assert.equal(s.started, s.answered)
      assert(s.started == 3 or run.cancelled)
    end,
  })

  explore("serve groups inside", {
    scenario = function(s)
      s.started, s.answered = 0, 0
      aio.timeout(1.5, aio.group, nil, function(g)
        local child = served(s, g)
        g:spawn(function()
          local inner <close> = aio.group()
          for _ = 1, 2 do inner:spawn(child) end
        end)
      end)
      assert(s.service_ended)
    end,
    invariant = function(s)
      assert.equal(s.started, s.answered)
    end,
  })
end)

-- Calls fn; notes whether it was told of a cycle.
local function told(s, fn, ...)
  local ok, e = pcall(fn, ...)
  if not ok and e.code == "EDEADLK" then
    s.told = s.told + 1
  elseif not ok then
    error(e, 0)
  end
end

describe("cycles", function()
  explore("of two tasks are seen by one of them", {
    cancel = "both",
    scenario = function(s)
      s.told = 0
      aio.group({ on_failure = false }, function(g)
        g:service(aio.sleep, math.huge) -- so that no deadlock is found
        local a, b
        a = g:spawn(function() told(s, function() return b:join() end) end)
        b = g:spawn(function() told(s, function() return a:join() end) end)
      end)
    end,
    invariant = function(s, run)
      assert(s.told == 1 or run.cancelled and s.told == 0)
    end,
  })

  explore("through a group are seen, whoever comes first", {
    scenario = function(s)
      s.told = 0
      aio.group(nil, function(outer)
        outer:service(aio.sleep, math.huge)
        outer:spawn(function()
          local parent = aio.task()
          local g <close> = aio.group()
          for i = 1, 3 do
            g:spawn(function()
              if i == 1 then aio.sleep(1) end
              told(s, parent.await, parent)
            end)
          end
          aio.yield()
        end)
      end)
    end,
    invariant = function(s, run)
      assert(s.told == 3 or run.cancelled)
    end,
  })
end)

describe("a write end", function()
  explore("answers, or breaks", {
    cancel = "both",
    scenario = function(s)
      aio.group({ on_failure = false }, function(g)
        local f = aio.future()
        s.consumer = g:spawn(function() return f:join() end)
        local remote = f:remote()
        s.producer = g:spawn(function()
          local _ <close> = remote
          aio.yield()
          aio.sleep(1)
          remote:resolve "value"
        end)
        s.f = f
      end)
    end,
    invariant = function(s)
      local state, value = s.f:peek()
      if state == "ok" then
        assert.equal("value", value)
      else
        assert.equal("failed", state)
        assert.equal("EBROKEN", value.code)
      end
      assert.is_false(s.f:remote():resolve())
    end,
  })
end)
