-- Locks, semaphores, conditions and barriers, in any order and wherever
-- somebody is cancelled: nothing is held by two or lost, nobody is left
-- waiting.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local explore = helper.explore

-- Is each of `list` in `all`, and in the same order?
local function in_order(list, all)
  local at = 0
  for _, item in ipairs(list) do
    repeat
      at = at + 1
      assert(all[at] ~= nil, "out of order: " .. tostring(item))
    until all[at] == item
  end
end

local function lost(run)
  return run.cancelled and 1 or 0
end

describe("locks", function()
  explore("are held by one at a time, in the order of asking", {
    cancel = "both",
    scenario = function(s)
      s.lock, s.inside, s.asked, s.got = aio.lock(), helper.presence(), {}, {}
      aio.group(nil, function(g)
        for i = 1, 4 do
          g:spawn(function()
            s.asked[#s.asked + 1] = i
            local _ <close> = assert(s.lock:acquire())
            s.got[#s.got + 1] = i
            local _ <close> = s.inside()
            aio.yield()
          end)
        end
      end)
    end,
    invariant = function(s, run)
      assert(s.inside.most <= 1 and s.inside.now == 0)
      in_order(s.got, s.asked)
      assert(run.cancel == "body" or #s.got >= 4 - lost(run))
      assert(s.lock:try_acquire():release())
    end,
  })

  explore("given up at a timeout are not held", {
    cancel = "both",
    scenario = function(s)
      s.lock, s.inside = aio.lock(), helper.presence()
      aio.group(nil, function(g)
        for i = 1, 3 do
          g:spawn(function()
            local _, _, code = aio.timeout(i, function()
              local _ <close> = s.lock:acquire()
              local _ <close> = s.inside()
              aio.sleep(1)
            end)
            assert(code == nil or code == "ETIMEDOUT")
          end)
        end
      end)
    end,
    invariant = function(s)
      assert(s.inside.most <= 1 and s.inside.now == 0)
      assert(s.lock:try_acquire():release())
    end,
  })

  explore("whose owner has ended tell who waits", {
    cancel = "both",
    scenario = function(s)
      s.lock, s.codes, s.held = aio.lock(), 0, 0
      aio.group(nil, function(g)
        g:spawn(function()
          s.lock:acquire()
          aio.yield()
        end)
        for _ = 1, 3 do
          g:spawn(function()
            local ok, _, code = s.lock:acquire()
            if ok then
              s.held = s.held + 1
              s.lock:release()
            else
              assert(code == "EOWNERDEAD")
              s.codes = s.codes + 1
            end
          end)
        end
      end)
    end,
    invariant = function(s, run)
      assert(run.cancelled or s.codes + s.held == 3)
      local ok, _, code = s.lock:try_acquire()
      assert(ok or code == "EOWNERDEAD") -- nobody was there to be told
      assert(ok or s.lock:try_acquire())
    end,
  })
end)

describe("semaphores", function()
  explore("let so many in", {
    cancel = "both",
    scenario = function(s)
      s.semaphore, s.inside = aio.semaphore(2), helper.presence()
      aio.group(nil, function(g)
        for i = 1, 5 do
          g:spawn(function()
            local _ <close> = s.semaphore:acquire()
            local _ <close> = s.inside()
            aio.sleep(i % 2)
          end)
        end
      end)
    end,
    invariant = function(s, run)
      assert(s.inside.most <= 2 and s.inside.now == 0)
      assert(run.cancel == "body" or s.inside.came >= 5 - lost(run))
      local first, second = s.semaphore:try_acquire(), s.semaphore:try_acquire()
      assert(first and second and not s.semaphore:try_acquire())
    end,
  })

  explore("lose no permit to who leaves early", {
    cancel = "both",
    scenario = function(s)
      s.semaphore = aio.semaphore(1)
      aio.group(nil, function(g)
        for i = 1, 4 do
          g:spawn(function()
            aio.timeout(i / 2, function()
              local permit <close> = s.semaphore:acquire()
              aio.sleep(1)
              permit:release()
            end)
          end)
        end
      end)
    end,
    invariant = function(s)
      local permit = s.semaphore:try_acquire()
      assert(permit and not s.semaphore:try_acquire())
    end,
  })
end)

describe("conditions", function()
  explore("hold the lock again after a wait, cancelled or not", {
    cancel = "both",
    scenario = function(s)
      local changed, lock = aio.condition()
      s.lock, s.inside, s.stock, s.taken, s.given = lock, helper.presence(), 0, 0, 0
      aio.group(nil, function(g)
        for _ = 1, 2 do
          g:spawn(function()
            local _ <close> = lock:acquire()
            while s.stock == 0 do
              local ok, e = pcall(changed.wait, changed)
              local _ <close> = s.inside()
              assert(s.inside.now == 1)
              assert(ok or aio.is_cancelled(e))
              aio.check()
            end
            s.stock, s.taken = s.stock - 1, s.taken + 1
          end)
        end
        for _ = 1, 2 do
          g:spawn(function()
            local _ <close> = lock:acquire()
            s.stock, s.given = s.stock + 1, s.given + 1
            changed:notify_all()
          end)
        end
        g:spawn(function() -- in case one of them did not
          aio.sleep(10)
          local _ <close> = lock:acquire()
          s.stock, s.given = s.stock + 2, s.given + 2
          changed:notify_all()
        end)
        g:spawn(function() -- or that one
          aio.sleep(20)
          local _ <close> = lock:acquire()
          s.stock, s.given = s.stock + 2, s.given + 2
          changed:notify_all()
        end)
      end)
    end,
    invariant = function(s, run)
      assert.equal(s.given, s.stock + s.taken)
      assert(run.cancel == "body" or s.taken >= 2 - lost(run))
      assert(s.lock:try_acquire():release())
    end,
  })

  explore("lose no notification to one who is cancelled", {
    cancel = "both",
    scenario = function(s)
      local changed, lock = aio.condition()
      s.stock, s.taken, s.cancelled = 0, 0, 0
      aio.group(nil, function(g)
        for _ = 1, 3 do
          g:spawn(function()
            local _ <close> = lock:acquire()
            while s.stock == 0 do
              changed:wait()
            end
            s.stock, s.taken = s.stock - 1, s.taken + 1
          end)
        end
        aio.sleep(1)
        do
          local _ <close> = lock:acquire()
          s.stock = 2
          changed:notify(2)
        end
        aio.sleep(1)
        s.quiet = s.stock
        local _ <close> = lock:acquire()
        s.stock = s.stock + 1
        changed:notify_all()
      end)
    end,
    invariant = function(s, run)
      assert(run.cancel == "body" or (s.quiet == 0 and s.taken + s.stock == 3))
    end,
  })
end)

describe("barriers", function()
  explore("let all go on together, round after round", {
    scenario = function(s)
      local barrier = aio.barrier(3)
      s.numbers, s.round = {}, { 0, 0, 0 }
      aio.group(nil, function(g)
        for i = 1, 3 do
          g:spawn(function()
            for round = 1, 3 do
              local n = barrier:wait()
              s.numbers[round * 10 + n] = (s.numbers[round * 10 + n] or 0) + 1
              s.round[i] = round
              for other = 1, 3 do
                assert(s.round[other] >= round - 1, "went on alone")
              end
              aio.yield()
            end
          end)
        end
      end)
    end,
    invariant = function(s, run)
      for round = 1, 3 do
        for n = 1, 3 do
          local times = s.numbers[round * 10 + n]
          assert(times == 1 or run.cancelled and not times)
        end
      end
    end,
  })

  explore("do not count who left", {
    cancel = "both",
    scenario = function(s)
      local barrier = aio.barrier(2)
      s.through = 0
      aio.group(nil, function(g)
        for i = 1, 3 do
          g:spawn(function()
            local ok, _, code = aio.timeout(i, barrier.wait, barrier)
            s.through = s.through + (code and 0 or ok and 1)
          end)
        end
      end)
    end,
    invariant = function(s, run)
      assert(run.cancelled or s.through == 2)
      assert(s.through % 2 == 0 or run.cancelled)
    end,
  })
end)
