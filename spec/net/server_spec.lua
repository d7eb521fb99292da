-- Servers: accept, serve, close; and what happens out of descriptors.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local Child = require "spec.child"
local ends = require "spec.net.ends"
local helper = require "spec.helper"

local failed, has, raised, real, values = helper.failed, helper.has,
  helper.raised, helper.real, helper.values
local parked, turn = ends.parked, ends.turn

-- A server, and its port.
local function listen(opts)
  local server = assert(aio.tcp.listen("127.0.0.1", 0, opts))
  return server, (select(2, server:sockname()))
end

local function connect(port)
  return assert(aio.tcp.connect("127.0.0.1", port))
end

local function echo(conn)
  for line in conn:lines "L" do
    conn:write(line)
  end
end

local function ask(port, text)
  local conn <close> = connect(port)
  conn:write(text, "\n")
  return conn:read()
end

describe("accept", function()
  it("completes at once if somebody is there", real(function()
    local server, port = listen()
    local _ <close> = server
    local a <close> = connect(port)
    local turns = aio.loop():stats().turns
    local b <close> = assert(server:accept())
    assert.equal(turns, aio.loop():stats().turns)
    a:write "x"
    assert.equal("x", b:read_some())
  end))

  it("waits for somebody to come", real(function()
    local server, port = listen()
    local _ <close> = server
    local task = parked(server.accept, server)
    local a <close> = connect(port)
    local b <close> = task:await()
    values({ a:sockname() }, b:peername())
  end))

  it("cancelled, it has accepted nobody", real(function()
    local server, port = listen()
    local _ <close> = server
    failed("ETIMEDOUT", aio.timeout(0.01, server.accept, server))
    local a <close> = connect(port)
    local b <close> = assert(server:accept())
    a:write "x"
    assert.equal("x", b:read_some())
  end))

  it("keeps its connection when cancelled after it came", real(function()
    local server, port = listen()
    local _ <close> = server
    local task = parked(server.accept, server)
    local a <close> = connect(port)
    while task:info().state == "waiting" do
      aio.yield()
    end
    task:cancel()
    local b <close> = task:await()
    a:write "x"
    assert.equal("x", b:read_some())
  end))

  it("is told when the server is closed", real(function()
    local server = listen()
    local one, two = parked(server.accept, server), parked(server.accept, server)
    server:close()
    failed("ECLOSED", one:await())
    failed("ECLOSED", two:await())
    failed("ECLOSED", server:accept())
    failed("ECLOSED", server:sockname())
    assert.is_true(server:close())
    assert.equal("tcp server (closed)", tostring(server))
  end))

  it("serves acceptors in order, whoever leaves", real(function()
    local server, port = listen()
    local _ <close> = server
    local log = helper.log()
    local tasks = {}
    for i = 1, 4 do
      tasks[i] = parked(function()
        local conn <close> = server:accept()
        log(i)
        conn:write(i)
      end)
    end
    tasks[2]:cancel()
    for _, i in ipairs { 1, 3, 4 } do
      local a <close> = connect(port)
      assert.equal(tostring(i), a:read())
    end
    assert.equal("1 3 4", log:text())
  end))

  it("wakes several for several that come at once", real(function()
    local server, port = listen()
    local _ <close> = server
    local tasks, clients = {}, {}
    for i = 1, 10 do
      tasks[i] = parked(server.accept, server)
    end
    for i = 1, 10 do
      clients[i] = connect(port)
    end
    local _ <close> = ends.held(table.unpack(clients))
    for i = 1, 10 do
      tasks[i]:await():close()
    end
  end))

  it("works in a generator, and not in a callback", real(function()
    local server, port = listen()
    local _ <close> = server
    local a <close> = connect(port)
    local next_conn = aio.coroutine.wrap(function()
      coroutine.yield(server:accept())
    end)
    next_conn():close()
    local cb = aio.loop():call_soon(function() server:accept() end)
    has("callback", select(2, cb:join()))
    assert.is_nil(a:read())
  end))

  it("skips clients that have gone", real(function()
    local server, port = listen()
    local _ <close> = server
    for _ = 1, 3 do
      connect(port):abort()
    end
    local a <close> = connect(port)
    a:write "x"
    while true do
      local b <close> = assert(server:accept())
      local data = b:read_some()
      if data then
        assert.equal("x", data)
        break
      end
    end
  end))
end)

