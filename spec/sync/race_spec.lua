-- aio.race: the first of several functions that ends.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local raised, values, has = helper.raised, helper.values, helper.has
local case, bare = helper.case, helper.bare

local function after(seconds, ...)
  local results = table.pack(...)
  return function()
    aio.sleep(seconds)
    return table.unpack(results, 1, results.n)
  end
end

-- Logs how it ends when it is cancelled.
local function loser(log, name, seconds)
  return function()
    local ok, e = pcall(aio.sleep, 100)
    log(name, not ok and aio.is_cancelled(e))
    if seconds then
      aio.shield(nil, aio.sleep, seconds)
      log(name, "cleaned up")
    end
    error(e, 0)
  end
end

describe("aio.race", function()
  it("returns index and values of the first that returns", case(function()
    values({ 2, "b", nil, 3, n = 4 }, aio.race(after(2, "a"), after(1, "b", nil, 3),
      after(3, "c")))
    values({ 1 }, aio.race(function() end))
  end))

  it("takes the first in their order when none waits", case(function()
    local log = helper.log()
    values({ 1, "a" }, aio.race(function() return "a" end, function()
      log(pcall(aio.sleep, 1))
      return "b"
    end))
    assert.equal("false:", log:text():sub(1, 6)) -- it was started all the same
  end))

  it("takes nil and a message for values", case(function()
    values({ 1, nil, "ECONNREFUSED: no", "ECONNREFUSED", n = 4 },
      aio.race(after(1, nil, "ECONNREFUSED: no", "ECONNREFUSED"), after(2, "late")))
  end))

  it("cancels the others and joins them", case(function()
    local log = helper.log()
    local before = aio.now()
    values({ 2, "won" }, aio.race(loser(log, "a", 3), after(1, "won"), loser(log, "c")))
    assert.equal("a:true c:true a:cleaned up", log:text())
    assert.is_true(math.abs(aio.now() - before - 4) < 1e-6)
  end))

  it("raises what the first raised, unchanged", case(function()
    for _, e in ipairs { {}, "text", false } do
      local log = helper.log()
      assert.equal(e, raised(aio.race, loser(log, "a"), function()
        aio.sleep(1)
        error(e, 0)
      end, after(2, "late")))
      assert.equal("a:true", log:text())
    end
  end))

  it("raises nil as well, and nobody wins after that", case(function()
    local result = table.pack(pcall(aio.race, function() error(nil) end, function()
      pcall(aio.sleep, 1)
      return "late"
    end))
    values({ false, nil, n = 2 }, table.unpack(result, 1, result.n))
  end))

  it("keeps the winner when another returns although cancelled", case(function()
    values({ 1, "first" }, aio.race(after(1, "first"), function()
      pcall(aio.sleep, 100)
      return "second"
    end))
  end))

  it("tells the error hook of what is raised after that", function()
    local log = helper.log()
    case(function()
      values({ 1, "won" }, aio.race(after(1, "won"), function()
        pcall(aio.sleep, 100)
        error "too late"
      end))
      aio.yield()
    end, { on_error = function(e, info)
      log(info.kind, (tostring(e):gsub("^.*: ", "")))
    end })()
    assert.equal("secondary:too late", log:text())
  end)

  it("is failed by a child that was cancelled by itself", case(function()
    local e = raised(aio.race, function()
      aio.task():cancel()
      aio.sleep(1)
    end, after(2))
    assert.equal("ECANCELED", e.code)
    assert.is_false(aio.is_cancelled(e))
  end))

  it("refuses what cannot be called before it starts one", case(function()
    local log = helper.log()
    has("bad argument #2 to 'race' (function expected, got number)",
      raised(aio.race, log, 5))
    has("bad argument #1 to 'race' (function expected, got nil)", raised(aio.race))
    has("#1", raised(aio.race, nil, log))
    testing.settle()
    assert.equal("", log:text())
  end))

  it("takes callable objects", case(function()
    values({ 1, 5 }, aio.race(setmetatable({}, { __call = function() return 5 end })))
  end))

  it("nests", case(function()
    values({ 2, 1, "inner" }, aio.race(after(5), function()
      return aio.race(after(1, "inner"), after(2))
    end))
  end))

  it("works in the main chunk", bare(function()
    values({ 2, "b" }, aio.race(after(2, "a"), after(1, "b")))
    assert.equal(0, aio.loop():stats().tasks)
  end))
end)

describe("a cancelled race", function()
  it("does not start when it was cancelled before", case(function()
    local log = helper.log()
    local t = aio.spawn(aio.race, log, log)
    t:cancel()
    t:join()
    assert.equal("", log:text())
  end))

  it("cancels and joins all", case(function()
    local log = helper.log()
    local t = aio.spawn(aio.race, loser(log, "a", 1), loser(log, "b"))
    testing.settle()
    t:cancel()
    t:join()
    assert.equal("a:true b:true a:cleaned up", log:text())
    assert.equal("cancelled", (t:peek()))
  end))

  it("keeps the values of who has won before", case(function()
    local log = helper.log()
    local t = aio.spawn(function()
      log(aio.race(after(1, "won"), loser(log, "b", 2)))
      aio.sleep(1)
      log "never"
    end)
    aio.sleep(2)
    t:cancel()
    t:join()
    assert.equal("b:true b:cleaned up 1:won", log:text())
  end))

  it("by a timeout leaves nobody", case(function()
    helper.failed("ETIMEDOUT", aio.timeout(1, aio.race, after(2), after(3)))
  end))
end)

describe("a race that is over", function()
  it("keeps nothing of its values", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local value = {}
      weak[value] = true
      aio.race(function() return value end, after(1))
    end
    aio.yield()
    helper.gone(weak)
  end))
end)

-- One child wins, all others end before race returns, whatever the order and
-- wherever it is cancelled.
describe("any schedule of a race", function()
  it("has one winner and leaves nobody", function()
    testing.explore {
      seeds = helper.many(40),
      scenario = function()
        local alive, ch = 0, aio.channel()
        local function child(i)
          return function()
            alive = alive + 1
            local _ <close> = setmetatable({}, { __close = function()
              alive = alive - 1
            end })
            aio.yield()
            if i == 3 then
              ch:put "v"
            end
            return i, i < 3 and ch:get()
          end
        end
        local ok, i, value = pcall(aio.race, child(1), child(2), child(3))
        assert(alive == 0, "a child is left")
        assert(not ok or i == value, "values of another child")
      end,
    }
  end)
end)
