-- Locks.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local case, bare = helper.case, helper.bare
local failed, has, raised = helper.failed, helper.has, helper.raised
local settle = testing.settle

-- Lua's own: busted has put another in its place.
local function stock_assert(ok, message, ...)
  if not ok then
    error(message, 0)
  end
  return ok, message, ...
end

-- A task that takes the lock, logs, and holds it until the event is set.
local function user(lock, log, id, done)
  return aio.spawn(function()
    local _ <close> = stock_assert(lock:acquire())
    log(id)
    if done then
      done:wait()
    end
  end)
end

-- A task that ends holding the lock.
local function dead_owner(lock)
  return aio.spawn(function() lock:acquire() end)
end

describe("a lock", function()
  it("that is free is had at once", case(function()
    local lock, log = aio.lock(), helper.log()
    aio.spawn(log, "other")
    assert.equal(lock, lock:acquire())
    assert.is_true(lock:release())
    assert.equal(lock, lock:acquire())
    lock:release()
    log "had"
    aio.yield()
    assert.equal("had other", log:text())
  end))

  it("is held by one task at a time, in order", case(function()
    local lock, log = aio.lock(), helper.log()
    local g <close> = aio.group()
    for i = 1, 4 do
      g:spawn(function()
        local _ <close> = lock:acquire()
        log("in", i)
        aio.yield()
        log("out", i)
      end)
    end
    g:wait()
    assert.equal("in:1 out:1 in:2 out:2 in:3 out:3 in:4 out:4", log:text())
  end))

  it("goes to the first who waits, before that runs", case(function()
    local lock, log = aio.lock(), helper.log()
    lock:acquire()
    user(lock, log, "waiter")
    settle()
    lock:release()
    assert.is_false(lock:try_acquire())
    has("EPERM", raised(lock.release, lock))
    log "asks"
    lock:acquire()
    log "has"
    lock:release()
    assert.equal("asks waiter has", log:text())
  end))

  it("is released by closing, also for an error", case(function()
    local lock = aio.lock()
    assert.is_false((pcall(function()
      local _ <close> = lock:acquire()
      error "x"
    end)))
    assert.equal(lock, lock:try_acquire())
    lock:release()
  end))

  it("closed after a manual release stays released", case(function()
    local lock = aio.lock()
    do
      local _ <close> = lock:acquire()
      lock:release()
    end
    assert.equal(lock, lock:try_acquire())
    lock:release()
  end))

  it("closed after a manual release stays with its next owner", case(function()
    local lock, log, done = aio.lock(), helper.log(), aio.event()
    do
      local _ <close> = lock:acquire()
      user(lock, log, "next", done)
      settle()
      lock:release()
      settle()
    end
    assert.equal("next", log:text())
    assert.is_false(lock:try_acquire())
    done:set()
  end))

  it("is refused to who holds it", case(function()
    local lock = aio.lock()
    lock:acquire()
    local e = raised(function() lock:acquire() end)
    assert.equal("EDEADLK", e.code)
    has("lock_spec.lua", e)
    assert.is_false(lock:try_acquire())
    lock:release()
  end))

  it("is released by its owner only", case(function()
    local lock = aio.lock()
    assert.equal("EPERM", raised(lock.release, lock).code)
    lock:acquire()
    assert.is_false((aio.spawn(lock.release, lock):join()))
    assert.is_true(lock:release())
  end))

  it("is no matter for callbacks", case(function()
    local lock, loop = aio.lock(), aio.loop()
    local function call(f)
      local _, e = loop:call_soon(f, lock):join()
      return e.code
    end
    assert.equal("EPERM", call(lock.acquire))
    assert.equal("EPERM", call(lock.try_acquire))
    assert.equal("EPERM", call(lock.release))
    assert.equal(lock, lock:try_acquire())
    assert.equal("EPERM", call(lock.release))
    lock:release()
  end))

  it("can be held through generators", case(function()
    local lock = aio.lock()
    local gen = aio.coroutine.wrap(function()
      local _ <close> = lock:acquire()
      aio.coroutine.wrap(aio.yield)()
      coroutine.yield "inside"
    end)
    local t = aio.spawn(function()
      assert.equal("inside", gen())
      assert.is_false(lock:try_acquire())
      gen()
    end)
    aio.yield()
    assert.is_false(lock:try_acquire())
    t:await()
    assert.equal(lock, lock:try_acquire())
    lock:release()
  end))

  it("is waited for in a generator", case(function()
    local lock, log = aio.lock(), helper.log()
    lock:acquire()
    local t = aio.spawn(aio.coroutine.wrap(function()
      log(lock:acquire() == lock)
      lock:release()
    end))
    settle()
    lock:release()
    t:await()
    assert.equal("true", log:text())
  end))

  it("is refused for methods of something else", case(function()
    local lock = aio.lock()
    for _, f in ipairs { lock.acquire, lock.try_acquire, lock.release } do
      has("bad argument #1", raised(f, aio.event()))
    end
  end))

  it("says who holds it", bare(function()
    local lock = aio.lock()
    assert.equal("lock (free)", tostring(lock))
    lock:acquire()
    assert.equal("lock (held by the main chunk)", tostring(lock))
    lock:release()
    aio.run(function()
      local _ <close> = lock:acquire()
      has(("held by task %d)"):format(aio.task():info().id), lock)
    end)
  end))

  it("keeps the at-once budget", case(function()
    local lock, log = aio.lock(), helper.log()
    aio.spawn(log, "other")
    for _ = 1, 100 do
      local _ <close> = lock:acquire()
    end
    assert.equal("other", log:text())
  end))
end)

