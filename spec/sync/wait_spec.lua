-- aio.wait: looks on, cancels nothing, raises nothing of theirs.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local raised, values, case = helper.raised, helper.values, helper.case

local function sleeper(s)
  return aio.spawn(aio.sleep, s)
end

local function failing(s)
  return aio.spawn(function()
    aio.sleep(s)
    error "failed"
  end)
end

-- Names for the objects of a list, in order: "ac" for the first and third.
local function names(list, objects)
  local text = {}
  for i = 1, #list do
    for k, object in ipairs(objects) do
      if rawequal(object, list[i]) then
        text[i] = string.char(96 + k)
      end
    end
  end
  return table.concat(text)
end

local function check(done, pending, objects, got_done, got_pending)
  assert.equal(done, names(got_done, objects))
  assert.equal(#done, #got_done)
  assert.equal(pending, names(got_pending, objects))
  assert.equal(#pending, #got_pending)
end

describe("aio.wait for all", function()
  it("is the default, done in completion order", case(function()
    local l = { sleeper(3), sleeper(1), sleeper(2) }
    local done, pending = aio.wait(l)
    check("bca", "", l, done, pending)
  end))

  it("can be asked for", case(function()
    local l = { sleeper(2), sleeper(1) }
    local done, pending = aio.wait(l, { mode = "all" })
    check("ba", "", l, done, pending)
  end))

  it("counts failed and cancelled ones as done", case(function()
    local f = aio.future()
    aio.loop():call_later(1, f.cancel, f)
    local l = { failing(2), f, sleeper(3) }
    local done, pending = aio.wait(l)
    check("bac", "", l, done, pending)
  end))

  it("returns at once when all are done, in completion order",
    case(function()
      local log = helper.log()
      local l = { sleeper(2), sleeper(1) }
      aio.sleep(3)
      aio.spawn(log, "other")
      local done, pending = aio.wait(l)
      log "waited"
      assert.equal(2, #done)
      assert.equal(0, #pending)
      aio.yield()
      assert.equal("waited other", log:text())
    end))

  it("of an empty list returns at once", case(function()
    for _, mode in ipairs { "all", "any", "first_error" } do
      local done, pending = aio.wait({}, { mode = mode })
      assert.equal(0, #done)
      assert.equal(0, #pending)
    end
  end))
end)

describe("aio.wait for any", function()
  it("returns with the first", case(function()
    local l = { sleeper(3), sleeper(1), sleeper(2) }
    local before = aio.now()
    local done, pending = aio.wait(l, { mode = "any" })
    check("b", "ac", l, done, pending)
    assert.is_true(math.abs(aio.now() - before - 1) < 1e-6)
  end))

  it("keeps the list's order of what is pending", case(function()
    local l = { sleeper(9), sleeper(8), sleeper(1), sleeper(7) }
    local done, pending = aio.wait(l, { mode = "any" })
    check("c", "abd", l, done, pending)
  end))

  it("takes a failed one, too", case(function()
    local l = { sleeper(3), failing(1) }
    local done, pending = aio.wait(l, { mode = "any" })
    check("b", "a", l, done, pending)
  end))

  it("returns at once when one is done", case(function()
    local f = aio.future()
    f:resolve()
    local l = { aio.future(), f }
    local before = aio.now()
    local done, pending = aio.wait(l, { mode = "any" })
    check("b", "a", l, done, pending)
    assert.equal(before, aio.now())
  end))

  it("can be called again with what is pending", case(function()
    local l = { sleeper(3), sleeper(1), sleeper(2) }
    local log = helper.log()
    local pending = l
    while #pending > 0 do
      local done
      done, pending = aio.wait(pending, { mode = "any" })
      for _, x in ipairs(done) do
        log(names({ x }, l))
      end
    end
    assert.equal("b c a", log:text())
  end))
end)

describe("aio.wait for the first error", function()
  it("returns when one fails", case(function()
    local l = { sleeper(1), failing(2), sleeper(3) }
    local done, pending = aio.wait(l, { mode = "first_error" })
    check("ab", "c", l, done, pending)
  end))

  it("returns when one is cancelled", case(function()
    local f = aio.future()
    aio.loop():call_later(2, f.cancel, f)
    local l = { sleeper(1), f, sleeper(3) }
    local done, pending = aio.wait(l, { mode = "first_error" })
    check("ab", "c", l, done, pending)
  end))

  it("waits for all when none does", case(function()
    local l = { sleeper(2), sleeper(1) }
    local done, pending = aio.wait(l, { mode = "first_error" })
    check("ba", "", l, done, pending)
  end))

  it("returns at once when one has failed", case(function()
    local f = aio.future()
    f:fail "e"
    local l = { aio.future(), f }
    local done, pending = aio.wait(l, { mode = "first_error" })
    check("b", "a", l, done, pending)
  end))
end)

describe("aio.wait with a timeout", function()
  it("returns what is done by then", case(function()
    local l = { sleeper(3), sleeper(1) }
    local before = aio.now()
    local done, pending = aio.wait(l, { timeout = 2 })
    check("b", "a", l, done, pending)
    assert.is_true(math.abs(aio.now() - before - 2) < 1e-6)
  end))

  it("raises nothing when time is up", case(function()
    local f = aio.future()
    local done, pending = aio.wait({ f }, { timeout = 1 })
    check("", "a", { f }, done, pending)
  end))

  it("of 0 looks", case(function()
    local f, g = aio.future(), aio.future()
    g:resolve()
    local done, pending = aio.wait({ f, g }, { timeout = 0 })
    check("b", "a", { f, g }, done, pending)
  end))

  it("goes with modes", case(function()
    local l = { sleeper(5), sleeper(6) }
    local done, pending = aio.wait(l, { mode = "any", timeout = 1 })
    check("", "ab", l, done, pending)
    done, pending = aio.wait(l, { mode = "any", timeout = 50 })
    check("a", "b", l, done, pending)
  end))

  it("leaves no timer", case(function()
    local before = aio.loop():stats().timers
    local f = aio.future()
    f:resolve()
    aio.wait({ f }, { timeout = 5 })
    aio.wait({ aio.future() }, { timeout = 1 })
    assert.equal(before, aio.loop():stats().timers)
  end))

  it("gives way to an outer timeout", case(function()
    helper.failed("ETIMEDOUT", aio.timeout(1, function()
      aio.wait({ aio.future() }, { timeout = 5 })
    end))
  end))
end)

describe("aio.wait", function()
  it("returns the very objects that were passed in", case(function()
    local f = aio.future()
    local x = setmetatable({}, { __await = function() return f end })
    local y = setmetatable({}, {
      __await = function() return aio.future() end,
    })
    f:resolve()
    local done, pending = aio.wait({ x, y }, { mode = "any" })
    assert.equal(x, done[1])
    assert.equal(y, pending[1])
  end))

  it("takes tasks, futures and callbacks together", case(function()
    local f = aio.future()
    aio.loop():call_later(3, f.resolve, f)
    local cb = aio.loop():call_later(2, function() end)
    local l = { f, cb, sleeper(1) }
    local done, pending = aio.wait(l)
    check("cba", "", l, done, pending)
  end))

  it("cancels nothing", case(function()
    local t, f = sleeper(100), aio.future()
    local waiter = aio.spawn(aio.wait, { t, f })
    testing.settle()
    waiter:cancel()
    waiter:join()
    assert.equal("cancelled", (waiter:peek()))
    assert.equal("pending", (t:peek()))
    assert.is_true(f:resolve())
    t:cancel()
  end))

  it("leaves the list alone", case(function()
    local l = { sleeper(2), sleeper(1) }
    local a, b = l[1], l[2]
    aio.wait(l)
    values({ a, b, nil, n = 3 }, l[1], l[2], l[3])
  end))

  it("refuses duplicates", case(function()
    local f = aio.future()
    raised(aio.wait, { f, f })
    raised(aio.wait, { f, aio.future(), f }, { mode = "any" })
  end))

  it("refuses what cannot be awaited", case(function()
    raised(aio.wait, { aio.future(), 42 })
    raised(aio.wait, { function() end })
    raised(aio.wait)
    raised(aio.wait, 1)
  end))

  it("checks its options", case(function()
    local f = aio.future()
    raised(aio.wait, { f }, { mode = "some" })
    raised(aio.wait, { f }, { timeout = "x" })
    raised(aio.wait, { f }, { timeout = 0 / 0 })
    raised(aio.wait, { f }, 5)
  end))

  it("by two for the same object", case(function()
    local f, log = aio.future(), helper.log()
    for i = 1, 2 do
      aio.spawn(function() log(i .. #aio.wait { f }) end)
    end
    testing.settle()
    f:resolve()
    testing.settle()
    assert.equal("11 21", log:text())
  end))

  it("that completed while parked keeps its result though cancelled",
    case(function()
      local f, got = aio.future(), nil
      local t = aio.spawn(function()
        got = aio.wait { f }
        aio.yield()
      end)
      testing.settle()
      f:resolve()
      testing.settle()
      t:cancel()
      t:join()
      assert.equal(f, got[1])
    end))

  it("for a long list", case(function()
    local l = {}
    local n = helper.many(300)
    for i = 1, n do
      l[i] = sleeper(i % 10)
    end
    local done, pending = aio.wait(l)
    assert.equal(n, #done)
    assert.equal(0, #pending)
  end))

  it("keeps nothing of what it waited for", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    local keep = aio.future()
    do
      local f = aio.future()
      weak[f] = true
      f:resolve()
      aio.wait({ f, keep }, { mode = "any" })
      aio.wait({ keep }, { timeout = 1 })
    end
    aio.yield()
    helper.gone(weak)
    keep:resolve()
  end))

  it("leaves nothing behind in a future that stays pending", case(function()
    local keep = aio.future()
    local function round()
      for _ = 1, helper.many(200) do
        aio.wait({ keep }, { timeout = 0.1 })
      end
      collectgarbage()
      collectgarbage()
      return collectgarbage "count"
    end
    round()
    local before = round()
    assert.is_true(round() - before < 20)
  end))
end)
