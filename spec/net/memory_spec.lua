-- testing.pair: what it can do that sockets cannot. That they are alike is
-- said in transport_spec.lua, whose cases run with both.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local ends = require "spec.net.ends"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local case, failed, has, raised, values = helper.case, helper.failed, helper.has, helper.raised,
  helper.values

-- The pieces that arrive of what is written, as one text.
local function pieces(opts, ...)
  local a <close>, b = testing.pair(opts)
  local _ <close> = b
  local log = helper.log()
  a:write(...)
  a:shutdown()
  for piece in function() return b:read_some() end do
    log(piece)
  end
  return log:text()
end

describe("testing.pair", function()
  it("delivers in chunks of a size", case(function()
    assert.equal("hello", pieces(nil, "hel", "lo"))
    assert.equal("he ll o", pieces({ chunk = 2 }, "hello"))
  end))

  it("delivers in chunks of several sizes, in turn", case(function()
    assert.equal("h el l oh e ll o", pieces({ chunk = { 1, 2, 1, 2 } }, "hello", "hello"))
  end))

  it("cuts lines wherever it is told to", case(function()
    for size = 1, 12 do
      local a <close>, b = testing.pair { chunk = size }
      local _ <close> = b
      a:write("one\r\n", "\n", "three\n")
      a:close()
      assert.equal("one\r\n", b:read "L")
      values({ "", "three", nil, n = 3 }, b:read("l", "l", "l"))
    end
  end))

  it("has room for so much", case(function()
    local a <close>, b = testing.pair { room = 4 }
    local _ <close> = b
    a:write "hello"
    local flush = ends.parked(a.flush, a)
    assert.equal("pending", (flush:peek()))
    assert.equal("hell", b:read_some())
    assert.equal(a, flush:await())
    assert.equal("o", b:read_some())
  end))

  it("lets a writer wait for a slow reader", case(function()
    local a <close>, b = testing.pair { room = 1000, chunk = 1000 }
    local _ <close> = b
    local log = helper.log()
    local writer = ends.parked(function()
      for i = 1, 4 do
        a:write(("x"):rep(65536))
        log(i)
      end
    end)
    assert.equal("1 2", log:text())
    b:read_exactly(3 * 65536)
    writer:await()
    assert.equal("1 2 3 4", log:text())
  end))

  it("tells protocols to pause and to resume", case(function()
    local a <close>, b = testing.pair { room = 100 }
    local log = helper.log()
    a:protocol {
      connection_made = function(_, conn) conn:write(("x"):rep(70000)) end,
      pause_writing = function() log "pause" end,
      resume_writing = function() log "resume" end,
      connection_lost = function() log "lost" end,
    }
    testing.settle()
    assert.equal("pause", log:text())
    b:read_exactly(70000)
    b:close()
    testing.settle()
    assert.equal("pause resume lost", log:text())
  end))

  it("sends what is queued after close, for the linger", case(function()
    local a, b = testing.pair { room = 2 }
    local _ <close> = b
    a:write "hello"
    a:close()
    assert.equal("hello", b:read "a")
    local c, d = testing.pair { room = 2 }
    local _ <close> = d
    c:write "hello"
    c:close()
    aio.sleep(6) -- the linger is 5 s, and nobody reads
    assert.equal("he", d:read "a")
  end))

  it("loses what is queued with abort", case(function()
    local a, b = testing.pair { room = 2 }
    local _ <close> = b
    a:write "hello"
    aio.yield()
    a:abort()
    assert.equal("he", b:read "a")
    b:write "x"
    failed("EPIPE", b:flush())
  end))

  it("resets who wrote what was not read", case(function()
    local a, b = testing.pair()
    local _ <close> = b
    b:write "unread"
    aio.yield()
    a:close()
    failed("ECONNRESET", b:read())
  end))

  it("fails who waits to write when the peer goes", case(function()
    local a <close>, b = testing.pair { room = 1 }
    a:write(("x"):rep(70000))
    local writer = ends.parked(function() return a:write "y" end)
    b:close()
    failed("EPIPE", writer:await())
  end))

  it("is deadlocked where nobody writes", function()
    has("EDEADLK", raised(aio.run, { signals = false }, function()
      local a <close>, b = testing.pair()
      local _ <close> = b
      a:read()
    end))
  end)

  it("uses no descriptor", case(function()
    local loop = aio.loop()
    local before = loop:stats()
    local a, b = testing.pair()
    assert.equal("unix (memory)", tostring(a))
    assert.equal("", a:peername())
    a:close()
    b:close()
    testing.settle()
    assert.equal(before.handles, loop:stats().handles)
  end))

  it("is collected when nobody holds it", case(function()
    local before = aio.loop():stats().handles
    do
      local a = testing.pair()
      a:write "x"
    end
    collectgarbage()
    collectgarbage()
    testing.settle()
    assert.equal(before, aio.loop():stats().handles)
  end))

  it("refuses what makes no sense", function()
    has("table expected", raised(testing.pair, 1))
    has("unknown option 'size'", raised(testing.pair, { size = 1 }))
    has("'chunk'", raised(testing.pair, { chunk = 0 }))
    has("'chunk'", raised(testing.pair, { chunk = { 1, "x" } }))
    has("'room'", raised(testing.pair, { room = 0.5 }))
  end)
end)
