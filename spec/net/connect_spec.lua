-- Connecting by TCP: one address, and names that have several.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local core = require "perilune.core"
local ends = require "spec.net.ends"
local helper = require "spec.helper"

local failed, has, raised, real = helper.failed, helper.has, helper.raised, helper.real
local parked, turn = ends.parked, ends.turn

local function listen(host)
  local server = assert(aio.tcp.listen(host or "127.0.0.1", 0))
  return server, (select(2, server:sockname()))
end

-- A port at which nobody listens.
local function free_port()
  local server <close>, port = listen() -- luacheck: ignore server
  return port
end

-- A server whose queue is full: connecting to it stays unanswered.
local function silent()
  local server = assert(core.tcp.listen("127.0.0.1", 0, { backlog = 1 }))
  local _, port = server:sockname()
  local held = { server }
  repeat
    local conn = core.tcp.connect("127.0.0.1", port, { timeout = 0.05 })
    held[#held + 1] = conn
  until not conn
  return port, ends.held(table.unpack(held))
end

-- Pretends that every name has these addresses.
local function names(list)
  local real_one = core.dns.getaddrinfo
  core.dns.getaddrinfo = function()
    local found = {}
    for i, address in ipairs(list) do
      found[i] = { address = address, family = address:find ":" and "inet6" or "inet" }
    end
    return found
  end
  return setmetatable({}, { __close = function() core.dns.getaddrinfo = real_one end })
end

describe("tcp.connect", function()
  it("connects to an address", real(function()
    local server, port = listen()
    local _ <close> = server
    local a <close> = assert(aio.tcp.connect("127.0.0.1", port))
    assert.equal(("tcp (127.0.0.1:%d)"):format(port), tostring(a))
  end))

  it("connects to a name", real(function()
    local server, port = listen()
    local _ <close> = server
    local a <close> = assert(aio.tcp.connect("localhost", port))
    assert.equal(port, (select(2, a:peername())))
  end))

  it("says who refused", real(function()
    local port = free_port()
    local none, message, code = aio.tcp.connect("127.0.0.1", port)
    assert.is_nil(none)
    assert.equal(("ECONNREFUSED: connection refused (connect 127.0.0.1:%d)"):format(port), message)
    assert.equal("ECONNREFUSED", code)
  end))

  it("checks its arguments, and says where", real(function()
    local here = "^spec/net/connect_spec.lua:%d+: bad argument "
    local cases = {
      { "#1 to 'connect' %(string expected, got nil%)" },
      { "#1 to 'connect'", "", 1 },
      { "#1 to 'connect'", "a\0b", 1 },
      { "#2 to 'connect' %(port number expected, got nil%)", "::1" },
      { "#2 to 'connect' %(port from 0 to 65535 expected%)", "::1", 65536 },
      { "#3 to 'connect' %(table expected, got number%)", "::1", 1, 1 },
      { "#3 to 'connect' %(unknown option 'tiemout'%)", "::1", 1, { tiemout = 1 } },
      { "#3 to 'connect' %(option 'timeout'", "::1", 1, { timeout = 0 / 0 } },
      { "#3 to 'connect' %(option 'linger'", "::1", 1, { linger = -1 } },
      { "#3 to 'connect' %(option 'protocol'", "::1", 1, { protocol = 1 } },
    }
    for _, case in ipairs(cases) do
      local e = raised(function() aio.tcp.connect(case[2], case[3], case[4]) end)
      assert.truthy(e:find(here .. case[1]), e)
    end
  end))

  it("cancelled, has not happened", real(function()
    local port, held = silent()
    local _ <close> = held
    local before = aio.loop():stats()
    local task = parked(aio.tcp.connect, "127.0.0.1", port)
    task:cancel()
    task:join()
    assert.equal("cancelled", (task:peek()))
    turn(3)
    local after = aio.loop():stats()
    assert.equal(before.handles, after.handles)
    assert.equal(before.requests, after.requests)
    assert.equal(before.timers, after.timers)
  end))

  it("does not begin in a cancelled task", real(function()
    local before = aio.loop():stats().handles
    local task = aio.spawn(aio.tcp.connect, "127.0.0.1", 1)
    task:cancel()
    task:join()
    assert.equal("cancelled", (task:peek()))
    assert.equal(before, aio.loop():stats().handles)
  end))

  it("keeps its connection when cancelled after it came", real(function()
    local server, port = listen()
    local _ <close> = server
    local task = parked(aio.tcp.connect, "127.0.0.1", port)
    while task:info().state == "waiting" do
      turn()
    end
    task:cancel()
    local ok, conn = task:join()
    assert.is_true(ok)
    conn:close()
  end))

  it("has a limit", real(function()
    local port, held = silent()
    local _ <close> = held
    local none, message, code = aio.tcp.connect("127.0.0.1", port, { timeout = 0.03 })
    assert.is_nil(none)
    assert.equal(("ETIMEDOUT: connection timed out (connect 127.0.0.1:%d)"):format(port), message)
    assert.equal("ETIMEDOUT", code)
    failed("ETIMEDOUT", aio.timeout(0.03, aio.tcp.connect, "127.0.0.1", port))
  end))

  it("cannot be begun where no wait is possible", real(function()
    local before = aio.loop():stats().handles
    has("table.sort", raised(table.sort, { 1, 2 }, function()
      return aio.tcp.connect("127.0.0.1", 1)
    end))
    has("callback", select(2, aio.loop():call_soon(aio.tcp.connect, "127.0.0.1", 1):join()))
    assert.equal(before, aio.loop():stats().handles)
  end))

  it("says which name it did not find", real(function()
    local _, message, code = aio.tcp.connect("no-such-host.invalid", 80)
    has("EAI_", code)
    has("no-such-host.invalid", message)
  end))
end)

describe("a name with several addresses", function()
  it("is tried on the next one when one refuses", real(function()
    local server, port = listen()
    local _ <close> = server
    local _ <close> = names { "127.0.0.2", "127.0.0.3", "127.0.0.1" }
    local a <close> = assert(aio.tcp.connect("name", port))
    assert.equal("127.0.0.1", (a:peername()))
  end))

  it("is tried on the next one when one is silent", real(function()
    local port, held = silent()
    local _ <close> = held
    local server <close> = assert(aio.tcp.listen("127.0.0.2", port))
    local _ <close> = names { "127.0.0.1", "127.0.0.2" }
    local before = aio.loop():stats().handles
    local a = assert(aio.tcp.connect("name", port))
    assert.equal("127.0.0.2", (a:peername()))
    assert(server:accept()):close()
    a:close()
    turn(3)
    assert.equal(before, aio.loop():stats().handles)
  end))

  it("tells what was wrong with each", real(function()
    local port = free_port()
    local _ <close> = names { "127.0.0.2", "127.0.0.1" }
    local none, message, code = aio.tcp.connect("name", port)
    assert.is_nil(none)
    assert.equal("ECONNREFUSED", code)
    assert.equal(("ECONNREFUSED: connection refused (connect 127.0.0.2:%d); "
      .. "ECONNREFUSED: connection refused (connect 127.0.0.1:%d)"):format(port, port), message)
  end))

  it("alternates between the families", real(function()
    local tried = {}
    local real_one = core.tcp.connect
    core.tcp.connect = function(address)
      tried[#tried + 1] = address
      return nil, "ECONNREFUSED: no", "ECONNREFUSED"
    end
    local _ <close> = setmetatable({}, { __close = function() core.tcp.connect = real_one end })
    local _ <close> = names { "::1", "::2", "::3", "10.0.0.1", "10.0.0.2" }
    failed("ECONNREFUSED", aio.tcp.connect("name", 1))
    assert.same({ "::1", "10.0.0.1", "::2", "10.0.0.2", "::3" }, tried)
  end))

  it("has one limit for all", real(function()
    local port, held = silent()
    local _ <close> = held
    local _ <close> = names { "127.0.0.1", "127.0.0.1" }
    local none, message, code = aio.tcp.connect("name", port, { timeout = 0.05 })
    assert.is_nil(none)
    assert.equal(("ETIMEDOUT: connection timed out (connect name:%d)"):format(port), message)
    assert.equal("ETIMEDOUT", code)
  end))

  it("leaves nothing when cancelled", real(function()
    local port, held = silent()
    local _ <close> = held
    local _ <close> = names { "127.0.0.1", "127.0.0.1" }
    local before = aio.loop():stats()
    local task = parked(aio.tcp.connect, "name", port)
    turn(2)
    task:cancel()
    task:join()
    turn(3)
    local after = aio.loop():stats()
    for _, kind in ipairs { "handles", "requests", "tasks" } do
      assert.equal(before[kind], after[kind], kind)
    end
  end))
end)