describe("a server", function()
  it("says what is wrong with an address", real(function()
    local server, port = listen()
    local _ <close> = server
    local _, message = aio.tcp.listen("127.0.0.1", port)
    assert.equal(("EADDRINUSE: address already in use (listen 127.0.0.1:%d)"):format(port), message)
    has("bad argument #1 to 'listen'", raised(function() aio.tcp.listen(nil, 1) end))
    has("bad argument #2 to 'listen'", raised(function() aio.tcp.listen("::1", 65536) end))
    has("bad argument #3 to 'listen' (unknown option 'backlg')",
      raised(function() aio.tcp.listen("::1", 0, { backlg = 1 }) end))
    has("option 'backlog'", raised(function() aio.tcp.listen("::1", 0, { backlog = 0 }) end))
    has(helper.here():gsub("%d+$", ""), raised(function() aio.tcp.listen("::1", -1) end))
  end))

  it("listens at names, at all addresses, and by IPv6", real(function()
    local any <close> = assert(aio.tcp.listen("*", 0))
    local _, port = any:sockname()
    local a <close> = connect(port)
    assert(any:accept()):close()
    local named <close> = assert(aio.tcp.listen("localhost", 0))
    _, port = named:sockname()
    local b <close> = assert(aio.tcp.connect("localhost", port))
    assert(named:accept()):close()
    assert.is_nil(a:read() or b:read())
    local six <close> = aio.tcp.listen("::1", 0)
    if six then
      has("tcp server ([::1]:", six)
    end
  end))

  it("shares a port if both say so", real(function()
    local one <close> = assert(aio.tcp.listen("127.0.0.1", 0, { reuseport = true }))
    local _, port = one:sockname()
    local two <close> = assert(aio.tcp.listen("127.0.0.1", port, { reuseport = true }))
    assert.equal(port, (select(2, two:sockname())))
  end))

  it("iterates until it is closed", real(function()
    local server, port = listen()
    local task = parked(function()
      local n = 0
      for conn in server do
        n = n + 1
        conn:close()
      end
      return n
    end)
    for _ = 1, 3 do
      local conn <close> = connect(port)
      assert.is_nil(conn:read())
    end
    server:close()
    assert.equal(3, task:await())
  end))

  it("nobody holds is closed", real(function()
    local port = select(2, listen())
    turn()
    collectgarbage()
    collectgarbage()
    turn(2)
    failed("ECONNREFUSED", aio.tcp.connect("127.0.0.1", port))
  end))

  it("in which a task waits is kept", real(function()
    local task, port
    do
      local server
      server, port = listen()
      task = parked(function() return server:accept() end)
    end
    collectgarbage()
    collectgarbage()
    turn(2)
    local a <close> = connect(port)
    task:await():close()
    assert.is_nil(a:read())
  end))

  it("out of descriptors goes on, and drops nobody", function()
    local child <close> = Child.code([[
      io.stdout:setvbuf "no"
      local aio = require "perilune"
      aio.run(function()
        local server = assert(aio.tcp.listen("127.0.0.1", 0))
        print(select(2, server:sockname()))
        server:serve(function(conn)
          conn:write(conn:read "L")
        end)
      end)]], "ulimit -n 16")
    local port = child:line()
    local client = ends.python([[
socks = [socket.create_connection(("127.0.0.1", int(arg))) for i in range(50)]
time.sleep(0.3)
good = 0
for i, s in enumerate(socks):
    s.sendall(b"%d\n" % i)
    good += s.makefile().readline() == "%d\n" % i
print(good)
]], port)
    assert.equal("50\n", client:read "a")
    client:close()
    child:signal "TERM"
    child:finish()
  end)
end)

