-- Ten thousand connections at once, opened, used and dropped; and a hundred
-- thousand tasks that sleep and are cancelled: afterwards all is as before.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local Child = require "spec.child"
local helper = require "spec.helper"

local real, case = helper.real, helper.case

-- Under a sanitizer or the harsh collector the numbers are smaller.
local quick = helper.slow == 1
local CYCLES = 8 -- of the collector, each of which halves the idle coroutines
local IDLE = 2500 -- kilobytes of those that are kept, and of tables
local SLACK = 200 -- descriptors for others than the connections

local function descriptors()
  local n = 0
  local pid = io.open("/proc/self/stat"):read "n"
  local list <close> = assert(io.popen("ls /proc/" .. pid .. "/fd"))
  for _ in list:lines() do
    n = n + 1
  end
  return n
end

local function descriptor_limit()
  local pipe <close> = assert(io.popen "ulimit -n")
  return tonumber(pipe:read "l") or math.huge
end

-- The clients: all connect and talk, then say so; they go when the server
-- has told the first of them to.
local CLIENTS = [[
  local aio = require "perilune"
  local port, n = %d, %d
  aio.run(function()
    local list = {}
    for i = 1, n do list[i] = i end
    local conns = aio.map(list, function(i)
      local conn = assert(aio.tcp.connect("127.0.0.1", port))
      assert(conn:write(i, "\n"))
      assert(conn:read "l" == "got " .. i)
      return conn
    end, 100)
    assert(conns[1]:write "all\n")
    assert(conns[1]:read "l" == "bye")
  end)
  print "done"
]]

describe("ten thousand connections", function()
  it("are open at once, and leave nothing", real(function()
    local n = math.min(quick and 10000 or 500, descriptor_limit() - SLACK)
    local server = assert(aio.tcp.listen("127.0.0.1", 0, { backlog = 1024 }))
    local _, port = server:sockname()
    collectgarbage()
    collectgarbage()
    local memory, fds = collectgarbage "count", descriptors()
    local open, peak, first, full = 0, 0, nil, aio.future()
    local serving = aio.spawn(server.serve, server, function(conn)
      open = open + 1
      peak = math.max(peak, open)
      for line in conn:lines() do
        if line == "all" then
          first = conn
          full:resolve(descriptors())
        else
          conn:write("got ", line, "\n")
        end
      end
      open = open - 1
    end)
    local child <close> = Child.code(CLIENTS:format(port, n))
    assert.is_true(full:await() >= fds + n)
    first:write("bye\n"):flush() -- child:line() below does not park
    first = nil
    assert.equal("done", child:line())
    server:close(5)
    serving:await()
    assert.equal(n, peak)
    assert.equal(0, open)
    child:finish()
    aio.yield()
    for _ = 1, CYCLES do
      collectgarbage()
    end
    assert.is_true(descriptors() <= fds)
    assert.is_true(collectgarbage "count" - memory < IDLE)
  end, { deadline = 60 }))
end)

describe("a hundred thousand sleepers", function()
  it("are cancelled, and leave nothing", case(function()
    local n = quick and 100000 or 2000
    local ended, before = 0, aio.loop():stats()
    do
      local g <close> = aio.group()
      for _ = 1, n do
        g:spawn(function()
          local ok, e = pcall(aio.sleep, 1e5)
          assert(not ok and aio.is_cancelled(e))
          ended = ended + 1
          error(e, 0)
        end)
      end
      aio.sleep(1)
      assert.equal(n, aio.loop():stats().timers - before.timers)
      g:cancel()
    end
    assert.equal(n, ended)
    assert.equal(before.tasks, aio.loop():stats().tasks)
    assert.equal(before.timers, aio.loop():stats().timers)
  end))
end)
