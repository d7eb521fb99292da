-- Channels, in any order and wherever somebody is cancelled: what was put is
-- got once, or still there.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local explore = helper.explore

local ITEMS = 4 -- of each producer

-- Notes items by name, each of which may come once.
local function ledger()
  local seen, n = {}, 0
  return setmetatable({}, {
    __call = function(_, item)
      assert(not seen[item], "twice: " .. tostring(item))
      seen[item], n = true, n + 1
    end,
    __index = seen,
    __len = function() return n end,
    __pairs = function() return next, seen end,
  })
end

local function produce(s, id)
  for i = 1, ITEMS do
    local item = id * 10 + i
    s.ch:put(item)
    s.put(item)
  end
end

local function consume(s, id)
  for item in s.ch do
    s.got(item)
    local producer = item // 10
    local last = s.last[id * 10 + producer] or 0
    assert(item > last, "out of order")
    s.last[id * 10 + producer] = item
  end
end

local function trade(room, producers, consumers)
  return function(s)
    s.ch, s.put, s.got, s.last = aio.channel(room), ledger(), ledger(), {}
    aio.group(nil, function(all)
      for id = 1, consumers do
        all:spawn(consume, s, id)
      end
      aio.group(nil, function(g)
        for id = 1, producers do
          g:spawn(produce, s, id)
        end
      end)
      s.ch:close()
    end)
  end
end

-- What was put is what was got, and what is left.
local function balanced(s, run)
  local left = 0
  while true do
    local ok, item = s.ch:try_get()
    if not ok or item == nil then
      break
    end
    s.got(item)
    left = left + 1
  end
  for item in pairs(s.put) do
    assert(s.got[item], "lost: " .. item)
  end
  assert.equal(#s.put, #s.got)
  assert(run.cancelled or (left == 0 and s.ch:close()))
end

describe("channels", function()
  for room = 0, 2 do
    explore(("with room for %d lose and double nothing"):format(room), {
      cancel = "both",
      scenario = trade(room, 2, 2),
      invariant = function(s, run)
        balanced(s, run)
        assert(run.cancelled or #s.got == 2 * ITEMS)
      end,
    })
  end

  explore("keep the order of one producer and one consumer", {
    scenario = trade(1, 1, 1),
    invariant = balanced,
  })

  explore("deliver to a loser of a timeout nothing", {
    cancel = "both",
    scenario = function(s)
      s.ch, s.put, s.got = aio.channel(), ledger(), ledger()
      aio.group(nil, function(g)
        for id = 1, 3 do
          g:spawn(function()
            local ok, _, code = aio.timeout(id, s.ch.get, s.ch)
            if code ~= "ETIMEDOUT" then
              s.got(ok)
            end
          end)
        end
        for item = 1, 3 do
          aio.sleep(0.75)
          local done, _, code = aio.timeout(1, s.ch.put, s.ch, item)
          if done and not code then
            s.put(item)
          end
        end
      end)
    end,
    invariant = function(s) balanced(s, { cancelled = true }) end,
  })

  explore("closed, let go of all who wait", {
    cancel = "both",
    scenario = function(s)
      local full, empty = aio.channel(1), aio.channel(1)
      full:try_put(0)
      s.inside, s.codes = helper.presence(), {}
      aio.group(nil, function(g)
        for _ = 1, 2 do
          g:spawn(function()
            local _ <close> = s.inside()
            local _, _, code = full:put(1)
            s.codes[#s.codes + 1] = code
          end)
          g:spawn(function()
            local _ <close> = s.inside()
            assert(empty:get() == nil)
          end)
        end
        aio.yield()
        full:close()
        empty:close()
      end)
    end,
    invariant = function(s, run)
      assert.equal(0, s.inside.now)
      assert(run.cancelled or #s.codes == 2)
      for _, code in ipairs(s.codes) do
        assert.equal("ECLOSED", code)
      end
    end,
  })
end)
