-- Each wait that raised in nested scopes looked for the one that was cancelled
-- through all of them: 10,000 groups inside one another took 4 s to cancel.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local case = helper.case

local function nest(depth)
  local group <close> = aio.group()
  if depth > 1 then
    group:spawn(nest, depth - 1)
  end
  aio.sleep(math.huge)
end

-- Seconds of the processor's time that cancelling so many groups takes.
local function cost(depth)
  local task = aio.spawn(nest, depth)
  aio.sleep(1)
  collectgarbage()
  local before = os.clock()
  task:cancel()
  task:join()
  return os.clock() - before
end

-- The reason that a wait inside is told, `cancel` having been called.
local function told(cancel)
  local outer, inner, task, reason
  local group <close> = aio.group()
  task = group:spawn(function()
    outer = aio.scope()
    local _ <close> = outer
    inner = aio.scope()
    local _ <close> = inner
    reason = helper.raised(aio.sleep, 9).reason
  end)
  aio.yield()
  cancel(outer, inner, task)
  task:join()
  return reason
end

describe("cancelling nested scopes", function()
  -- A harsh collector looks at all of them all the time.
  if os.getenv "PERILUNE_GCSTRESS" ~= "1" then
    it("takes time in proportion to their number", case(function()
      local few = cost(1000)
      assert.is_true(cost(16000) < 100 * math.max(few, 0.001))
    end))
  end

  it("tells the reason of the outermost, if that came first", case(function()
    assert.equal("outer", told(function(outer, inner)
      outer:cancel "outer"
      inner:cancel "inner"
    end))
  end))

  it("tells the reason of the outermost, if that came last", case(function()
    assert.equal("task", told(function(outer, inner, task)
      inner:cancel "inner"
      outer:cancel "outer"
      task:cancel "task"
    end))
  end))

  it("tells the reason inside a shield's own limits", case(function()
    local reason
    local task = aio.spawn(function()
      aio.scope({ shield = true }, function(scope)
        aio.loop():call_soon(scope.cancel, scope, "mine")
        reason = helper.raised(aio.sleep, 9).reason
      end)
    end)
    task:cancel "theirs"
    task:join()
    assert.equal("mine", reason)
  end))
end)
