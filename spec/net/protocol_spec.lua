-- Transports in callback style.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local ends = require "spec.net.ends"
local helper = require "spec.helper"

local failed, has, raised, real = helper.failed, helper.has, helper.raised, helper.real
local parked, turn = ends.parked, ends.turn

local METHODS = { "connection_made", "data_received", "eof_received", "pause_writing",
  "resume_writing", "connection_lost" }
local SHORT = { connection_made = "made", data_received = "data", eof_received = "eof",
  pause_writing = "pause", resume_writing = "resume", connection_lost = "lost" }

-- A protocol that logs what it is told; `lost` is done at the end.
local function recorder(over)
  local p = { log = helper.log(), lost = aio.future(), over = over or {} }
  for _, name in ipairs(METHODS) do
    p[name] = function(self, value)
      local word = SHORT[name]
      if name == "data_received" then
        self.log(word, value)
      elseif name == "connection_lost" then
        self.log(word, type(value) == "table" and value.code or value)
        self.lost:resolve(value)
      else
        self.log(word)
      end
      self.conn = name == "connection_made" and value or self.conn
      if self.over[name] then
        return self.over[name](self, value)
      end
    end
  end
  return p
end

-- Runs the case with a recorder at one end of a pair.
local function with(over, case)
  return real(function()
    local a, b = ends.unix()
    local _ <close> = ends.held(a, b)
    local p = recorder(over)
    assert.equal(a, a:protocol(p))
    case(p, b, a)
  end)
end

