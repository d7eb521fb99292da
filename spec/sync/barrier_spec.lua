-- Barriers.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local case, bare = helper.case, helper.bare
local failed, has, raised = helper.failed, helper.has, helper.raised
local settle = testing.settle

local function comer(barrier, log, id)
  return aio.spawn(function() log(id, barrier:wait()) end)
end

describe("a barrier", function()
  it("lets go of n tasks when the last one comes", case(function()
    local barrier, log = aio.barrier(3), helper.log()
    comer(barrier, log, "a")
    comer(barrier, log, "b")
    settle()
    assert.equal("", log:text())
    assert.equal(3, barrier:wait())
    log "last"
    settle()
    assert.equal("last a:1 b:2", log:text())
  end))

  it("begins anew each time", case(function()
    local barrier, log = aio.barrier(2), helper.log()
    local g <close> = aio.group()
    for _, id in ipairs { "a", "b" } do
      g:spawn(function()
        for round = 1, 3 do
          log(id .. round)
          barrier:wait()
        end
      end)
    end
    g:wait()
    assert.equal("a1 b1 b2 a2 a3 b3", log:text())
  end))

  it("lets the next ones wait", case(function()
    local barrier, log = aio.barrier(2), helper.log()
    for i = 1, 5 do
      comer(barrier, log, i)
    end
    settle()
    assert.equal("2:2 4:2 1:1 3:1", log:text())
    barrier:wait()
  end))

  it("of one never waits", case(function()
    local barrier, log = aio.barrier(1), helper.log()
    aio.spawn(log, "other")
    assert.equal(1, barrier:wait())
    assert.equal(1, barrier:wait())
    log "waited"
    aio.yield()
    assert.equal("waited other", log:text())
  end))

  it("does not count who was cancelled", case(function()
    local barrier, log = aio.barrier(3), helper.log()
    local a = comer(barrier, log, "a")
    comer(barrier, log, "b")
    settle()
    a:cancel()
    comer(barrier, log, "c")
    settle()
    assert.equal("", log:text())
    assert.equal(3, barrier:wait())
    settle()
    assert.equal("b:1 c:2", log:text())
    assert.equal("cancelled", (a:peek()))
  end))

  it("does not count who comes cancelled", case(function()
    local barrier, log = aio.barrier(2), helper.log()
    failed("ETIMEDOUT", aio.timeout(0, barrier.wait, barrier))
    comer(barrier, log, "a")
    settle()
    assert.equal("", log:text())
    assert.equal(2, barrier:wait())
  end))

  it("lets go of who is cancelled after the last has come", case(function()
    local barrier, log = aio.barrier(2), helper.log()
    local first = aio.spawn(function()
      log(barrier:wait())
      aio.yield()
      log "never"
    end)
    settle()
    barrier:wait()
    first:cancel()
    first:join()
    assert.equal("1", log:text())
    failed("ETIMEDOUT", aio.timeout(1, barrier.wait, barrier))
  end))

  it("left by timeouts, again and again, counts right", case(function()
    local barrier, log = aio.barrier(2), helper.log()
    for _ = 1, 20 do
      failed("ETIMEDOUT", aio.timeout(0.1, barrier.wait, barrier))
    end
    comer(barrier, log, "a")
    settle()
    assert.equal(2, barrier:wait())
    settle()
    assert.equal("a:1", log:text())
  end))

  it("is for one task or more", case(function()
    for _, n in ipairs { 0, -1, 1.5, "x" } do
      has("bad argument #1", raised(aio.barrier, n))
    end
    has("bad argument #1", raised(aio.barrier(2).wait, aio.event()))
  end))

  it("works in the main chunk and in generators", bare(function()
    local barrier = aio.barrier(2)
    local t = aio.spawn(aio.coroutine.wrap(function() return barrier:wait() end))
    assert.equal(1, barrier:wait())
    assert.equal(2, t:await())
    local first = aio.spawn(barrier.wait, barrier)
    aio.yield()
    assert.equal(2, barrier:wait())
    assert.equal(1, first:await())
  end))

  it("cannot be waited for in a callback", case(function()
    local barrier = aio.barrier(1)
    local _, e = aio.loop():call_soon(barrier.wait, barrier):join()
    assert.equal("EPERM", e.code)
  end))

  it("is named in a deadlock", bare(function()
    local barrier = aio.barrier(2)
    has("(barrier)", raised(aio.run, barrier.wait, barrier))
    local t = aio.spawn(barrier.wait, barrier)
    assert.equal(1, barrier:wait())
    t:await()
  end))

  it("stays as long as someone waits", case(function()
    local weak = setmetatable({}, { __mode = "v" })
    weak.barrier = aio.barrier(2)
    local t = aio.spawn(weak.barrier.wait, weak.barrier)
    settle()
    collectgarbage()
    collectgarbage()
    assert.equal(2, weak.barrier:wait())
    assert.equal(1, t:await())
  end))
end)
