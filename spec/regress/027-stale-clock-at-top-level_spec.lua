-- After a long computation in the main chunk, times were reckoned from the last
-- turn: what was to take a while was over at once.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

local BUSY, WAIT = 0.06, 0.04

-- Computes for BUSY seconds; when, on the loop's clock, that began.
local function compute()
  local began, from = aio.now(), os.clock()
  while os.clock() - from < BUSY do end -- luacheck: ignore 542
  return began
end

local ways = {
  ["a sleep"] = function() aio.sleep(WAIT) end,
  ["a timeout"] = function() aio.timeout(WAIT, aio.sleep, 100) end,
  ["a scope"] = function()
    aio.scope(WAIT, function() aio.sleep(100) end)
  end,
  ["a shield"] = function() aio.shield(WAIT, aio.sleep, 100) end,
  ["call_later"] = function() aio.loop():call_later(WAIT, print):cancel()
    aio.loop():call_later(WAIT, function() end):await()
  end,
  ["aio.wait"] = function()
    aio.wait({ aio.spawn(aio.sleep, 0.2) }, { timeout = WAIT })
  end,
}

describe("after a long computation at top level", function()
  for name, wait in pairs(ways) do
    it(name .. " takes its time", function()
      local began = compute()
      wait()
      local took = aio.now() - began
      assert.is_true(took >= BUSY + WAIT - 0.001, took)
    end)
  end

  it("a task's sleep does as well", function()
    local took
    local began = compute()
    aio.run(function()
      aio.sleep(WAIT)
      took = aio.now() - began
    end)
    assert.is_true(took >= BUSY + WAIT - 0.001, took)
  end)
end)
