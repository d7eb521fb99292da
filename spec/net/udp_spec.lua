-- UDP: datagrams at once, later, cancelled and closed; groups; peers that are
-- not ours.
--
-- SPDX-License-Identifier: MIT

local Child = require "spec.child"
local aio = require "perilune"
local ends = require "spec.net.ends"
local helper = require "spec.helper"

local failed, has, raised, real, values = helper.failed, helper.has,
  helper.raised, helper.real, helper.values
local parked, turn = ends.parked, ends.turn

local HERE = "127.0.0.1"

local function port_of(socket)
  return (select(2, assert(socket:sockname())))
end

-- A port that nobody has.
local function free_port()
  local socket <close> = assert(aio.udp.bind(HERE))
  return port_of(socket)
end

-- A case with two sockets, and the port of the first one.
local function two(case)
  return real(function()
    local a <close> = assert(aio.udp.bind(HERE))
    local b <close> = assert(aio.udp.bind(HERE))
    case(a, b, port_of(a))
  end)
end

describe("udp.bind", function()
  it("takes any free port of all addresses", real(function()
    local a <close> = assert(aio.udp.bind())
    local host, port = a:sockname()
    assert.is_true(host == "::" or host == "0.0.0.0")
    assert.is_true(port > 0)
    failed("ENOTCONN", a:peername())
  end))

  it("takes an address and port", two(function(a, _, port)
    values({ HERE, port }, a:sockname())
    assert.equal(("udp (%s:%d)"):format(HERE, port), tostring(a))
    assert.equal("perilune.udp", getmetatable(a).__name)
  end))

  it("takes a name", real(function()
    local a <close> = assert(aio.udp.bind("localhost", 0))
    local host = a:sockname()
    assert.is_true(host == HERE or host == "::1")
    local _, _, code = aio.udp.bind("no-such-host.invalid", 0)
    has("EAI_", code)
  end))

  it("says what it could not bind", two(function(_, _, port)
    failed("EADDRINUSE", aio.udp.bind(HERE, port))
    has(("bind %s:%d"):format(HERE, port),
      select(2, aio.udp.bind(HERE, port)))
    failed("EADDRNOTAVAIL", aio.udp.bind("192.0.2.1", 0))
  end))

  it("shares an address with reuseaddr", real(function()
    local opts = { reuseaddr = true }
    local a <close> = assert(aio.udp.bind(HERE, 0, opts))
    local b <close> = assert(aio.udp.bind(HERE, port_of(a), opts))
    assert.equal(port_of(a), port_of(b))
  end))

  it("refuses wrong arguments", function()
    has("bad argument #1 to 'bind'", raised(aio.udp.bind, 1))
    has("bad argument #1 to 'bind'", raised(aio.udp.bind, ""))
    has("bad argument #2 to 'bind'", raised(aio.udp.bind, HERE, 65536))
    has("unknown option 'backlog'",
      raised(aio.udp.bind, HERE, 0, { backlog = 1 }))
    has("option 'reuseaddr' must be", raised(aio.udp.bind, HERE, 0,
      { reuseaddr = 1 }))
  end)

  it("leaves nothing behind without descriptors", function()
    local child <close> = Child.code([[
      local aio = require "perilune"
      local held, n, code = {}, aio.loop():stats().handles, nil
      while not code do
        held[#held + 1], _, code = aio.udp.bind("127.0.0.1")
      end
      print(code, aio.loop():stats().handles - n == #held)
      print(select(3, aio.udp.connect("127.0.0.1", 9)))
      for _, s in ipairs(held) do s:close() end
      aio.sleep(0)
      print(aio.udp.bind("127.0.0.1") ~= nil)]], "ulimit -n 64")
    assert.equal("EMFILE\ttrue\nEMFILE\ntrue\n", (child:finish()))
  end)
end)

describe("udp.recv", function()
  it("completes at once if something is there", two(function(a, b, port)
    assert.equal(b, b:send("hello", HERE, port))
    local other = false
    aio.spawn(function() other = true end)
    values({ "hello", HERE, port_of(b) }, a:recv())
    assert.is_false(other)
  end))

  it("waits for what comes later", two(function(a, b, port)
    local task = parked(a.recv, a)
    b:send("later", HERE, port)
    values({ "later", HERE, port_of(b) }, task:await())
  end))

  it("keeps datagrams apart, and empty ones", two(function(a, b, port)
    for _, data in ipairs { "one", "", "\0three" } do
      b:send(data, HERE, port)
    end
    assert.equal("one", (a:recv()))
    assert.equal("", (a:recv()))
    assert.equal("\0three", (a:recv()))
  end))

  it("takes the longest there are", two(function(a, b, port)
    local data = ("0123456"):rep(65507 // 7 + 1):sub(1, 65507)
    assert(b:send(data, HERE, port))
    local got, _, _, cut = a:recv()
    assert.is_true(got == data)
    assert.is_nil(cut)
  end))

  it("says of one that was cut short", two(function(a, b, port)
    b:send("12345", HERE, port)
    b:send("12345", HERE, port)
    values({ "1234", HERE, port_of(b), true }, a:recv(4))
    values({ "12345", HERE, port_of(b) }, a:recv(5))
  end))

  it("that is cancelled takes nothing", two(function(a, b, port)
    failed("ETIMEDOUT", aio.timeout(0.01, a.recv, a))
    b:send("kept", HERE, port)
    failed("ETIMEDOUT", aio.timeout(0, a.recv, a))
    assert.equal("kept", (a:recv()))
  end))

  it("cancelled after it was woken keeps what came", two(function(a, b, port)
    local task = parked(a.recv, a)
    b:send("mine", HERE, port)
    ends.woken(task):cancel()
    assert.equal("mine", (task:await()))
  end))

  it("fails when the socket is closed meanwhile, and after", two(function(a)
    local task = parked(a.recv, a)
    assert.is_true(a:close())
    failed("ECLOSED", task:await())
    failed("ECLOSED", a:recv())
    assert.equal("udp (closed)", tostring(a))
    assert.is_true(a:close())
  end))

  it("refuses a second task", two(function(a, b, port)
    local task = parked(a.recv, a)
    has("EBUSY: another task receives", raised(a.recv, a))
    b:send("x", HERE, port)
    assert.equal("x", (task:await()))
  end))

  it("lets others run after many at once", two(function(a, b, port)
    for _ = 1, 100 do
      b:send("x", HERE, port)
    end
    local other = false
    aio.spawn(function() other = true end)
    for _ = 1, 100 do
      a:recv()
    end
    assert.is_true(other)
  end))

  it("refuses wrong arguments", two(function(a)
    has("bad argument #1 to 'recv'", raised(function() a:recv(-1) end))
    has("perilune.udp expected", raised(a.recv, io.stdout))
    has("perilune.udp expected", raised(a.recv))
  end))

  it("works at top level", helper.bare(function()
    local a <close> = assert(aio.udp.bind(HERE))
    assert(a:send("self", a:sockname()))
    assert.equal("self", (a:recv()))
    a:close()
    aio.sleep(0)
  end))

  it("ends a loop when the socket is closed", two(function(a, b, port)
    local log = helper.log()
    local task = aio.spawn(function()
      for data, host in a do
        log(data, host)
      end
    end)
    b:send("one", HERE, port)
    b:send("two", HERE, port)
    turn(2)
    a:close()
    task:await()
    assert.equal("one:127.0.0.1 two:127.0.0.1", log:text())
  end))
end)

describe("udp.send", function()
  it("refuses what has no destination, or two", two(function(a, b, port)
    has("bad argument #2 to 'send' (host expected",
      raised(function() b:send "x" end))
    has("bad argument #3 to 'send'", raised(function() b:send("x", HERE) end))
    has("bad argument #1 to 'send'", raised(function() b:send() end))
    local c <close> = assert(aio.udp.connect(HERE, port))
    has("this socket is connected",
      raised(function() c:send("x", HERE, port) end))
    failed("ETIMEDOUT", aio.timeout(0.01, a.recv, a))
  end))

  it("sends to a name", two(function(_, b)
    local a <close> = assert(aio.udp.bind("localhost"))
    local six = a:sockname() == "::1" and assert(aio.udp.bind "::1") or b
    assert.equal(six, six:send("x", "localhost", port_of(a)))
    assert.equal("x", (a:recv()))
    local _, _, code = b:send("x", "no-such-host.invalid", 9)
    has("EAI_", code)
    six:close()
  end))

  it("reaches IPv4 from a socket for IPv6", two(function(a, _, port)
    local six, _, code = aio.udp.bind("::")
    if not six then
      pending("no IPv6 here: " .. code)
      return
    end
    assert(six:send("x", HERE, port))
    local data, host, from = a:recv()
    assert.equal("x", data)
    assert(a:send("y", host, from))
    assert.equal("y", (six:recv()))
    six:close()
  end))

  it("says what is too long", two(function(_, b, port)
    failed("EMSGSIZE", b:send(("x"):rep(70000), HERE, port))
    has(("send %s:%d"):format(HERE, port),
      select(2, b:send(("x"):rep(70000), HERE, port)))
  end))

  it("sends nothing when cancelled before", two(function(a, b, port)
    failed("ETIMEDOUT", aio.timeout(0, b.send, b, "x", HERE, port))
    failed("ETIMEDOUT", aio.timeout(0.01, a.recv, a))
  end))

  it("fails after close", two(function(_, b, port)
    b:close()
    failed("ECLOSED", b:send("x", HERE, port))
    failed("ECLOSED", b:sockname())
    failed("ECLOSED", b:protocol {})
    failed("ECLOSED", b:broadcast())
  end))

  it("works in callbacks, but not with names", two(function(a, b, port)
    local e
    aio.loop():call_soon(function()
      b:send("x", HERE, port)
      e = raised(b.send, b, "x", "localhost", port)
    end):await()
    assert.equal("x", (a:recv()))
    has("numeric address expected in a callback", e)
  end))
end)

describe("a connected socket", function()
  it("talks to its peer only", two(function(a, b, port)
    local c <close> = assert(aio.udp.connect(HERE, port))
    values({ HERE, port }, c:peername())
    assert(c:send "question")
    local _, host, from = a:recv()
    b:send("not from the peer", host, from)
    a:send("answer", host, from)
    values({ "answer", HERE, port }, c:recv())
  end))

  it("is told by the next recv that nobody is there", real(function()
    local port = free_port()
    local c <close> = assert(aio.udp.connect(HERE, port))
    assert(c:send "x")
    failed("ECONNREFUSED", c:recv())
    has(("recv %s:%d"):format(HERE, port), (function()
      c:send "x"
      return select(2, c:recv())
    end)())
  end))

  it("is told while it waits, and goes on", real(function()
    local port = free_port()
    local c <close> = assert(aio.udp.connect(HERE, port))
    local task = parked(c.recv, c)
    assert(c:send "x")
    failed("ECONNREFUSED", task:await())
    local a <close> = assert(aio.udp.bind(HERE, port))
    assert(c:send "again")
    local _, host, from = a:recv()
    a:send("answer", host, from)
    assert.equal("answer", (c:recv()))
  end))

  it("is told by the next send", real(function()
    local c <close> = assert(aio.udp.connect(HERE, free_port()))
    assert(c:send "x")
    turn(3)
    failed("ECONNREFUSED", c:send "y")
  end))

  it("connects to a name", two(function()
    local a <close> = assert(aio.udp.bind("localhost"))
    local c <close> = assert(aio.udp.connect("localhost", port_of(a)))
    assert(c:send "x")
    assert.equal("x", (a:recv()))
  end))
end)

describe("a socket nobody holds", function()
  it("is closed, and reported in debug", function()
    local kinds = helper.log()
    helper.run(function()
      assert(aio.udp.bind(HERE))
      collectgarbage()
      collectgarbage()
      turn(2)
    end, { debug = { slow = false }, on_error = function(e, info)
      kinds(info.kind)
      has("collected before it was closed", e)
    end })
    assert.equal("leak", kinds:text())
  end)

  it("lives while a task receives", two(function(_, b)
    local task, port
    do
      local a = assert(aio.udp.bind(HERE))
      port, task = port_of(a), parked(a.recv, a)
    end
    collectgarbage()
    collectgarbage()
    turn(2)
    b:send("x", HERE, port)
    assert.equal("x", (task:await()))
  end))

  it("is closed at the end of the run", helper.bare(function(clock)
    clock:close()
    local a
    aio.run(function() a = assert(aio.udp.bind(HERE)) end)
    failed("ECLOSED", a:recv())
  end))
end)

-- Callback style --------------------------------------------------------------

local function recorder(over)
  local p = { log = helper.log(), lost = aio.future() }
  function p:connection_made(udp)
    self.log "made"
    self.udp = udp
  end
  function p:datagram_received(data, host, port)
    self.log("data", data)
    self.host, self.port = host, port
    return over and over(self, data)
  end
  function p:error_received(e)
    self.log("error", e.code)
  end
  function p:connection_lost(e)
    self.log("lost", e)
    self.lost:resolve()
  end
  return p
end

describe("a protocol", function()
  it("is told in order, not at once", two(function(a, b, port)
    local p = recorder()
    b:send("one", HERE, port)
    assert.equal(a, a:protocol(p))
    assert.equal("", p.log:text())
    turn(2)
    b:send("two", HERE, port)
    turn(2)
    assert.equal(a, p.udp)
    values({ HERE, port_of(b) }, p.host, p.port)
    a:close()
    p.lost:await()
    assert.equal("made data:one data:two lost:nil", p.log:text())
  end))

  it("may answer, and be made by a function", two(function(_, b)
    local a <close> = assert(aio.udp.bind(HERE, 0, { protocol = function()
      return recorder(function(p, data)
        p.udp:send(data:upper(), p.host, p.port)
      end)
    end }))
    b:send("hello", HERE, port_of(a))
    assert.equal("HELLO", (b:recv()))
  end))

  it("is told of errors", real(function()
    local p = recorder()
    local port = free_port()
    local c <close> = assert(aio.udp.connect(HERE, port, { protocol = p }))
    assert(c:send "x")
    turn(3)
    assert.equal("made error:ECONNREFUSED", p.log:text())
  end))

  it("that raises loses the socket", function()
    local p, kinds = recorder(function() error("oops", 0) end), helper.log()
    helper.run(function()
      local a = assert(aio.udp.bind(HERE))
      a:send("x", a:sockname())
      a:protocol(p)
      p.lost:await()
      failed("ECLOSED", a:recv())
    end, { on_error = function(e, info) kinds(info.kind, e) end })
    assert.equal("made data:x lost:oops", p.log:text())
    assert.equal("callback:oops", kinds:text())
  end)

  it("cannot be received beside", two(function(a, b, port)
    a:protocol {}
    has("EBUSY: this socket has a protocol", raised(a.recv, a))
    local task = parked(b.recv, b)
    has("EBUSY: a task receives", raised(b.protocol, b, {}))
    task:cancel()
    b:send("ignored", HERE, port)
    turn(2)
  end))

  it("gives back, and nothing is lost", two(function(a, b, port)
    local p = recorder()
    a:protocol(p)
    turn()
    assert.equal(a, a:protocol(nil))
    b:send("x", HERE, port)
    assert.equal("x", (a:recv()))
    assert.equal("made", p.log:text())
  end))

  it("keeps its socket alive", two(function(_, b)
    local p, port = recorder()
    do
      local a = assert(aio.udp.bind(HERE, 0, { protocol = p }))
      port = port_of(a)
    end
    turn()
    p.udp = nil
    collectgarbage()
    collectgarbage()
    b:send("x", HERE, port)
    turn(2)
    assert.equal("made data:x", p.log:text())
  end))

  it("is handed a burst without starving others", two(function(a, b, port)
    local others = 0
    local p = recorder()
    for i = 1, 200 do
      b:send(tostring(i), HERE, port)
    end
    a:protocol(p)
    repeat
      aio.yield()
      others = others + 1
    until #p.log >= 201
    assert.equal("data:200", p.log[201])
    assert.is_true(others >= 3)
  end))

  it("that is none is refused", two(function(a)
    has("bad argument", raised(a.protocol, a, 1))
    has("bad argument", raised(a.protocol, a, "p"))
    has("a protocol must be a table", raised(a.protocol, a, function() end))
  end))
end)

-- Groups ----------------------------------------------------------------------

describe("broadcast", function()
  it("must be asked for", two(function(_, b)
    local a <close> = assert(aio.udp.bind("0.0.0.0"))
    failed("EACCES", b:send("x", "127.255.255.255", port_of(a)))
    assert.equal(b, b:broadcast())
    assert(b:send("x", "127.255.255.255", port_of(a)))
    assert.equal("x", (a:recv()))
    assert.equal(b, b:broadcast(false))
    failed("EACCES", b:send("x", "127.255.255.255", port_of(a)))
  end))
end)

describe("multicast", function()
  it("reaches those who have joined", real(function()
    local opts = { reuseaddr = true }
    local a <close> = assert(aio.udp.bind("0.0.0.0", 0, opts))
    local b <close> = assert(aio.udp.bind("0.0.0.0", port_of(a), opts))
    local c <close> = assert(aio.udp.bind(HERE))
    assert.equal(a, a:join("239.7.7.7", "lo"))
    assert(b:join("239.7.7.7", "lo"))
    assert.equal(c, c:multicast { interface = "lo", ttl = 1, loop = true })
    assert(c:send("all", "239.7.7.7", port_of(a)))
    assert.equal("all", (a:recv()))
    assert.equal("all", (b:recv()))
    assert.equal(a, a:leave("239.7.7.7", "lo"))
    failed("EADDRNOTAVAIL", a:leave("239.7.7.7", "lo"))
  end))

  it("reaches those who want this source", real(function()
    local a <close> = assert(aio.udp.bind("0.0.0.0"))
    local c <close> = assert(aio.udp.bind(HERE))
    assert(a:join("232.7.7.7", "lo", HERE))
    c:multicast { interface = "lo" }
    assert(c:send("from here", "232.7.7.7", port_of(a)))
    assert.equal("from here", (a:recv()))
    assert(a:leave("232.7.7.7", "lo", HERE))
  end))

  it("is set for IPv6 as well", real(function()
    local a, _, code = aio.udp.bind("::")
    if not a then
      pending("no IPv6 here: " .. code)
      return
    end
    local _ <close> = a
    assert(a:join("ff01::7", "lo"))
    assert(a:multicast { interface = "lo", ttl = 3, loop = false })
    assert(a:leave("ff01::7", "lo"))
  end))

  it("says what is wrong", two(function(a)
    failed("ENODEV", a:join("239.7.7.7", "no-such-if"))
    failed("ENODEV", a:multicast { interface = "no-such-if" })
    failed("EINVAL", a:join("127.0.0.1", "lo"))
    has("numeric address expected", raised(a.join, a, "group"))
    has("unknown option 'tll'", raised(a.multicast, a, { tll = 1 }))
    has("'ttl' must be an integer", raised(a.multicast, a, { ttl = 256 }))
    has("'interface' must be a name", raised(a.multicast, a, { interface = 1 }))
  end))
end)

-- A full kernel ---------------------------------------------------------------

-- What was sent is with the sender's socket until it has passed.
local SLOW = "tc qdisc add dev lo root tbf rate 4mbit burst 70000 limit 100000000"

describe("a send without room in the kernel", function()
  it("waits, in order, and others are cancelled", function()
    local out, why = ends.namespace(SLOW, [[
      aio.run(function()
        local a <close> = assert(aio.udp.bind("127.0.0.1"))
        local b <close> = assert(aio.udp.bind("127.0.0.1"))
        local host, port = a:sockname()
        local block, n = ("x"):rep(30000), 0
        local function send(i)
          assert(b:send(i .. block, host, port))
          return i
        end
        while aio.timeout(0.001, send, n) do n = n + 1 end
        local e
        aio.loop():call_soon(function()
          e = select(3, b:send(block, host, port))
        end):await()
        print(e)
        local tasks = {}
        for i = 1, 4 do tasks[i] = aio.spawn(send, n + i) end
        aio.yield()
        tasks[2]:cancel()
        for i = 1, 4 do print(i, tasks[i]:join()) end
        local last = 0
        for i = 1, n + 3 do
          last = tonumber((a:recv()):match "^(%d+)x")
        end
        print(last == n + 4)
        local waiting = {}
        while aio.timeout(0.001, send, n) do n = n + 1 end
        for i = 1, 2 do waiting[i] = aio.spawn(b.send, b, block, host, port) end
        aio.yield()
        b:close()
        print(select(3, waiting[1]:await()), select(3, waiting[2]:await()))
      end)]])
    if not out then
      pending(why)
      return
    end
    out = out:gsub("\t%d+\n", "\tn\n"):gsub("\tperilune[^\n]*", ""):gsub("(2\tfalse)[^\n]*", "%1")
    assert.equal("EAGAIN\n1\ttrue\tn\n2\tfalse\n3\ttrue\tn\n4\ttrue\tn\n"
      .. "true\nECLOSED\tECLOSED\n", out)
  end)
end)

-- Others ----------------------------------------------------------------------

describe("with others:", function()
  it("answers a Python client", real(function()
    local a <close> = assert(aio.udp.bind(HERE))
    local pipe = ends.python([[
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
for i in range(20):
    s.sendto(b"line %d" % i, ("127.0.0.1", int(arg)))
    assert s.recv(100) == b"LINE %d" % i
print("well")
]], tostring(port_of(a)))
    for _ = 1, 20 do
      local data, host, port = a:recv()
      assert(a:send(data:upper(), host, port))
    end
    assert.equal("well\n", pipe:read "a")
    pipe:close()
  end))

  it("receives what socat and nc send", real(function()
    local a <close> = assert(aio.udp.bind(HERE))
    os.execute(("printf one | env -u LD_PRELOAD socat -u - "
      .. "UDP:127.0.0.1:%d"):format(port_of(a)))
    assert.equal("one", (a:recv()))
    os.execute(("printf two | env -u LD_PRELOAD timeout 5 nc -u -w 1 -q 0 "
      .. "127.0.0.1 %d >/dev/null"):format(port_of(a)))
    assert.equal("two", (a:recv()))
  end))
end)
