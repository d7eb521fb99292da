-- A loop of plain coroutine.yield() at task level did not meet a cancellation:
-- it could only be ended by force.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local case = helper.case

local function spin()
  while true do
    coroutine.yield()
  end
end

describe("coroutine.yield in a cancelled task", function()
  it("raises Cancelled, with the reason", case(function()
    local e
    local t = aio.spawn(function()
      e = helper.raised(spin)
      error(e, 0)
    end)
    aio.yield()
    t:cancel "enough"
    t:join()
    assert.is_true(aio.is_cancelled(e))
    assert.equal("enough", e.reason)
    assert.equal("cancelled", (t:peek()))
  end))

  it("raises again when that was caught, and lets others run", case(function()
    local caught, turns = 0, 0
    local t = aio.spawn(function()
      while caught < 5 do
        if not pcall(spin) then caught = caught + 1 end
      end
    end)
    aio.spawn(function()
      while caught < 5 do
        turns = turns + 1
        aio.yield()
      end
    end)
    t:cancel()
    assert.is_true((t:join()))
    assert.is_true(turns >= 5)
  end))

  it("ends with the timeout that caused it", case(function()
    helper.failed("ETIMEDOUT", aio.timeout(0, spin))
    assert.is_true(aio.sleep(1))
  end))

  it("raises not inside a shield", case(function()
    local inside
    local t = aio.spawn(function()
      aio.shield(1, function()
        coroutine.yield()
        inside = true
      end)
      spin()
    end)
    t:cancel()
    t:join()
    assert.is_true(inside)
  end))

  it("closes what the task holds", case(function()
    local log = helper.log()
    local t = aio.spawn(function()
      local _ <close> = setmetatable({}, {
        __close = function() log "closed" end,
      })
      spin()
    end)
    aio.yield()
    t:cancel()
    t:join()
    assert.equal("closed", log:text())
  end))

  it("still gives values to who resumes a generator", case(function()
    local got
    local t = aio.spawn(function()
      local next = aio.coroutine.wrap(function()
        coroutine.yield(1)
        coroutine.yield(2)
      end)
      got = next() + next()
    end)
    t:cancel()
    t:join()
    assert.equal(3, got)
  end))

  it("keeps the hook that the task has set", case(function()
    local lines, after = 0, nil
    local t = aio.spawn(function()
      local function count() lines = lines + 1 end
      debug.sethook(count, "l")
      local ok = pcall(spin)
      local before = lines
      local hook, mask = debug.gethook()
      after = not ok and hook == count and mask == "l" and lines > before
      debug.sethook()
    end)
    t:cancel()
    t:join()
    assert.is_true(after)
  end))
end)
