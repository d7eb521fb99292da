-- Semaphores.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local case, bare = helper.case, helper.bare
local failed, has, raised = helper.failed, helper.has, helper.raised
local settle = testing.settle

-- A task that takes a permit, logs, and holds it until the event is set.
local function user(sem, log, id, done)
  return aio.spawn(function()
    local _ <close> = sem:acquire()
    log(id)
    if done then
      done:wait()
    end
  end)
end

-- How many permits are free: takes and returns them.
local function free(sem)
  local permits = {}
  repeat
    local permit = sem:try_acquire()
    permits[#permits + 1] = permit or nil
  until not permit
  for _, permit in ipairs(permits) do
    permit:release()
  end
  return #permits
end

describe("a semaphore", function()
  it("gives as many permits as it has, at once", case(function()
    local sem, log = aio.semaphore(2), helper.log()
    aio.spawn(log, "other")
    local a, b = sem:acquire(), sem:acquire()
    assert.not_equal(a, b)
    assert.is_false(sem:try_acquire())
    log "had"
    a:release()
    assert.equal(1, free(sem))
    b:release()
    assert.equal(2, free(sem))
    aio.yield()
    assert.equal("had other", log:text())
  end))

  it("lets in n at a time, in order", case(function()
    local sem, log = aio.semaphore(2), helper.log()
    local g <close> = aio.group()
    for i = 1, 4 do
      g:spawn(function()
        local _ <close> = sem:acquire()
        log("in", i)
        aio.sleep(i)
        log("out", i)
      end)
    end
    g:wait()
    assert.equal("in:1 in:2 out:1 in:3 out:2 in:4 out:3 out:4", log:text())
  end))

  it("hands a permit to the first who waits, before that runs",
    case(function()
      local sem, log = aio.semaphore(1), helper.log()
      local permit = sem:acquire()
      user(sem, log, "waiter")
      settle()
      permit:release()
      assert.is_false(sem:try_acquire())
      sem:acquire():release()
      log "newcomer"
      assert.equal("waiter newcomer", log:text())
    end))

  it("has one permit or more", case(function()
    for _, n in ipairs { 0, -1, 1.5, "x" } do
      has("bad argument #1", raised(aio.semaphore, n))
    end
    has("bad argument #1", raised(aio.semaphore))
    assert.equal(1, free(aio.semaphore(1)))
  end))

  it("can be used in callbacks", case(function()
    local sem, loop = aio.semaphore(1), aio.loop()
    local permit = loop:call_soon(sem.try_acquire, sem):await()
    loop:call_later(1, permit.release, permit)
    sem:acquire():release()
    assert.equal(1, free(sem))
  end))

  it("is made anywhere and serves several runs", bare(function()
    local sem = aio.semaphore(1)
    local permit = aio.run(function() return sem:acquire() end)
    aio.loop():call_later(1, permit.release, permit)
    assert.is_true(sem:acquire():release())
  end))

  it("is waited for in a generator", case(function()
    local sem = aio.semaphore(1)
    local permit = sem:acquire()
    local t = aio.spawn(aio.coroutine.wrap(function() return sem:acquire() end))
    settle()
    permit:release()
    assert.is_true(t:await():release())
    assert.equal(1, free(sem))
  end))

  it("keeps the at-once budget", case(function()
    local sem, log = aio.semaphore(1), helper.log()
    aio.spawn(log, "other")
    for _ = 1, 100 do
      sem:acquire():release()
    end
    assert.equal("other", log:text())
  end))

  it("is refused for methods of something else", case(function()
    local sem = aio.semaphore(1)
    has("bad argument #1", raised(sem.acquire, aio.lock()))
    has("bad argument #1", raised(sem.try_acquire, {}))
    has("bad argument #1", raised(sem:acquire().release, sem))
  end))

  it("is named in a deadlock", bare(function()
    local sem = aio.semaphore(1)
    local permit = sem:acquire()
    has("(semaphore)", raised(aio.run, sem.acquire, sem))
    permit:release()
    assert.equal(1, free(sem))
  end))
end)

describe("a permit", function()
  it("released twice is released once", case(function()
    local sem = aio.semaphore(2)
    local permit = sem:acquire()
    assert.is_true(permit:release())
    assert.is_true(permit:release())
    assert.equal(2, free(sem))
  end))

  it("closed after a manual release is released once", case(function()
    local sem = aio.semaphore(1)
    do
      local permit <close> = sem:acquire()
      permit:release()
    end
    assert.equal(1, free(sem))
  end))

  it("is released by an error", case(function()
    local sem = aio.semaphore(1)
    pcall(function()
      local _ <close> = sem:acquire()
      error "x"
    end)
    assert.equal(1, free(sem))
  end))

  it("may be released by another task", case(function()
    local sem = aio.semaphore(1)
    local permit = sem:acquire()
    aio.spawn(permit.release, permit)
    sem:acquire():release()
    assert.equal(1, free(sem))
  end))

  it("keeps its semaphore", case(function()
    local permit, log = nil, helper.log()
    do
      local sem = aio.semaphore(1)
      permit = sem:acquire()
      user(sem, log, "waiter")
    end
    settle()
    collectgarbage()
    permit:release()
    settle()
    assert.equal("waiter", log:text())
  end))

  it("that is collected is given back", case(function()
    local sem, log = aio.semaphore(1), helper.log()
    sem:acquire()
    user(sem, log, "waiter")
    settle()
    collectgarbage()
    settle()
    assert.equal("waiter", log:text())
    assert.equal(1, free(sem))
  end))

  it("that is collected is reported in debug", function()
    local texts, here = helper.log(), nil
    helper.manual(function()
      local sem = aio.semaphore(2)
      here = helper.here() sem:acquire()
      sem:acquire():release()
      collectgarbage()
      settle()
      assert.equal(2, free(sem))
    end, { debug = { slow = false }, on_error = function(err, info)
      texts(info.kind, err)
    end })
    assert.equal("leak:a permit was collected before it was released, made at "
      .. here, texts:text())
  end)

  it("is collected with its semaphore", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local sem = aio.semaphore(1)
      weak[sem], weak[sem:acquire()] = true, true
    end
    helper.gone(weak)
  end))
end)

