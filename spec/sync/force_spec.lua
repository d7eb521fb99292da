-- Tasks that are ended by force while they wait for one another, or after they
-- were granted what they waited for and before they ran.
--
-- SPDX-License-Identifier: MIT

local helper = require "spec.helper"

-- Runs a program in which the main chunk steps the loop: what it does between
-- two steps finds all tasks parked. `kill` ends them by force, but for one: the
-- survivor, which runs the function that is put into `job`.
local function expect(expected, code)
  assert.equal(expected, helper.program([[
    local aio = require "perilune"
    local core = require "perilune.core"
    local job = aio.channel(1)
    local survivor = aio.spawn(function()
      local fn = job:get()
      return fn()
    end)
    local loop, run = aio.loop(), core.run_open()
    loop:on_error(function() end)

    local function step()
      for _ = 1, 5 do loop:step() end
    end

    local function spawn(fn)
      local t = aio.spawn(fn)
      step()
      return t
    end

    local function kill() run:kill() end

    local function closing(fn)
      return setmetatable({}, { __close = fn })
    end

    local function code_of(value, _, code) return code or value ~= nil end
  ]] .. code))
end

describe("a task that is ended by force", function()
  it("leaves a lock that it was given to the next", function()
    expect("ok\ttrue\n", [[
      local lock = aio.lock()
      lock:try_acquire()
      spawn(function()
        local _ <close> = lock:acquire()
        print "never"
      end)
      lock:release()
      kill()
      print(spawn(function() return code_of(lock:acquire()) end):peek())
    ]])
  end)

  it("hands a lock that it was given to who waits", function()
    expect("ok\ttrue\n", [[
      local lock = aio.lock()
      lock:try_acquire()
      spawn(function() lock:acquire() end)
      job:try_put(function() return code_of(lock:acquire()) end)
      step()
      lock:release()
      kill()
      step()
      print(survivor:peek())
    ]])
  end)

  it("leaves a lock while it waits for it", function()
    expect("ok\ttrue\n", [[
      local lock = aio.lock()
      lock:try_acquire()
      spawn(function() lock:acquire() end)
      kill()
      lock:release()
      print(spawn(function() return code_of(lock:acquire()) end):peek())
    ]])
  end)

  it("releases the lock it holds, or is its dead owner", function()
    expect("ok\ttrue\nok\tEOWNERDEAD\n", [[
      local lock, other = aio.lock(), aio.lock()
      spawn(function()
        local _ <close> = lock:acquire()
        other:acquire()
        aio.sleep(math.huge)
      end)
      kill()
      print(spawn(function() return code_of(lock:acquire()) end):peek())
      print(spawn(function() return code_of(other:acquire()) end):peek())
    ]])
  end)

  it("leaves a permit that it was given to the next", function()
    expect("ok\ttrue\nfalse\n", [[
      local sem = aio.semaphore(1)
      local permit = sem:try_acquire()
      spawn(function() sem:acquire() end)
      permit:release()
      kill()
      collectgarbage "stop"
      print(spawn(function() return sem:acquire() ~= nil end):peek())
      print(sem:try_acquire())
    ]])
  end)

  it("holds the lock of a condition it was woken from", function()
    expect("true\nok\ttrue\n", [[
      local cond, lock = aio.condition()
      spawn(function()
        lock:acquire()
        local _ <close> = closing(function() print(lock:release()) end)
        cond:wait()
        print "never"
      end)
      lock:try_acquire()
      cond:notify()
      lock:release()
      kill()
      print(spawn(function() return code_of(lock:acquire()) end):peek())
    ]])
  end)

  it("leaves a condition, with the lock if that is free", function()
    expect("true\nok\ttrue\n", [[
      local cond, lock = aio.condition()
      spawn(function()
        lock:acquire()
        local _ <close> = closing(function() print(lock:release()) end)
        cond:wait()
      end)
      kill()
      print(spawn(function() return code_of(lock:acquire()) end):peek())
    ]])
  end)

  it("does not wait for the lock of a condition", function()
    expect("1\n0\ntrue\n", [[
      local cond, lock = aio.condition()
      for _ = 1, 2 do
        spawn(function()
          local _ <close> = lock:acquire()
          cond:wait()
        end)
      end
      lock:try_acquire()
      cond:notify() -- one of them waits for the lock already
      kill()
      print(loop:stats().tasks)
      print(cond:notify_all())
      print(lock:release())
    ]])
  end)

  it("does not count at a barrier", function()
    expect("2\n", [[
      local barrier = aio.barrier(2)
      spawn(function() barrier:wait() end)
      kill()
      spawn(function() barrier:wait() end)
      spawn(function() print(barrier:wait()) end)
    ]])
  end)

  it("leaves others at a barrier that has opened", function()
    expect("2\n", [[
      local barrier = aio.barrier(2)
      spawn(function() barrier:wait() end)
      aio.spawn(function() barrier:wait() end)
      loop:step(0)
      kill()
      spawn(function() barrier:wait() end)
      spawn(function() print(barrier:wait()) end)
    ]])
  end)
end)
