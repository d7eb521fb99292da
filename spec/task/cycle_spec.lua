-- Tasks that wait for themselves, or for one that waits for them, are told at
-- once, also while other tasks could go on for ever.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local raised, has = helper.raised, helper.has

-- A case in which there is always a timer: no deadlock is found.
local function case(fn)
  return helper.case(function()
    aio.spawn(aio.sleep, math.huge)
    fn()
  end)
end

local function refused(fn, ...)
  local e = raised(fn, ...)
  assert.equal("EDEADLK", type(e) == "table" and e.code or e)
  has("waits for it", e)
  return e
end

-- A chain of n tasks: the first awaits what `tail` gives, each other the one
-- before. Returns the last.
local function chain(n, tail)
  local last
  for i = 1, n do
    local before = last
    last = aio.spawn(function() return i == 1 and tail() or before:join() end)
  end
  testing.settle()
  return last
end

describe("a task cannot wait", function()
  it("for itself", case(function()
    local me = aio.task()
    refused(me.await, me)
    refused(me.join, me)
    refused(aio.await, me)
    assert.equal("pending", (me:peek()))
  end))

  it("for one that awaits or joins it", case(function()
    for _, how in ipairs { "await", "join" } do
      local me = aio.task()
      local other = aio.spawn(function() return pcall(me[how], me) end)
      testing.settle()
      refused(other.await, other)
      other:cancel()
    end
  end))

  it("for the last of a chain of eight", case(function()
    local me = aio.task()
    local last = chain(7, function() return me:join() end)
    refused(last.await, last)
  end))

  it("for its parent, which waits for it at the end of a group", case(function()
    aio.spawn(function()
      local parent = aio.task()
      local g <close> = aio.group()
      g:spawn(function()
        aio.sleep(1)
        refused(parent.join, parent)
      end)
    end):await()
  end))

  it("for one that waits in group:wait", case(function()
    aio.spawn(function()
      local parent = aio.task()
      local g <close> = aio.group()
      g:spawn(function()
        aio.sleep(1)
        refused(parent.await, parent)
      end)
      g:wait()
    end):await()
  end))

  it("for its grandparent, nor for one that awaits its parent", case(function()
    local waiter
    aio.spawn(function()
      local grandparent = aio.task()
      local g <close> = aio.group()
      g:spawn(function()
        local parent = aio.task()
        waiter = aio.spawn(parent.join, parent)
        local inner <close> = aio.group()
        inner:spawn(function()
          aio.sleep(1)
          refused(grandparent.join, grandparent)
          refused(parent.join, parent)
          refused(waiter.join, waiter)
        end)
      end)
    end):await()
  end))
end)

describe("a child that waits for its parent", function()
  it("is told when that begins to leave its group", case(function()
    local e
    aio.spawn(function()
      local parent = aio.task()
      local g <close> = aio.group()
      for _ = 1, 2 do
        g:spawn(function() e = raised(parent.join, parent) end)
      end
      aio.sleep(1)
      assert.is_nil(e)
    end):await()
    assert.equal("EDEADLK", e.code)
  end))

  it("is told when that waits in group:wait", case(function()
    aio.spawn(function()
      local parent = aio.task()
      local g <close> = aio.group()
      local child = g:spawn(function() return raised(parent.await, parent).code end)
      testing.settle()
      assert.is_true(g:wait())
      assert.equal("EDEADLK", child:await())
    end):await()
  end))

  it("while others wait for the same is the only one told", case(function()
    local parent = aio.spawn(function()
      local me = aio.task()
      local g <close> = aio.group { on_failure = false }
      g:spawn(me.await, me)
      aio.sleep(1)
      return "value"
    end)
    local other = aio.spawn(parent.await, parent)
    assert.equal("value", other:await())
  end))

  it("is a failing child if it lets that out", case(function()
    local ok, e = aio.spawn(function()
      local me = aio.task()
      local g <close> = aio.group()
      g:spawn(me.await, me)
      aio.sleep(1)
    end):join()
    assert.is_false(ok)
    assert.equal("EDEADLK", e.code)
  end))
end)

describe("it is no cycle", function()
  it("to wait for a sibling", case(function()
    local g <close> = aio.group()
    local first = g:spawn(function() return aio.sleep(1) end)
    local second = g:spawn(first.await, first)
    g:wait()
    assert.is_true(second:await())
  end))

  it("to wait for one that waits for somebody else", case(function()
    local last = chain(20, function() return aio.sleep(1) end)
    assert.is_true((last:await()))
  end))

  it("to ask to be told of one's own end", case(function()
    local log = helper.log()
    local t = aio.spawn(function()
      aio.task():on_done(function() log "done" end)
    end)
    t:await()
    testing.settle()
    assert.equal("done", log:text())
  end))

  it("for a service to wait for the group's owner", case(function()
    local seen
    aio.spawn(function()
      local me = aio.task()
      local g <close> = aio.group()
      g:service(function()
        seen = raised(me.join, me)
        error(seen)
      end)
      g:spawn(aio.sleep, 1)
    end):await()
    assert.is_true(aio.is_cancelled(seen))
  end))
end)

describe("a cycle that is too long to be seen", function()
  it("is a deadlock when nothing else can go on", helper.bare(function()
    local e = raised(aio.run, function()
      local me = aio.task()
      local last = chain(20, function() return me:join() end)
      last:await()
    end)
    assert.equal("EDEADLK", e.code)
  end))
end)
