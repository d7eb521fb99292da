-- Locks, semaphores, conditions, barriers: contended, cancelled, dead owners.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if stress_ready then
  stress_ready()
end

-- What a scenario tells apart from a lack of memory.
local function check(ok, text)
  if not ok then
    error(text, 2)
  end
end

-- Ends that a lack of memory cannot excuse.
local function expect_cancelled(task)
  local state, e = task:peek()
  if state ~= "cancelled" then
    error(e, 0)
  end
end

local function locks()
  local lock, inside, n = aio.lock(), 0, 0
  local g <close> = aio.group()
  for _ = 1, 4 do
    g:spawn(function()
      local _ <close> = lock:acquire()
      inside = inside + 1
      check(inside == 1, "two hold the lock")
      aio.yield()
      inside, n = inside - 1, n + 1
    end)
  end
  local cancelled = g:spawn(lock.acquire, lock)
  aio.yield()
  cancelled:cancel()
  g:wait()
  expect_cancelled(cancelled)
  return n
end

local function dead_owner()
  local lock = aio.lock()
  local codes = {}
  do
    local g <close> = aio.group()
    g:spawn(function()
      lock:acquire()
      aio.yield()
    end)
    g:spawn(function() codes[1] = select(3, lock:acquire()) end)
  end
  check(codes[1] == "EOWNERDEAD", "the owner's end was not told")
  check(lock:try_acquire() == lock, "the lock is not free")
end

local function semaphores()
  local sem, inside, n = aio.semaphore(2), 0, 0
  local g <close> = aio.group()
  for _ = 1, 5 do
    g:spawn(function()
      local _ <close> = sem:acquire()
      inside = inside + 1
      check(inside <= 2, "three are inside")
      aio.yield()
      inside, n = inside - 1, n + 1
    end)
  end
  local cancelled = g:spawn(sem.acquire, sem)
  aio.yield()
  cancelled:cancel()
  g:wait()
  expect_cancelled(cancelled)
  local first, second = sem:try_acquire(), sem:try_acquire()
  check(first and second and not sem:try_acquire(), "a permit is lost")
  return n
end

local function conditions()
  local cond, lock = aio.condition()
  local items, n = 0, 0
  local g <close> = aio.group()
  for _ = 1, 3 do
    g:spawn(function()
      local _ <close> = lock:acquire()
      while items == 0 do
        cond:wait()
      end
      items, n = items - 1, n + 1
    end)
  end
  local cancelled = g:spawn(function()
    local _ <close> = lock:acquire()
    cond:wait()
  end)
  aio.yield()
  do
    local _ <close> = lock:acquire()
    cancelled:cancel()
    items = 3
    cond:notify_all()
  end
  g:wait()
  expect_cancelled(cancelled)
  return n
end

local function barriers()
  local barrier, sum = aio.barrier(3), 0
  local g <close> = aio.group()
  for _ = 1, 2 do
    g:spawn(function()
      local number = barrier:wait()
      sum = sum + number
    end)
  end
  local cancelled = g:spawn(barrier.wait, barrier)
  cancelled:cancel()
  aio.yield()
  local number = barrier:wait()
  sum = sum + number
  g:wait()
  expect_cancelled(cancelled)
  return sum
end

local a, b, c, d = aio.run(function()
  dead_owner()
  return locks(), semaphores(), conditions(), barriers()
end)

return a == 4 and b == 5 and c == 3 and d == 6