describe("acquiring in a cancelled scope", function()
  it("raises and takes nothing", case(function()
    local lock = aio.lock()
    failed("ETIMEDOUT", aio.timeout(0, lock.acquire, lock))
    assert.equal(lock, lock:try_acquire())
    lock:release()
  end))
end)

describe("a waiter that is cancelled", function()
  it("wakes nobody for nothing", case(function()
    local lock, log = aio.lock(), helper.log()
    lock:acquire()
    local list = {}
    for i = 1, 3 do
      list[i] = user(lock, log, i)
    end
    settle()
    list[1]:cancel()
    list[3]:cancel()
    settle()
    assert.equal("", log:text())
    lock:release()
    settle()
    assert.equal("2", log:text())
    assert.equal("cancelled", (list[3]:peek()))
    assert.equal(lock, lock:try_acquire())
    lock:release()
  end))

  it("after it was granted the lock has it", case(function()
    local lock, log = aio.lock(), helper.log()
    lock:acquire()
    local first = aio.spawn(function()
      local _ <close> = lock:acquire()
      log "has"
      aio.yield()
      log "never"
    end)
    user(lock, log, "next")
    settle()
    lock:release()
    first:cancel()
    settle()
    assert.equal("has next", log:text())
    assert.equal("cancelled", (first:peek()))
  end))

  it("just before the release leaves it to the next", case(function()
    local lock, log = aio.lock(), helper.log()
    lock:acquire()
    local first = user(lock, log, "first")
    user(lock, log, "next")
    settle()
    first:cancel()
    lock:release()
    settle()
    assert.equal("next", log:text())
  end))

  it("by a timeout, again and again, leaves nothing", case(function()
    local lock, done = aio.lock(), aio.event()
    user(lock, helper.log(), "owner", done)
    aio.yield()
    for _ = 1, 20 do
      failed("ETIMEDOUT", aio.timeout(0.1, lock.acquire, lock))
    end
    done:set()
    settle()
    assert.equal(lock, lock:try_acquire())
    lock:release()
  end))
end)

