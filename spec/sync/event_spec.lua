-- Events.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local case, bare = helper.case, helper.bare

describe("an event", function()
  it("is not set at first", case(function()
    local ev = aio.event()
    assert.is_false(ev:is_set())
    ev:set()
    assert.is_true(ev:is_set())
    ev:clear()
    assert.is_false(ev:is_set())
  end))

  it("that is set lets wait return at once", case(function()
    local ev, log = aio.event(), helper.log()
    ev:set()
    aio.spawn(log, "other")
    assert.is_true(ev:wait())
    assert.is_true(ev:wait())
    log "waited"
    aio.yield()
    assert.equal("waited other", log:text())
  end))

  it("wakes waiters in order", case(function()
    local ev, log = aio.event(), helper.log()
    for i = 1, 4 do
      aio.spawn(function() log(i .. tostring(ev:wait())) end)
    end
    testing.settle()
    assert.equal("", log:text())
    ev:set()
    log "set"
    testing.settle()
    assert.equal("set 1true 2true 3true 4true", log:text())
  end))

  it("cleared at once has woken those who waited", case(function()
    local ev, log = aio.event(), helper.log()
    for i = 1, 2 do
      aio.spawn(function()
        ev:wait()
        log(i)
      end)
    end
    testing.settle()
    ev:set()
    ev:clear()
    testing.settle()
    assert.equal("1 2", log:text())
    helper.failed("ETIMEDOUT", aio.timeout(1, ev.wait, ev))
  end))

  it("wakes no one for a waiter that was cancelled", case(function()
    local ev, log = aio.event(), helper.log()
    local list = {}
    for i = 1, 3 do
      list[i] = aio.spawn(function()
        ev:wait()
        log(i)
      end)
    end
    testing.settle()
    list[2]:cancel()
    testing.settle()
    ev:set()
    testing.settle()
    assert.equal("1 3", log:text())
    assert.equal("cancelled", (list[2]:peek()))
  end))

  it("keeps a waiter that was woken and then cancelled", case(function()
    local ev, log = aio.event(), helper.log()
    local t = aio.spawn(function()
      log(ev:wait())
      aio.yield()
      log "never"
    end)
    testing.settle()
    ev:set()
    t:cancel()
    t:join()
    assert.equal("true", log:text())
  end))

  it("can be set in a callback, and twice", case(function()
    local ev = aio.event()
    aio.loop():call_later(1, ev.set, ev)
    aio.loop():call_later(1, ev.set, ev)
    assert.is_true(ev:wait())
  end))

  it("serves many rounds", case(function()
    local ev, n = aio.event(), 0
    local t = aio.spawn(function()
      for _ = 1, 100 do
        ev:wait()
        ev:clear()
        n = n + 1
      end
    end)
    while t:peek() == "pending" do
      ev:set()
      aio.yield()
    end
    assert.equal(100, n)
  end))

  it("is made anywhere and serves several runs", bare(function()
    local ev = aio.event()
    aio.run(function()
      aio.loop():call_later(1, ev.set, ev)
      ev:wait()
    end)
    assert.is_true(aio.run(ev.wait, ev))
    assert.is_true(ev:wait())
  end))

  it("is collected when nobody holds it", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local ev = aio.event()
      aio.timeout(1, ev.wait, ev)
      weak[ev] = true
    end
    helper.gone(weak)
  end))

  it("stays as long as someone waits", case(function()
    local weak = setmetatable({}, { __mode = "v" })
    local t = aio.spawn(function()
      weak.ev = aio.event()
      return weak.ev:wait()
    end)
    testing.settle()
    collectgarbage()
    collectgarbage()
    weak.ev:set()
    assert.is_true(t:await())
  end))
end)
