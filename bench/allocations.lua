--- Counts what waiting allocates once it has begun: prints a name and the
-- allocations per operation, line by line. bench/run runs it.
--
-- SPDX-License-Identifier: MIT

-- First of all: the library is to take over the counting allocator.
local limit = require "limit"
limit.count()
local aio = require "perilune"

local N <const> = 1000

-- Calls fn, after once for practice, and prints what each of its N operations
-- allocated. The collector, which moves and shrinks things, is off meanwhile.
-- Whatever else fn needs, `prepare` makes.
local function measure(name, fn, prepare)
  for round = 1, 2 do
    local prepared = prepare and prepare()
    collectgarbage()
    collectgarbage("stop")
    aio.yield()
    local before = limit.count()
    fn(prepared)
    local each = (limit.count() - before) / N
    collectgarbage("restart")
    if round == 2 then print(name, each) end
  end
end

-- Tasks that run until the end beside what is measured, and do this.
local function beside(fn)
  local task = aio.spawn(fn)
  aio.yield()
  return task
end

local function yields()
  for _ = 1, N do aio.yield() end
end

local function sleeps()
  for _ = 1, N do aio.sleep(1e-9) end
end

local function new_futures()
  local futures = {}
  for i = 1, N do futures[i] = aio.future() end
  return futures
end

local function trivial()
  return 1
end

aio.run(function()
  local other = beside(function()
    while true do aio.yield() end
  end)
  measure("yield", yields)
  other:cancel()
  measure("sleep", sleeps)

  local resolving <const> = aio.channel(1)
  other = beside(function()
    for futures in resolving do
      for i = 1, N do
        futures[i]:resolve(i)
        aio.yield()
      end
    end
  end)
  measure("future", function(futures)
    for i = 1, N do futures[i]:await() end
  end, function()
    local futures = new_futures()
    resolving:put(futures)
    return futures
  end)
  resolving:close()
  other:join()

  local channel = aio.channel()
  other = beside(function()
    while true do channel:put(1) end
  end)
  measure("channel", function()
    for _ = 1, N do channel:get() end
  end)
  other:cancel()

  local lock = aio.lock()
  measure("lock", function()
    for _ = 1, N do
      lock:acquire()
      lock:release()
      lock:try_acquire()
      lock:release()
    end
  end)

  other = beside(function()
    while true do
      local _ <close> = lock:acquire()
      aio.yield()
    end
  end)
  measure("contended_lock", function()
    for _ = 1, N do
      local _ <close> = lock:acquire()
      aio.yield()
    end
  end)
  other:cancel()

  local semaphore = aio.semaphore(1)
  measure("semaphore", function()
    for _ = 1, N do semaphore:acquire():release() end
  end)

  measure("spawn", function()
    for _ = 1, N do aio.spawn(trivial):await() end
  end)
end)