describe("a protocol", function()
  it("is told in order", with({}, function(p, b, a)
    turn()
    assert.equal(a, p.conn)
    b:write "one"
    turn(2)
    b:write "two"
    b:close()
    assert.is_nil(p.lost:await())
    assert.equal("made data:one data:two eof lost:nil", p.log:text())
    failed("ECLOSED", a:write "x")
  end))

  it("is told in the turn, not at once", with({}, function(p)
    assert.equal("", p.log:text())
    turn()
    assert.equal("made", p.log:text())
  end))

  it("may lack any method", real(function()
    local a, b = ends.unix()
    a:protocol {}
    b:write "ignored"
    b:shutdown()
    assert.equal("", b:read "a")
    b:close()
  end))

  it("may answer", with({
    data_received = function(self, data) self.conn:write(data:upper()) end,
  }, function(_, b)
    b:write "abc"
    assert.equal("ABC", b:read_some())
    b:shutdown()
    assert.equal("", b:read "a")
  end))

  it("keeps our side open if eof_received returns true", with({
    eof_received = function() return true end,
  }, function(p, b, a)
    b:shutdown()
    turn(5)
    a:write "still"
    assert.equal("still", b:read_some())
    a:close()
    p.lost:await()
    assert.equal("made eof lost:nil", p.log:text())
  end))

  it("hears that we closed", with({}, function(p, _, a)
    turn()
    a:close()
    p.lost:await()
    assert.equal("made lost:nil", p.log:text())
  end))

  it("hears nothing if it was closed before anything", with({}, function(p, _, a)
    a:close()
    turn(3)
    assert.equal("", p.log:text())
  end))

  it("hears when what was written is gone", with({}, function(p, b, a)
    turn()
    aio.loop():call_soon(function()
      a:write(("x"):rep(1 << 20))
      a:close()
    end):await()
    turn(3)
    assert.equal("pending", (p.lost:peek()))
    assert.equal(1 << 20, #b:read "a")
    assert.is_nil(p.lost:await())
  end))

  it("hears why the connection was lost", real(function()
    local a, b = ends.tcp()
    local p = recorder()
    a:protocol(p)
    turn(2)
    b:abort()
    local e = p.lost:await()
    assert.equal("ECONNRESET", e.code)
    has("ECONNRESET: connection reset by peer (read 127.0.0.1:", e)
  end))

  it("that raises is told, and the connection is aborted", function()
    local log = helper.log()
    helper.run(function()
      local a, b = ends.unix()
      local p = recorder { data_received = function() error("broken", 0) end }
      a:protocol(p)
      b:write "x"
      assert.equal("broken", p.lost:await())
      assert.equal("made data:x lost:broken", p.log:text())
      assert.is_nil(b:read())
      b:close()
    end, { on_error = function(err, info) log(err, info.kind, info.traceback ~= nil) end })
    assert.equal("broken:callback:true", log:text())
  end)

  it("may raise anything anywhere", function()
    for _, method in ipairs(METHODS) do
      local reported = 0
      helper.run(function()
        local a, b = ends.unix()
        local p = recorder { [method] = function() error(nil) end }
        a:protocol(p)
        turn()
        if method == "pause_writing" or method == "resume_writing" then
          aio.loop():call_soon(function() a:write(("x"):rep(1 << 20)) end)
          turn(3)
          b:read(1 << 20)
          turn(3)
        end
        b:write "x"
        b:shutdown()
        b:read "a"
        p.lost:await()
        b:close()
      end, { on_error = function() reported = reported + 1 end })
      assert.equal(1, reported, method)
    end
  end)

  it("may be any object, with methods from elsewhere", real(function()
    local a, b = ends.unix()
    local got = {}
    local class = { data_received = function(_, data) got[#got + 1] = data end }
    a:protocol(setmetatable({}, { __index = class }))
    b:write "x"
    b:shutdown()
    b:read "a"
    assert.same({ "x" }, got)
    b:close()
  end))

  it("may be made by a function", real(function()
    local a, b = ends.unix()
    local p
    a:protocol(function(conn)
      assert.equal(a, conn)
      p = recorder()
      return p
    end)
    b:close()
    p.lost:await()
    assert.equal("made eof lost:nil", p.log:text())
  end))

  it("must be something", real(function()
    local a, b = ends.unix()
    local _ <close> = ends.held(a, b)
    has("bad argument #1 to 'protocol'", raised(function() a:protocol() end))
    has("bad argument #1 to 'protocol'", raised(function() a:protocol "x" end))
    has("must be a table", raised(function() a:protocol(function() end) end))
    b:write "x"
    assert.equal("x", a:read_some())
  end))

  it("is kept with its transport until the end", real(function()
    local function make()
      local a, b = ends.unix()
      local p = { data_received = function(self, data) self.conn:write(data) end,
        connection_made = function(self, conn) self.conn = conn end }
      a:protocol(p)
      return b, setmetatable({ a, p }, { __mode = "v" })
    end
    local b, weak = make()
    for _ = 1, 3 do
      collectgarbage()
      b:write "ping"
      assert.equal("ping", b:read_some())
    end
    b:close()
    turn(6)
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(weak))
  end))

  it("runs in the context in which the transport was made", real(function()
    local var = aio.context.var("who", "nobody")
    local p, b
    aio.spawn(function()
      var:set "maker"
      local a
      a, b = ends.unix()
      p = recorder { data_received = function(self) self.who = var:get() end }
      a:protocol(p)
    end):await()
    b:write "x"
    b:close()
    p.lost:await()
    assert.equal("maker", p.who)
    assert.equal("nobody", var:get())
  end))

  it("cannot wait", with({
    data_received = function(self) self.result = { pcall(aio.sleep, 1) } end,
  }, function(p, b)
    b:write "x"
    b:close()
    p.lost:await()
    has("callback", p.result[2])
  end))
end)

describe("pause and resume", function()
  it("hold back what comes", with({}, function(p, b, a)
    turn()
    assert.equal(a, a:pause())
    b:write "one"
    turn(5)
    assert.equal("made", p.log:text())
    assert.equal(a, a:resume())
    turn(5)
    assert.equal("made data:one", p.log:text())
  end))

  it("slow down the peer", with({}, function(p, b, a)
    turn()
    a:pause()
    local n = ends.fill(b)
    assert.is_true(n < 1 << 24)
    assert.equal("made", p.log:text())
    p.over.data_received = function(_, data) n = n - #data end
    p.log = helper.log()
    a:resume()
    b:close()
    p.lost:await()
    assert.equal(0, n)
  end))

  it("can be called in callbacks", with({
    data_received = function(self, data)
      self.conn:pause()
      aio.loop():call_soon(function()
        self.log("resumed", #data)
        self.conn:resume()
      end)
    end,
  }, function(p, b)
    b:write "12"
    turn(6)
    b:write "345"
    b:close()
    p.lost:await()
    assert.equal("made data:12 resumed:2 data:345 resumed:3 eof lost:nil", p.log:text())
  end))
end)

describe("pause_writing", function()
  it("comes above the high-water mark, resume_writing at the low one", with({}, function(p, b, a)
    turn()
    local n = 0
    while not p.log:text():find "pause" do
      aio.loop():call_soon(function()
        n = n + 30000
        assert.equal(a, a:write(("x"):rep(30000)))
      end):await()
      turn(2)
    end
    assert.equal("made pause", p.log:text())
    b:read_exactly(n)
    turn(3)
    assert.equal("made pause resume", p.log:text())
  end))

  it("does not come for what the kernel takes", with({}, function(p, _, a)
    turn()
    for _ = 1, 10 do
      aio.loop():call_soon(function() a:write(("x"):rep(1000)) end):await()
    end
    turn(3)
    assert.equal("made", p.log:text())
  end))
end)

describe("conn:protocol(nil)", function()
  it("gives reading back, and nothing is lost", with({}, function(p, b, a)
    p.over.data_received = function() a:protocol(nil) end
    b:write "first"
    turn(4)
    b:write "second\n"
    assert.equal("second", a:read())
    assert.equal("made data:first", p.log:text())
    b:write "third\n"
    b:close()
    assert.equal("third", a:read())
    assert.is_nil(a:read())
    assert.equal("made data:first", p.log:text())
  end))

  it("keeps what was read ahead for the next one", with({}, function(_, b, a)
    a:protocol(nil)
    b:write "line\nmore"
    assert.equal("line", a:read())
    local q = recorder()
    a:protocol(q)
    b:close()
    q.lost:await()
    assert.equal("made data:more eof lost:nil", q.log:text())
  end))

  it("switches from one protocol to another", with({}, function(p, b, a)
    local q = recorder()
    turn()
    b:write "1"
    turn(3)
    a:protocol(q)
    b:write "2"
    b:close()
    q.lost:await()
    assert.equal("made data:1", p.log:text())
    assert.equal("made data:2 eof lost:nil", q.log:text())
  end))

  it("is refused while a task reads, and the other way round", real(function()
    local a, b = ends.unix()
    local reader = parked(a.read, a)
    assert.equal("EBUSY", raised(a.protocol, a, {}).code)
    b:write "x\n"
    reader:await()
    a:protocol {}
    assert.equal("EBUSY", raised(a.read, a).code)
    has("conn:protocol(nil)", raised(a.read, a))
    b:close()
    a:close()
  end))
end)

describe("connecting and listening", function()
  it("take a protocol as an option", real(function()
    local made = {}
    local server = assert(aio.tcp.listen("127.0.0.1", 0, { protocol = function(conn)
      local p = recorder { data_received = function(self, data) self.conn:write(data) end }
      assert.equal("perilune.tcp", getmetatable(conn).__name)
      made[#made + 1] = p
      return p
    end }))
    local _, port = server:sockname()
    for i = 1, 3 do
      local p = recorder { data_received = function(self) self.conn:close() end }
      local conn = assert(aio.tcp.connect("127.0.0.1", port, { protocol = p }))
      conn:write(i)
      p.lost:await()
      assert.equal(("made data:%d lost:nil"):format(i), p.log:text())
    end
    for i = 1, 3 do
      made[i].lost:await()
      assert.equal(("made data:%d eof lost:nil"):format(i), made[i].log:text())
    end
    assert.equal("EBUSY", raised(server.accept, server).code)
    server:close()
  end))

  it("go on when a factory fails", function()
    local log = helper.log()
    helper.run(function()
      local server = assert(aio.tcp.listen("127.0.0.1", 0, { protocol = function()
        error("no", 0)
      end }))
      local _, port = server:sockname()
      for _ = 1, 2 do
        local conn = aio.tcp.connect("127.0.0.1", port) -- or it is reset
        assert.is_nil(conn and conn:read())
      end
      server:close()
    end, { on_error = function(err, info) log(err, info.kind) end })
    assert.equal("no:callback no:callback", log:text())
  end)

  it("keep a server with a protocol that nobody holds", real(function()
    local conn
    do
      local server = assert(aio.tcp.listen("127.0.0.1", 0, { protocol = function(c)
        c:write "hello"
        c:close()
        return {}
      end }))
      local _, port = server:sockname()
      server = nil
      turn(2)
      collectgarbage()
      collectgarbage()
      turn(2)
      conn = assert(aio.tcp.connect("127.0.0.1", port))
    end
    assert.equal("hello", conn:read "a")
    conn:close()
  end))
end)