describe("a lock whose owner has ended", function()
  it("says so to the next who asks, then it is free", case(function()
    local lock = aio.lock()
    dead_owner(lock):await()
    failed("EOWNERDEAD", lock:acquire())
    assert.equal("EPERM", raised(lock.release, lock).code)
    assert.equal(lock, lock:acquire())
    lock:release()
  end))

  it("says so to try_acquire", case(function()
    local lock = aio.lock()
    dead_owner(lock):await()
    failed("EOWNERDEAD", lock:try_acquire())
    assert.equal(lock, lock:try_acquire())
    lock:release()
  end))

  it("says so to all who wait", case(function()
    local lock, log = aio.lock(), helper.log()
    local owner = aio.spawn(function()
      lock:acquire()
      aio.sleep(1)
    end)
    for i = 1, 3 do
      aio.spawn(function() log(i, select(3, lock:acquire())) end)
    end
    owner:await()
    settle()
    assert.equal("1:EOWNERDEAD 2:EOWNERDEAD 3:EOWNERDEAD", log:text())
    assert.equal(lock, lock:acquire())
    lock:release()
  end))

  it("says so to who comes before a waiter has heard", case(function()
    local lock, log = aio.lock(), helper.log()
    local function acquire(id, turns)
      for _ = 1, turns do
        aio.yield()
      end
      log(id, select(3, lock:acquire()))
    end
    aio.spawn(function()
      lock:acquire()
      aio.yield()
      aio.yield()
    end)
    aio.spawn(acquire, "waiter", 0)
    aio.spawn(acquire, "newcomer", 2)
    settle()
    assert.equal("newcomer:EOWNERDEAD waiter:EOWNERDEAD", log:text())
  end))

  it("says so for one that failed or was cancelled", case(function()
    local lock = aio.lock()
    local g <close> = aio.group { on_failure = false }
    g:spawn(function()
      lock:acquire()
      error "x"
    end):join()
    failed("EOWNERDEAD", lock:acquire())
    local t = g:spawn(function()
      lock:acquire()
      aio.sleep(1)
    end)
    aio.yield()
    t:cancel()
    t:join()
    failed("EOWNERDEAD", lock:acquire())
  end))

  it("is not held by who asserts", case(function()
    local lock = aio.lock()
    dead_owner(lock):await()
    local ok, e = pcall(function()
      local _ <close> = stock_assert(lock:acquire())
    end)
    assert.is_false(ok)
    has("EOWNERDEAD", e)
    assert.equal(lock, lock:try_acquire())
    lock:release()
  end))

  it("names the task", case(function()
    local lock = aio.lock()
    local t = dead_owner(lock)
    t:await()
    local _, message = lock:acquire()
    has(("task %d"):format(t:info().id), message)
  end))

  it("is told with all others that it held", case(function()
    local a, b, c = aio.lock(), aio.lock(), aio.lock()
    aio.spawn(function()
      a:acquire()
      b:acquire()
      c:acquire()
      b:release()
    end):await()
    failed("EOWNERDEAD", a:acquire())
    assert.equal(b, b:acquire())
    failed("EOWNERDEAD", c:acquire())
    b:release()
  end))

  it("is heard of by a waiter that is cancelled after it", case(function()
    local lock, log = aio.lock(), helper.log()
    local owner = aio.spawn(function()
      lock:acquire()
      aio.sleep(1)
    end)
    local waiter = aio.spawn(function() log(select(3, lock:acquire())) end)
    owner:on_done(function() waiter:cancel() end)
    owner:await()
    settle()
    assert.equal("EOWNERDEAD", log:text())
  end))

  it("lets those who await the owner go on as well", case(function()
    local lock = aio.lock()
    local owner = aio.spawn(function()
      lock:acquire()
      aio.yield()
      return "value"
    end)
    local first = aio.spawn(function() return owner:await() end)
    aio.yield()
    local second = aio.spawn(function() return owner:await() end)
    assert.equal("value", first:await())
    assert.equal("value", second:await())
    failed("EOWNERDEAD", lock:acquire())
  end))
end)