describe("acquiring a permit", function()
  it("in a cancelled scope raises and takes nothing", case(function()
    local sem = aio.semaphore(1)
    failed("ETIMEDOUT", aio.timeout(0, sem.acquire, sem))
    assert.equal(1, free(sem))
  end))

  it("cancelled while it waits wakes nobody", case(function()
    local sem, log = aio.semaphore(1), helper.log()
    local permit = sem:acquire()
    local list = {}
    for i = 1, 3 do
      list[i] = user(sem, log, i)
    end
    settle()
    list[1]:cancel()
    list[3]:cancel()
    settle()
    assert.equal("", log:text())
    permit:release()
    settle()
    assert.equal("2", log:text())
    assert.equal(1, free(sem))
  end))

  it("cancelled after the hand-off has it", case(function()
    local sem, log = aio.semaphore(1), helper.log()
    local permit = sem:acquire()
    local first = aio.spawn(function()
      local _ <close> = sem:acquire()
      log "has"
      aio.yield()
      log "never"
    end)
    user(sem, log, "next")
    settle()
    permit:release()
    first:cancel()
    settle()
    assert.equal("has next", log:text())
    assert.equal(1, free(sem))
  end))

  it("just before the release leaves it to the next", case(function()
    local sem, log = aio.semaphore(1), helper.log()
    local permit = sem:acquire()
    local first = user(sem, log, "first")
    user(sem, log, "next")
    settle()
    first:cancel()
    permit:release()
    settle()
    assert.equal("next", log:text())
    assert.equal(1, free(sem))
  end))

  it("by a timeout, again and again, leaves nothing", case(function()
    local sem = aio.semaphore(1)
    local permit = sem:acquire()
    for _ = 1, 20 do
      failed("ETIMEDOUT", aio.timeout(0.1, sem.acquire, sem))
    end
    permit:release()
    assert.equal(1, free(sem))
  end))

  it("passes over a task whose coroutine was closed", helper.case(function()
    local sem, log, thread = aio.semaphore(1), helper.log(), nil
    local permit = sem:acquire()
    local closed = aio.spawn(function()
      thread = helper.stock.running()
      sem:acquire()
    end)
    settle()
    user(sem, log, "next")
    settle()
    helper.stock.close(thread)
    collectgarbage()
    permit:release()
    settle()
    assert.is_false((closed:join()))
    assert.equal("next", log:text())
    assert.equal(1, free(sem))
  end, { patch = false, on_error = function() end }))
end)
