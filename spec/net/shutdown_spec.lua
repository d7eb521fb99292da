-- The end of a run, with connections: what is closed, and when.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local Child = require "spec.child"

local failed = helper.failed

local HANDLES = function() return aio.loop():stats().handles end

-- Calls `fn` when the task that holds it is cancelled, in a shield.
local function at_end(fn)
  return setmetatable({}, { __close = function() aio.shield(nil, fn) end })
end

local function listen()
  return assert(aio.tcp.listen("127.0.0.1", 0))
end

describe("at the end of a run", function()
  it("servers stop accepting before background tasks end", function()
    local result
    aio.run(function()
      local server = listen()
      local host, port = server:sockname()
      aio.spawn(function()
        local _ <close> = at_end(function()
          result = table.pack(aio.tcp.connect(host, port))
          assert(server) -- held until now
        end)
        aio.sleep(100)
      end)
      aio.yield()
    end)
    failed("ECONNREFUSED", table.unpack(result, 1, result.n))
  end)

  it("handlers may still say goodbye", function()
    local got
    aio.run(function()
      local server = listen()
      local serving = aio.event()
      aio.spawn(server.serve, server, function(conn)
        local _ <close> = at_end(function() conn:write "goodbye" end)
        serving:set()
        conn:read "l"
      end)
      local conn = assert(aio.tcp.connect(server:sockname()))
      aio.spawn(function()
        local _ <close> = at_end(function() got = conn:read "a" end)
        aio.sleep(100)
      end)
      serving:wait()
    end)
    assert.equal("goodbye", got)
  end)

  it("what was opened in it is closed, also if somebody holds it", function()
    local before, server, conn = HANDLES(), nil, nil
    aio.run(function()
      server = listen()
      conn = assert(aio.tcp.connect(server:sockname()))
      assert.is_true(HANDLES() > before)
    end)
    assert.equal(before, HANDLES())
    failed("ECLOSED", server:accept())
    failed("ECLOSED", conn:read "l")
  end)

  it("what was opened before stays open", function()
    local server <close> = listen()
    aio.run(function() aio.spawn(server.accept, server); aio.yield() end)
    local conn <close> = assert(aio.tcp.connect(server:sockname()))
    assert.is_truthy(conn:peername())
    server:accept():close()
  end)

  it("hooks find connections open", function()
    local got
    aio.run(function()
      local a, b = aio.unix.pair()
      aio.on_close(function()
        a:write "line\n"
        got = b:read "l"
      end)
    end)
    assert.equal("line", got)
  end)
end)

-- Reads what a program sends that ends right after having closed.
local function sent(grace)
  local n
  helper.run(function()
    local server <close> = listen()
    local child <close> = Child.code(([[
      local aio = require "perilune"
      aio.run({ grace = %g }, function()
        local conn = assert(aio.tcp.connect("127.0.0.1", %d))
        conn:protocol {} -- so that write does not wait
        conn:write(("x"):rep(2 ^ 25))
        conn:close()
      end)]]):format(grace, select(2, server:sockname())))
    local conn <close> = assert(server:accept())
    aio.sleep(0.02) -- meanwhile its kernel takes what it can
    n = #(conn:read "a" or "")
    child:finish()
  end)
  return n
end

describe("bytes of closed connections", function()
  it("go out within the grace", function()
    assert.equal(2 ^ 25, sent(5))
  end)

  it("are dropped without one", function()
    assert.is_true(sent(0) < 2 ^ 25)
  end)
end)
