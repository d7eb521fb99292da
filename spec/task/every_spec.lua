-- Ticks.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local case, failed, has, raised = helper.case, helper.failed, helper.has,
  helper.raised

-- Where the n-th tick comes, for n in the order of coming, until `last`.
local function ticks(s, last, body)
  local log, start = helper.log(), aio.now()
  for n in aio.every(s) do
    log(n, ("%.2f"):format(aio.now() - start))
    if n >= last then
      break
    end
    body(n)
  end
  return log:text()
end

describe("aio.every", function()
  it("ticks at multiples, whatever the body takes", case(function()
    assert.equal("1:0.50 2:1.00 3:1.50 4:2.00", ticks(0.5, 4, function(n)
      aio.sleep(n * 0.1)
    end))
  end))

  it("gives a late tick at once, and skips those before", case(function()
    assert.equal("1:1.00 2:2.00 4:4.70 5:5.00 6:6.00", ticks(1, 6, function(n)
      aio.sleep(n == 2 and 2.7 or 0)
    end))
  end))

  it("does not drift", case(function()
    local start, last = aio.now(), nil
    for n in aio.every(0.1) do
      last = n
      aio.sleep(0.03)
      if n == 1000 then
        break
      end
    end
    assert.equal(1000, last)
    assert.is_true(math.abs(aio.now() - start - 100.03) < 1e-6)
  end))

  it("is cancelled like a sleep, and goes on after that", case(function()
    local tick = aio.every(1)
    failed("ETIMEDOUT", aio.timeout(0.5, tick))
    assert.equal(1, tick())
    assert.equal(2, tick())
  end))

  it("lets others run when it is always late", case(function()
    local other = false
    aio.spawn(function() other = true end)
    for _ in aio.every(1e-9) do
      if other then
        break
      end
    end
  end))

  it("gives whole numbers", case(function()
    local tick = aio.every(1)
    tick()
    aio.sleep(5)
    assert.equal("integer", math.type(tick()))
  end))

  it("refuses what is no time between ticks", function()
    for _, s in ipairs { 0, -1, 0 / 0, math.huge, "x", {} } do
      has("bad argument #1 to 'every'", raised(aio.every, s))
    end
    has("bad argument #1 to 'every'", raised(aio.every))
  end)
end)
