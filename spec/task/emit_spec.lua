-- Signals that a program gives to its tasks, and frames.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local case, has, raised, values = helper.case, helper.has, helper.raised, helper.values

-- Each case has a signal of its own, as signals are there for good.
local made = 0
local function new_signal()
  made = made + 1
  return aio.signal("spec " .. made)
end

local function waiting(signal)
  local task = aio.spawn(signal.wait, signal)
  aio.yield()
  return task
end

describe("aio.signal", function()
  it("is one for each name", case(function()
    local signal = new_signal()
    assert.equal(signal, aio.signal("spec " .. made))
    assert.not_equal(signal, new_signal())
    assert.equal("signal (spec x)", tostring(aio.signal "spec x"))
  end))

  it("checks its arguments", case(function()
    has("string expected, got no value", raised(aio.signal))
    local signal = new_signal()
    has("perilune.signal expected", raised(signal.wait, aio.clock()))
    has("perilune.signal expected", raised(signal.emit, {}))
    has("too many values", raised(signal.emit, signal, table.unpack({}, 1, 17)))
  end))

  it("is not collected", case(function()
    local task = waiting(new_signal())
    collectgarbage()
    collectgarbage()
    assert.equal(1, aio.signal("spec " .. made):emit "here")
    assert.equal("here", task:await())
  end))
end)

describe("signal:wait", function()
  it("returns the values", case(function()
    local signal = new_signal()
    local task = waiting(signal)
    assert.equal(1, signal:emit(1, nil, false, nil))
    values({ 1, nil, false, nil, n = 4 }, task:await())
  end))

  it("returns true if there are none", case(function()
    local signal = new_signal()
    local task = waiting(signal)
    signal:emit()
    values({ true }, task:await())
  end))

  it("returns nil if that was emitted", case(function()
    local signal = new_signal()
    local task = waiting(signal)
    signal:emit(nil)
    values({ nil, n = 1 }, task:await())
  end))

  it("takes as many as sixteen", case(function()
    local signal, list = new_signal(), {}
    for i = 1, 16 do list[i] = i end
    local task = waiting(signal)
    assert.equal(1, signal:emit(table.unpack(list)))
    assert.same(list, { task:await() })
  end))

  it("wakes all that wait, in order", case(function()
    local signal, log = new_signal(), helper.log()
    for i = 1, 3 do
      aio.spawn(function() log(i, signal:wait()) end)
    end
    aio.yield()
    assert.equal(3, signal:emit "x")
    aio.yield()
    assert.equal("1:x 2:x 3:x", log:text())
  end))

  it("waits for the next time", case(function()
    local signal = new_signal()
    assert.equal(0, signal:emit "early")
    local task = waiting(signal)
    aio.sleep(1)
    assert.equal("pending", (task:peek()))
    signal:emit "late"
    assert.equal("late", task:await())
  end))

  it("has the values of the first time", case(function()
    local signal = new_signal()
    local task = waiting(signal)
    assert.equal(1, signal:emit "first")
    assert.equal(0, signal:emit "second")
    assert.equal("first", task:await())
  end))

  it("waits again for another", case(function()
    local signal, log = new_signal(), helper.log()
    local task = aio.spawn(function()
      for _ = 1, 3 do log(signal:wait()) end
    end)
    for i = 1, 3 do
      aio.yield()
      signal:emit(i)
    end
    task:await()
    assert.equal("1 2 3", log:text())
  end))

  it("is not begun in a cancelled scope", case(function()
    local signal = new_signal()
    local task = aio.spawn(signal.wait, signal)
    task:cancel()
    task:join()
    assert.equal(0, signal:emit())
  end))

  it("is cancelled", case(function()
    local signal, log = new_signal(), helper.log()
    local first, second = waiting(signal), waiting(signal)
    first:cancel "enough"
    assert.equal(1, signal:emit "x")
    log(first:join())
    log(second:join())
    assert.equal("cancelled", (first:peek()))
    has("true:x", log:text())
  end))

  it("keeps what came before it was cancelled", case(function()
    local signal, log = new_signal(), helper.log()
    local task = aio.spawn(function()
      log(signal:wait())
      aio.yield()
      log "not reached"
    end)
    aio.yield()
    signal:emit "x"
    task:cancel()
    task:join()
    assert.equal("x", log:text())
  end))

  it("has a limit", case(function()
    local signal = new_signal()
    helper.failed("ETIMEDOUT", aio.timeout(1, signal.wait, signal))
    assert.equal(0, signal:emit())
  end))

  it("works in generators", case(function()
    local signal, log = new_signal(), helper.log()
    local task = aio.spawn(function()
      for a, b in aio.coroutine.wrap(function() coroutine.yield(signal:wait()) end) do
        log(a, b)
      end
    end)
    aio.yield()
    signal:emit("a", "b")
    task:await()
    assert.equal("a:b", log:text())
  end))

  it("works in the main chunk", helper.bare(function()
    local signal = new_signal()
    aio.loop():call_soon(function()
      assert.equal(1, signal:emit("a", nil))
    end)
    values({ "a", nil, n = 2 }, signal:wait())
    aio.loop():call_soon(signal.emit, signal)
    values({ true }, signal:wait())
  end))

  it("is left alone by those whose coroutine was closed", case(function()
    local signal = new_signal()
    local co
    local closed = aio.spawn(function()
      co = coroutine.running()
      signal:wait()
    end)
    closed:on_done(function() end) -- its failure is no news
    aio.yield()
    local other = waiting(signal)
    helper.stock.close(co)
    assert.equal(1, signal:emit "x")
    assert.equal("x", other:await())
    assert.is_false((closed:join()))
  end))

  it("is named in a deadlock", helper.bare(function()
    local signal = aio.signal "spec never"
    local e = raised(aio.run, function() signal:wait() end)
    assert.equal("EDEADLK", e.code)
    has("signal spec never", e)
  end))

  it("is refused in callbacks", case(function()
    local signal = new_signal()
    local _, e = aio.loop():call_soon(signal.wait, signal):join()
    assert.equal("EPERM", e.code)
    assert.equal(0, signal:emit())
  end))
end)

describe("aio.next_frame", function()
  it("is the next turn where nobody gives frames", case(function()
    local log = helper.log()
    aio.spawn(function() log "other" end)
    assert.is_true(aio.next_frame())
    assert.equal("other", log:text())
  end))

  it("works in the main chunk", helper.bare(function()
    assert.is_true(aio.next_frame())
  end))

  it("raises in a cancelled scope", case(function()
    local task = aio.spawn(function()
      aio.next_frame()
      error "not reached"
    end)
    task:cancel()
    task:join()
    assert.equal("cancelled", (task:peek()))
  end))
end)
