-- aio.as_completed: the objects of a list in the order in which they are done.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local raised, has, case, bare = helper.raised, helper.has, helper.case, helper.bare

local function sleeper(seconds, name)
  local t = aio.spawn(aio.sleep, seconds)
  t:name(name or tostring(seconds))
  return t
end

-- The names of what a loop over `it` gets, in order.
local function names(it)
  local log = helper.log()
  for x in it do
    log(x:name())
  end
  return log:text()
end

describe("aio.as_completed", function()
  it("goes through the objects as they are done", case(function()
    local list = { sleeper(3), sleeper(1), sleeper(2) }
    assert.equal("1 2 3", names(aio.as_completed(list)))
  end))

  it("begins with what is done, in the list's order", case(function()
    local a, b, c = sleeper(2, "a"), sleeper(1, "b"), sleeper(4, "c")
    aio.sleep(3)
    assert.equal("a b c", names(aio.as_completed { a, c, b }))
  end))

  it("gives the very objects", case(function()
    local f = aio.future()
    local thing = setmetatable({}, { __await = function() return f end })
    local callback = aio.loop():call_later(2, print)
    callback:cancel()
    aio.loop():call_later(1, f.resolve, f)
    local got = {}
    for x in aio.as_completed { thing, callback } do
      got[#got + 1] = x
    end
    assert.equal(callback, got[1])
    assert.equal(thing, got[2])
  end))

  it("raises nothing of theirs", case(function()
    local f, g = aio.future(), aio.future()
    f:fail "error"
    g:cancel()
    local n = 0
    for x in aio.as_completed { f, g } do
      n = n + (x:peek() ~= "ok" and 1 or 0)
    end
    assert.equal(2, n)
  end))

  it("of an empty list is over at once", case(function()
    assert.equal("", names(aio.as_completed {}))
  end))

  it("is over when all were told of", case(function()
    local it = aio.as_completed { sleeper(1) }
    assert.equal("1", names(it))
    assert.equal("", names(it))
    assert.is_nil(it())
  end))

  it("goes by the list as it was", case(function()
    local list = { sleeper(1), sleeper(2) }
    local it = aio.as_completed(list)
    list[1], list[2], list[3] = nil, nil, nil
    assert.equal("1 2", names(it))
  end))

  it("refuses bad lists", case(function()
    local f = aio.future()
    has("bad argument #1 to 'as_completed' (table expected", raised(aio.as_completed))
    has("item 2 is there twice", raised(aio.as_completed, { f, f }))
    has("item 2 is not awaitable", raised(aio.as_completed, { f, 5 }))
  end))

  it("works in the main chunk", bare(function()
    assert.equal("1 2", names(aio.as_completed { sleeper(2), sleeper(1) }))
  end))
end)

describe("a loop over what is completed", function()
  it("can be left early, and cancels nothing", case(function()
    local list = { sleeper(2), sleeper(1) }
    for x in aio.as_completed(list) do
      if x == list[2] then
        break
      end
    end
    assert.equal("pending", (list[1]:peek()))
    assert.is_true(list[1]:await())
  end))

  it("can be taken up again", case(function()
    local it = aio.as_completed { sleeper(3), sleeper(1), sleeper(2) }
    for x in it do
      if x:name() == "1" then
        break
      end
    end
    assert.equal("2 3", names(it))
  end))

  it("can be shared by tasks: each gets another one", case(function()
    local it, log = aio.as_completed { sleeper(1), sleeper(2), sleeper(3) }, helper.log()
    local function work(id)
      for x in it do
        log(id, x:name())
        aio.sleep(1.5)
      end
      log(id, "end")
    end
    aio.all(function() work "a" end, function() work "b" end)
    assert.equal("a:1 b:2 a:3 b:end a:end", log:text())
  end))

  it("is not misled by who asks between wake and run", case(function()
    local f, g = aio.future():name "f", aio.future():name "g"
    local it = aio.as_completed { f, g }
    local t = aio.spawn(it)
    testing.settle()
    f:resolve()
    assert.equal(f, it())
    testing.settle()
    assert.equal("pending", (t:peek()))
    g:resolve()
    assert.equal(g, t:await())
  end))

  it("ends when it is closed", case(function()
    local it = aio.as_completed { aio.future() }
    local t = aio.spawn(names, it)
    testing.settle()
    do local _ <close> = it end
    assert.equal("", t:await())
    assert.is_nil(it())
  end))
end)

describe("a cancelled loop over what is completed", function()
  it("takes nothing", case(function()
    local f = aio.future()
    local it = aio.as_completed { f }
    local t = aio.spawn(it)
    testing.settle()
    t:cancel()
    t:join()
    f:resolve()
    assert.equal(f, it())
  end))

  it("takes nothing when it was cancelled before", case(function()
    local f = aio.future()
    f:resolve()
    local it = aio.as_completed { f }
    local t = aio.spawn(it)
    t:cancel()
    t:join()
    assert.equal("cancelled", (t:peek()))
    assert.equal(f, it())
  end))

  it("keeps what it was woken with", case(function()
    local f, got = aio.future(), nil
    local it = aio.as_completed { f, aio.future() }
    local t = aio.spawn(function()
      got = it()
      aio.yield()
    end)
    testing.settle()
    f:resolve()
    t:cancel()
    t:join()
    assert.equal(f, got)
  end))
end)

describe("as_completed leaves nothing behind", function()
  it("in a future that stays pending, when it is closed", case(function()
    local keep = aio.future()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local other = aio.future()
      local it <close> = aio.as_completed { keep, other }
      weak[other], weak[it] = true, true
    end
    helper.gone(weak)
    keep:resolve()
  end))

  it("when nobody holds it", case(function()
    local keep = aio.future()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local it = aio.as_completed { keep }
      weak[it] = true
    end
    helper.gone(weak)
    keep:resolve()
  end))
end)

describe("any schedule of as_completed", function()
  it("tells each task of others, and of all", function()
    testing.explore {
      seeds = helper.many(30),
      scenario = function()
        local list, told = {}, {}
        for i = 1, 5 do
          list[i] = aio.spawn(function()
            for _ = 1, i % 3 do
              aio.yield()
            end
          end)
        end
        local it = aio.as_completed(list)
        local function work()
          for x in it do
            assert(not told[x], "told twice")
            told[x] = true
            aio.yield()
          end
        end
        local ok, e = pcall(aio.all, work, work, work)
        assert(ok or aio.is_cancelled(e) or e.code == "ECANCELED", e)
        for _, t in ipairs(list) do
          assert(told[t] or not ok, "not told")
        end
        aio.shield(nil, aio.wait, list)
      end,
    }
  end)
end)
