-- aio.all and aio.map: several at once, all or nothing.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local raised, has, values = helper.raised, helper.has, helper.values
local failed, case = helper.failed, helper.case

local function after(s, ...)
  local list = table.pack(...)
  return function()
    aio.sleep(s)
    return table.unpack(list, 1, list.n)
  end
end

-- A function that waits long and logs how it ended.
local function slow(log, name)
  return function()
    local e = raised(aio.sleep, 1000)
    aio.shield(9, aio.sleep, 1)
    log(name, aio.is_cancelled(e))
    error(e)
  end
end

describe("aio.all", function()
  it("returns the first value of each, in order", case(function()
    values({ "a", "b", "c" }, aio.all(after(3, "a", 1), after(1, "b", 2),
      after(2, "c")))
  end))

  it("keeps the places of nils", case(function()
    values({ nil, "b", nil, n = 3 }, aio.all(
      function() end, after(1, "b"), after(1, nil)))
  end))

  it("of nothing returns nothing", case(function()
    values({ n = 0 }, aio.all())
  end))

  it("runs them at the same time", case(function()
    local before = aio.now()
    aio.all(after(2), after(2), after(2))
    assert.is_true(math.abs(aio.now() - before - 2) < 1e-6)
  end))

  it("starts them in order, as tasks of their own", case(function()
    local log, me = helper.log(), aio.task()
    aio.all(function() log(1, aio.task() ~= me) end,
      function() log(2, aio.task() ~= me) end)
    assert.equal("1:true 2:true", log:text())
  end))

  it("takes callable objects", case(function()
    local x = setmetatable({}, { __call = function() return "called" end })
    values({ "called" }, aio.all(x))
  end))

  it("refuses anything else before it starts one", case(function()
    local ran = false
    raised(aio.all, function() ran = true end, 42)
    raised(aio.all, function() ran = true end, nil)
    aio.sleep(1)
    assert.is_false(ran)
  end))

  it("raises the first error unchanged, the rest being cancelled and joined",
    case(function()
      local log, e = helper.log(), {}
      assert.equal(e, raised(aio.all, slow(log, "a"), function()
        aio.sleep(1)
        error(e)
      end, slow(log, "b")))
      log "raised"
      assert.equal("a:true b:true raised", log:text())
    end))

  it("raises errors of any type", case(function()
    values({ false, nil, n = 2 }, pcall(aio.all, function() error(nil) end))
    values({ false, false }, pcall(aio.all, function() error(false) end))
  end))

  it("returns the nil, message, code of the first that returns one",
    case(function()
      local log = helper.log()
      values({ nil, "ETEST: no", "ETEST", n = 3 }, aio.all(slow(log, "a"),
        after(1, nil, "ETEST: no", "ETEST")))
      assert.equal("a:true", log:text())
    end))

  it("returns nil, message where there is no code", case(function()
    local value, message, code = aio.all(after(1, nil, "no"), after(2, 1))
    values({ nil, "no", nil, n = 3 }, value, message, code)
  end))

  it("takes nil with something else than a string for a value",
    case(function()
      values({ nil, 1, n = 2 }, aio.all(after(1, nil, 42), after(1, 1)))
      values({ false, 1 }, aio.all(after(1, false, "text"), after(1, 1)))
    end))

  it("is failed by a child that was cancelled by itself", case(function()
    local log = helper.log()
    local e = raised(aio.all, slow(log, "a"), function()
      aio.task():cancel "myself"
      aio.yield()
    end)
    assert.equal("ECANCELED", e.code)
    assert.is_false(aio.is_cancelled(e))
    assert.equal("a:true", log:text())
    assert.is_true(aio.sleep(1))
  end))

  it("cancelled from outside cancels and joins all", case(function()
    local log = helper.log()
    local t = aio.spawn(aio.all, slow(log, "a"), slow(log, "b"))
    testing.settle()
    t:cancel()
    t:join()
    log "joined"
    assert.equal("a:true b:true joined", log:text())
    assert.equal("cancelled", (t:peek()))
  end))

  it("obeys a timeout", case(function()
    local log = helper.log()
    failed("ETIMEDOUT", aio.timeout(1, aio.all, slow(log, "a")))
    assert.equal("a:true", log:text())
  end))

  it("nests", case(function()
    values({ 3, 7 }, aio.all(
      function()
        local a, b = aio.all(after(1, 1), after(2, 2))
        return a + b
      end,
      function()
        local a, b = aio.all(after(2, 3), after(1, 4))
        return a + b
      end))
  end))

  it("begins all of many, though not in one turn", case(function()
    local fns, begun, all = {}, 0, aio.event()
    for i = 1, 1000 do
      fns[i] = function()
        begun = begun + 1
        if begun == #fns then all:set() end
        all:wait()
        return i
      end
    end
    local last = select(#fns, aio.all(table.unpack(fns)))
    assert.equal(#fns, last)
  end))

  it("of many begins no more after a failure", case(function()
    local fns, begun = {}, 0
    for i = 1, 1000 do
      fns[i] = function()
        begun = begun + 1
        if i == 1 then return nil, "no" end
      end
    end
    local first, message = aio.all(table.unpack(fns))
    assert.is_nil(first)
    assert.equal("no", message)
    assert.is_true(begun < #fns)
  end))

  it("takes many", case(function()
    local list, sum = {}, 0
    for i = 1, 150 do
      list[i] = after(i % 7, i)
    end
    local got = table.pack(aio.all(table.unpack(list)))
    assert.equal(150, got.n)
    for i = 1, 150 do
      sum = sum + (got[i] == i and 1 or 0)
    end
    assert.equal(150, sum)
  end))
end)

describe("aio.map", function()
  local function list_of(n)
    local list = {}
    for i = 1, n do
      list[i] = i
    end
    return list
  end

  it("returns the list of first values, in order, with n", case(function()
    assert.same({ 10, 20, 30, n = 3 }, aio.map({ 1, 2, 3 }, function(x)
      aio.sleep(4 - x)
      return 10 * x, "more"
    end))
  end))

  it("allows holes in what comes out", case(function()
    local got = aio.map({ 1, 2, 3 }, function(x)
      if x == 2 then
        return "two"
      end
    end)
    assert.equal(3, got.n)
    values({ nil, "two", nil, n = 3 }, got[1], got[2], got[3])
  end))

  it("takes a list with holes that tells its n", case(function()
    local got = aio.map({ 1, nil, 3, n = 3 }, function(x)
      return tostring(x)
    end)
    assert.same({ "1", "nil", "3", n = 3 }, got)
  end))

  it("of an empty list is an empty list", case(function()
    assert.same({ n = 0 }, aio.map({}, error))
  end))

  it("runs all at the same time without a limit", case(function()
    local before = aio.now()
    aio.map(list_of(20), function() aio.sleep(2) end)
    assert.is_true(math.abs(aio.now() - before - 2) < 1e-6)
  end))

  it("runs no more than the limit, and that many", case(function()
    local now, most = 0, 0
    aio.map(list_of(10), function(i)
      now = now + 1
      most = math.max(most, now)
      aio.sleep(i % 3 + 1)
      now = now - 1
    end, 3)
    assert.equal(3, most)
    assert.equal(0, now)
  end))

  it("starts in order, the next when one has ended", case(function()
    local log = helper.log()
    aio.map(list_of(4), function(i)
      log("+" .. i)
      aio.sleep(i == 1 and 2.5 or 1)
      log("-" .. i)
    end, 2)
    assert.equal("+1 +2 -2 +3 -3 +4 -1 -4", log:text())
  end))

  it("with limit 1 is one after the other", case(function()
    local log = helper.log()
    aio.map(list_of(3), function(i)
      log("+" .. i)
      aio.sleep(4 - i)
      log("-" .. i)
    end, 1)
    assert.equal("+1 -1 +2 -2 +3 -3", log:text())
  end))

  it("checks its arguments", case(function()
    raised(aio.map)
    raised(aio.map, {})
    raised(aio.map, {}, 1)
    raised(aio.map, "list", print)
    raised(aio.map, { 1 }, print, 0)
    raised(aio.map, { 1 }, print, -1)
    raised(aio.map, { 1 }, print, 1.5)
    raised(aio.map, { 1 }, print, "x")
  end))

  it("raises the first error, the rest being cancelled and joined",
    case(function()
      local log, e = helper.log(), {}
      assert.equal(e, raised(aio.map, list_of(5), function(i)
        log("+" .. i)
        if i == 2 then
          aio.sleep(1)
          error(e)
        end
        slow(log, i)()
      end, 3))
      assert.equal("+1 +2 +3 1:true 3:true", log:text())
    end))

  it("returns nil, message, code of the first that returns one",
    case(function()
      local log = helper.log()
      values({ nil, "EX: no", "EX", n = 3 }, aio.map({ 1, 2 }, function(i)
        if i == 1 then
          slow(log, i)()
        end
        aio.sleep(1)
        return nil, "EX: no", "EX"
      end))
      assert.equal("1:true", log:text())
    end))

  it("begins no more after a failure, also where nothing waits", case(function()
    local log = helper.log()
    values({ nil, "EX: no", nil, n = 3 }, aio.map(list_of(9), function(i)
      log(i)
      if i == 4 then
        return nil, "EX: no"
      end
      aio.yield()
    end, 3))
    assert.equal("1 2 3 4", log:text())
    log = helper.log()
    values({ nil, "EX: no", nil, n = 3 }, aio.map(list_of(9), function(i)
      log(i)
      return nil, "EX: no"
    end, 1))
    assert.equal("1", log:text())
  end))

  it("takes nil alone for a value, and nil with a message for a failure, of holes too",
    case(function()
      local list = { 1, nil, 3, n = 4 }
      local got = aio.map(list, function(x) return x end)
      values({ 4, 1, nil, 3, nil, n = 5 }, got.n, got[1], got[2], got[3], got[4])
      failed("EX", aio.map(list, function(x) return x, "EX: a hole", "EX" end, 1))
    end))

  it("tells the error hook of a second failure, in words", function()
    local log = helper.log()
    case(function()
      failed("EX", aio.map({ 1, 2 }, function(i)
        pcall(aio.sleep, i)
        return nil, "EX: no " .. i, "EX"
      end))
      aio.yield()
    end, { on_error = function(e, info) log(info.kind, e) end })()
    assert.equal("secondary:EX: no 2", log:text())
  end)

  it("is failed by a child that was cancelled by itself", case(function()
    local e = raised(aio.map, { 1, 2 }, function(i)
      if i == 1 then
        aio.task():cancel()
      end
      aio.sleep(1)
    end)
    assert.equal("ECANCELED", e.code)
    assert.is_false(aio.is_cancelled(e))
  end))

  it("cancelled from outside cancels and joins all", case(function()
    local log = helper.log()
    local t = aio.spawn(aio.map, { "a", "b" }, function(x)
      slow(log, x)()
    end)
    testing.settle()
    t:cancel()
    t:join()
    assert.equal("a:true b:true", log:text())
  end))

  it("cancelled from outside starts no more", case(function()
    local log = helper.log()
    local t = aio.spawn(aio.map, list_of(5), function(i)
      log(i)
      aio.sleep(100)
    end, 2)
    testing.settle()
    t:cancel()
    t:join()
    assert.equal("1 2", log:text())
  end))

  it("takes a long list with a limit", case(function()
    local n = helper.many(1000)
    local got = aio.map(list_of(n), function(i)
      aio.sleep(i % 5 / 10)
      return i * 2
    end, 10)
    assert.equal(n, got.n)
    for i = 1, n do
      assert(got[i] == i * 2)
    end
  end))
end)

describe("nothing is kept", function()
  it("by all and map when they are done", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local a, b = {}, {}
      weak[a], weak[b] = true, true
      aio.all(function() return a end)
      aio.map({ 1 }, function() return b end)
    end
    aio.yield()
    helper.gone(weak)
  end))

  it("and a bad argument names the function", case(function()
    has("all", raised(aio.all, 1))
    has("map", raised(aio.map, 1, print))
  end))
end)