describe("serve", function()
  it("runs a task for each connection", real(function()
    local server, port = listen()
    local task = parked(server.serve, server, echo)
    local results = aio.map({ "a", "b", "c", "d" }, function(text)
      return ask(port, text)
    end)
    assert.same({ "a", "b", "c", "d", n = 4 }, results)
    server:close()
    assert.is_true(task:await())
  end))

  it("closes the connection when the handler ends", real(function()
    local server, port = listen()
    local task = parked(server.serve, server, function(conn)
      conn:write "bye"
    end)
    local conn <close> = connect(port)
    assert.equal("bye", conn:read "a")
    server:close()
    task:await()
  end))

  it("reports a handler that fails, which harms no other", real(function()
    local log = helper.log()
    aio.loop():on_error(function(err, info)
      log(err, info.kind, info.task ~= nil, info.traceback ~= nil)
    end)
    local server, port = listen()
    local task = parked(server.serve, server, function(conn)
      local line = conn:read()
      if line == "fail" then
        error("told to", 0)
      end
      conn:write(line)
    end)
    local other <close> = connect(port)
    assert.is_nil(ask(port, "fail"))
    other:write "fine\n"
    assert.equal("fine", other:read())
    server:close()
    task:await()
    aio.loop():on_error(nil)
    assert.equal("told to:task:true:true", log:text())
  end))

  it("accepts no more at a time than it may", real(function()
    local server, port = listen()
    local now, most = 0, 0
    local task = parked(server.serve, server, function(conn)
      now = now + 1
      most = math.max(most, now)
      conn:write(conn:read "L")
      aio.yield()
      now = now - 1
    end, { limit = 3 })
    local texts = {}
    for i = 1, 20 do
      texts[i] = tostring(i)
    end
    local results = aio.map(texts, function(text) return ask(port, text) end)
    assert.equal(20, results.n)
    assert.same(texts, { table.unpack(results) })
    assert.equal(3, most)
    server:close()
    task:await()
  end))

  it("returns when the server was closed and the handlers have ended", real(function()
    local server, port = listen()
    local log = helper.log()
    local go = aio.event()
    local task = parked(function()
      server:serve(function(conn)
        conn:read()
        go:wait()
        log "handled"
      end)
      log "served"
    end)
    local conn <close> = connect(port)
    conn:write "x\n"
    turn(5)
    local closer = parked(function()
      server:close(60)
      log "closed"
    end)
    failed("ECONNREFUSED", aio.tcp.connect("127.0.0.1", port))
    go:set()
    closer:await()
    task:await()
    assert.equal("handled served closed", log:text())
  end))

  it("cancels handlers after the grace", real(function()
    local server, port = listen()
    local log = helper.log()
    local task = parked(server.serve, server, function(conn)
      local ok, e = pcall(conn.read, conn)
      log(ok, aio.is_cancelled(e) and e.reason)
      error(e, 0)
    end)
    local conn <close> = connect(port)
    turn(5)
    assert.is_true(server:close(0.01))
    assert.equal("false:server closed", log:text())
    assert.is_true(task:await())
    assert.is_nil(conn:read())
  end))

  it("can be ended by one of its handlers", real(function()
    local server, port = listen()
    local task = parked(server.serve, server, function(conn)
      conn:read()
      server:close()
      conn:write "closing"
    end)
    assert.equal("closing", ask(port, "end"))
    assert.is_true(task:await())
  end))

  it("can be aborted from anywhere", real(function()
    local server, port = listen()
    local task = parked(server.serve, server, function(conn) conn:read() end)
    local conn <close> = connect(port)
    turn(5)
    aio.loop():call_soon(function() server:abort() end)
    assert.is_true(task:await())
    assert.is_nil(conn:read())
  end))

  it("takes its handlers along when cancelled", real(function()
    local server <close>, port = listen()
    local task = parked(server.serve, server, function(conn) conn:read() end)
    local conn <close> = connect(port)
    turn(5)
    task:cancel()
    task:join()
    assert.equal("cancelled", (task:peek()))
    assert.is_nil(conn:read())
  end))

  it("of two that serve, both do", real(function()
    local server, port = listen()
    local one = parked(server.serve, server, echo)
    local two = parked(server.serve, server, echo)
    for i = 1, 5 do
      assert.equal(tostring(i), ask(port, tostring(i)))
    end
    server:close()
    one:await()
    two:await()
  end))

  it("checks its arguments", real(function()
    local server <close> = listen()
    has("bad argument #1 to 'serve'", raised(function() server:serve() end))
    has("bad argument #2 to 'serve'", raised(function() server:serve(print, 3) end))
    has("unknown option 'limt'",
      raised(function() server:serve(print, { limt = 2 }) end))
    has("server expected, got function; call it with ':'",
      raised(function() server.serve(print) end))
    has("'limit'", raised(function() server:serve(print, { limit = 0 }) end))
    has("bad argument #1 to 'close'", raised(function() server:close "x" end))
    has("server expected, got nil", raised(function() server.close() end))
    has("server expected, got table", raised(function() server.abort {} end))
  end))

  it("serves hundreds of clients, and leaves nothing", real(function()
    local server, port = listen()
    local task = parked(server.serve, server, echo)
    local n = 0
    do
      local g <close> = aio.group()
      for i = 1, 300 do
        g:spawn(function()
          assert.equal(tostring(i), ask(port, tostring(i)))
          n = n + 1
        end)
      end
    end
    assert.equal(300, n)
    server:close()
    task:await()
  end))
end)