describe("a lock of the main chunk", function()
  it("keeps tasks out", bare(function()
    local lock, log = aio.lock(), helper.log()
    assert.equal(lock, lock:acquire())
    local t = user(lock, log, "task")
    aio.sleep(1)
    assert.equal("", log:text())
    lock:release()
    t:await()
    assert.equal("task", log:text())
  end))

  it("is waited for by driving", bare(function()
    local lock = aio.lock()
    local t = aio.spawn(function()
      local _ <close> = lock:acquire()
      aio.sleep(1)
    end)
    aio.yield()
    assert.equal(lock, lock:acquire())
    assert.equal("ok", (t:peek()))
    assert.equal("EDEADLK", raised(lock.acquire, lock).code)
    lock:release()
  end))

  it("is not that of a run's main task", bare(function()
    local lock = aio.lock()
    lock:acquire()
    local e = raised(aio.run, function() lock:acquire() end)
    assert.equal("EDEADLK", e.code)
    has("(lock held by the main chunk)", e)
    lock:release()
    aio.run(function() assert.equal(lock, lock:acquire()) end)
    failed("EOWNERDEAD", lock:acquire())
  end))

  it("is not released by callbacks", bare(function()
    local lock = aio.lock()
    lock:acquire()
    aio.loop():call_soon(pcall, lock.release, lock):await()
    local close = getmetatable(lock).__close
    aio.loop():call_soon(close, lock):await()
    assert.is_true(lock:release())
  end))
end)

describe("a deadlock", function()
  it("names who waits for a lock, and who holds it", bare(function()
    local a, b, main = aio.lock(), aio.lock(), nil
    local e = raised(aio.run, function()
      main = aio.task():info().id
      local _ <close> = a:acquire()
      aio.spawn(function()
        local _ <close> = b:acquire()
        local _ <close> = a:acquire()
      end):name "other"
      aio.yield()
      b:acquire()
    end)
    assert.equal("EDEADLK", e.code)
    has(("(other) waits for lock held by task %d at"):format(main), e)
    assert.equal(b, b:acquire())
    b:release()
  end))
end)

describe("a lock nobody knows any more", function()
  it("is collected, also while it is held", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local lock = aio.lock()
      lock:acquire()
      weak[lock] = true
    end
    helper.gone(weak)
  end))

  it("stays as long as someone waits", case(function()
    local weak = setmetatable({}, { __mode = "v" })
    weak.lock = aio.lock()
    weak.lock:acquire()
    local t = aio.spawn(weak.lock.acquire, weak.lock)
    settle()
    collectgarbage()
    collectgarbage()
    weak.lock:release()
    assert.equal("ok", (aio.wait { t }[1]:peek()))
  end))

  it("serves a finalizer that comes after its own", case(function()
    local log = helper.log()
    do
      local holder = setmetatable({}, { __gc = function(self)
        log(self.lock:try_acquire() == self.lock)
      end })
      holder.lock = aio.lock() -- younger: finalized before
    end
    collectgarbage()
    collectgarbage()
    assert.equal("true", log:text())
  end))
end)

describe("a task taken away from under a lock", function()
  it("is passed over when its coroutine was closed", helper.case(function()
    local lock, log, thread = aio.lock(), helper.log(), nil
    lock:acquire()
    aio.spawn(function()
      thread = helper.stock.running()
      lock:acquire()
    end)
    settle()
    user(lock, log, "next")
    settle()
    helper.stock.close(thread)
    lock:release()
    settle()
    assert.equal("next", log:text())
  end, { patch = false, on_error = function() end }))
end)

describe("when the Lua state is closed", function()
  it("locks are released by tasks that are cleaned up", function()
    assert.equal("a b", helper.program [[
      local aio = require "perilune"
      local lock = aio.lock()
      local log = {}
      for _, name in ipairs { "a", "b" } do
        aio.spawn(function()
          local _ <close> = setmetatable({}, { __close = function()
            io.stdout:write(name, name == "a" and " " or "")
          end })
          lock:acquire()
          pcall(aio.sleep, 1)
          lock:release()
        end)
      end
      aio.yield()
    ]])
  end)
end)
