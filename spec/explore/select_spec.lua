-- Select, race and as_completed, in any order and wherever somebody is
-- cancelled: exactly one is claimed, and the others lose nothing.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local explore = helper.explore

-- Notes an item; each may come once.
local function note(set, item)
  assert(item ~= nil and not set[item], "twice: " .. tostring(item))
  set[item] = true
end

local function count(set)
  local n = 0
  for _ in pairs(set) do
    n = n + 1
  end
  return n
end

-- What is left in a channel, noted.
local function drain(ch, set)
  while true do
    local ok, item = ch:try_get()
    if not ok then
      return
    end
    note(set, item)
  end
end

describe("select", function()
  for room = 0, 1 do
    explore(("gets from two channels with room for %d"):format(room), {
      cancel = "both",
      scenario = function(s)
        local a, b = aio.channel(room), aio.channel(room)
        s.a, s.b, s.put, s.got = a, b, {}, {}
        aio.group(nil, function(all)
          for _ = 1, 2 do
            all:spawn(function()
              while true do
                local i, item = aio.select { a:get_op(), b:get_op() }
                if item == nil then
                  break
                end
                assert((item < 10) == (i == 1))
                note(s.got, item)
              end
            end)
          end
          aio.group(nil, function(g)
            for k, ch in ipairs { a, b } do
              g:spawn(function()
                for item = k * 10 - 9, k * 10 - 7 do
                  ch:put(item)
                  note(s.put, item)
                end
              end)
            end
          end)
          a:close()
          b:close()
        end)
      end,
      invariant = function(s, run)
        drain(s.a, s.got)
        drain(s.b, s.got)
        assert.same(s.put, s.got)
        assert(run.cancelled or count(s.got) == 6)
      end,
    })
  end

  explore("puts into one of two channels", {
    cancel = "both",
    scenario = function(s)
      local a, b = aio.channel(), aio.channel(1)
      s.b, s.put, s.got = b, {}, {}
      aio.group(nil, function(all)
        for _, ch in ipairs { a, b } do
          all:spawn(function()
            for item in ch do
              note(s.got, item)
            end
          end)
        end
        aio.group(nil, function(g)
          for w = 1, 2 do
            g:spawn(function()
              for i = 1, 3 do
                local item = w * 10 + i
                assert(aio.select { a:put_op(item), b:put_op(item) })
                note(s.put, item)
              end
            end)
          end
        end)
        a:close()
        b:close()
      end)
    end,
    invariant = function(s, run)
      drain(s.b, s.got)
      assert.same(s.put, s.got)
      assert(run.cancelled or count(s.got) == 6)
    end,
  })

  explore("meets itself: get and put on both sides", {
    cancel = "both",
    scenario = function(s)
      local a, b = aio.channel(), aio.channel()
      s.put, s.got = {}, {}
      aio.group(nil, function(g)
        for w = 1, 4 do
          g:spawn(function()
            local i, item = aio.select { a:get_op(), b:put_op(w), timeout = w }
            if i == 1 then
              note(s.got, item)
            elseif i == 2 then
              note(s.put, w)
            end
            i, item = aio.select { a:put_op(w + 10), b:get_op(), timeout = w }
            if i == 1 then
              note(s.put, w + 10)
            elseif i == 2 then
              note(s.got, item)
            end
          end)
        end
      end)
    end,
    invariant = function(s)
      assert.same(s.put, s.got)
    end,
  })

  explore("of a future and a channel claims one", {
    cancel = "both",
    scenario = function(s)
      local ch, f = aio.channel(1), aio.future()
      s.ch, s.put, s.got, s.futures = ch, {}, {}, 0
      aio.group(nil, function(g)
        for _ = 1, 2 do
          g:spawn(function()
            local i, v = aio.select { f, ch:get_op(), timeout = 1 }
            if i == 1 then
              assert(v == "done")
              s.futures = s.futures + 1
            elseif i == 2 then
              note(s.got, v)
            end
          end)
        end
        g:spawn(function()
          ch:put(1)
          note(s.put, 1)
        end)
        g:spawn(f.resolve, f, "done")
      end)
    end,
    invariant = function(s, run)
      assert(run.cancelled or s.futures + count(s.got) == 2)
      drain(s.ch, s.got)
      assert.same(s.put, s.got)
    end,
  })
end)

describe("race", function()
  explore("joins the losers", {
    cancel = "both",
    scenario = function(s)
      s.inside, s.first = helper.presence(), {}
      local function run(i)
        return function()
          local _ <close> = s.inside()
          local _ <close> = setmetatable({}, { __close = function()
            aio.shield(1, aio.yield)
          end })
          aio.sleep(i // 2)
          s.first[#s.first + 1] = i
          return "value " .. i
        end
      end
      s.results = table.pack(pcall(aio.race, run(2), run(3), run(5)))
      s.left = s.inside.now
    end,
    invariant = function(s, run)
      assert.equal(0, s.left)
      local ok, index, value = table.unpack(s.results)
      assert(ok or run.cancelled)
      if ok and type(index) == "number" then
        local runner = ({ 2, 3, 5 })[index]
        assert.equal("value " .. runner, value)
        assert(run.cancelled or runner ~= 5)
      end
    end,
  })
end)

describe("as_completed", function()
  explore("gives each one once", {
    cancel = "both",
    scenario = function(s)
      s.seen, s.n = {}, 0
      aio.group({ on_failure = false }, function(g)
        local tasks = {}
        for i = 1, 4 do
          tasks[i] = g:spawn(function()
            aio.sleep(i % 2)
            if i == 3 then
              error("three", 0)
            end
          end)
        end
        for task in aio.as_completed(tasks) do
          assert(task:peek() ~= "pending")
          note(s.seen, task)
          s.n = s.n + 1
          aio.yield()
        end
        s.ended = true
      end)
    end,
    invariant = function(s, run)
      assert(run.cancel == "body" or s.n == 4)
      assert(run.cancelled or s.ended)
    end,
  })
end)
