-- Transports: reading and writing, at once, later, cancelled and closed.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local ends = require "spec.net.ends"
local helper = require "spec.helper"

local failed, has, raised, real, values = helper.failed, helper.has,
  helper.raised, helper.real, helper.values
local parked, turn = ends.parked, ends.turn

-- Cases that hold for both kinds of sockets. `case` gets two ends.
local function both(name, case)
  for _, kind in ipairs { "tcp", "unix", "memory" } do
    it(name .. " (" .. kind .. ")", real(function()
      local a, b = ends[kind]()
      local _ <close> = ends.held(a, b)
      case(a, b)
    end))
  end
end

local function say(conn, ...)
  assert(conn:write(...))
  assert(conn:flush())
end

describe("read", function()
  both("reads a line without its end", function(a, b)
    say(b, "one\ntwo\n\nthree")
    b:close()
    assert.equal("one", a:read())
    assert.equal("two", a:read "l")
    assert.equal("", a:read "*l")
    assert.equal("three", a:read "l")
    values({ nil, n = 1 }, a:read "l")
  end)

  both("reads a line with its end", function(a, b)
    say(b, "one\r\ntwo")
    b:close()
    assert.equal("one\r\n", a:read "L")
    assert.equal("two", a:read "L")
    values({ nil, n = 1 }, a:read "L")
  end)

  both("reads a number of bytes, fewer only at the end", function(a, b)
    say(b, "abcdefgh")
    b:close()
    assert.equal("abc", a:read(3))
    assert.equal("", a:read(0))
    assert.equal("defgh", a:read(100))
    values({ nil, n = 1 }, a:read(1))
    values({ nil, n = 1 }, a:read(0))
  end)

  both("reads everything up to the end", function(a, b)
    local reader = parked(a.read, a, "a")
    for i = 1, 100 do
      say(b, ("%d "):format(i))
    end
    b:close()
    local all = reader:await()
    assert.equal("1 2 3", all:sub(1, 5))
    assert.equal("99 100 ", all:sub(-7))
    assert.equal("", a:read "a")
  end)

  both("takes several formats at once", function(a, b)
    say(b, "line\n12345rest")
    b:close()
    values({ "line", "12345", "rest", nil, n = 4 }, a:read("l", 5, "a", "l", "l"))
  end)

  both("reads lines that come in pieces", function(a, b)
    local reader = parked(function()
      return { a:read("l", "l", "l") }
    end)
    for _, piece in ipairs { "o", "ne", "\n", "two\nth", "re", "e\n" } do
      say(b, piece)
      turn(2)
    end
    assert.same({ "one", "two", "three" }, reader:await())
  end)

  both("completes at once if the data is there", function(a, b)
    say(b, "one\ntwo\n")
    a:read(1)
    local other = false
    aio.spawn(function() other = true end)
    assert.equal("ne", a:read())
    assert.equal("two", a:read())
    assert.is_false(other)
  end)

  both("lets others run after many reads that completed at once", function(a, b)
    say(b, ("x\n"):rep(1000))
    a:read()
    local other = false
    aio.spawn(function() other = true end)
    for _ = 1, 400 do
      a:read()
    end
    assert.is_true(other)
  end)

  both("refuses a line that is too long, and keeps it", function(a, b)
    local long = ("x"):rep(70000)
    aio.spawn(b.write, b, long, "\nshort\n")
    failed("ELIMIT", a:read())
    failed("ELIMIT", a:read(10, "l"))
    assert.equal(long, a:read_exactly(70000))
    assert.equal("", a:read())
    assert.equal("short", a:read())
  end)

  both("takes a line of just the limit", function(a, b)
    aio.spawn(b.write, b, ("x"):rep(65535), "\n", ("y"):rep(65536), "\n")
    assert.equal(65535, #a:read())
    failed("ELIMIT", a:read())
  end)

  both("gives all data before the end", function(a, b)
    local block = ("0123456789"):rep(20000)
    aio.spawn(function()
      b:write(block, block, block)
      b:close()
    end)
    local got = {}
    for data in function() return a:read_some(7777) end do
      got[#got + 1] = data
    end
    assert.equal(block .. block .. block, table.concat(got))
  end)

  both("raises for a format that does not exist", function(a)
    has("bad argument #2 to 'read' (invalid format 'n'; it is",
      raised(function() a:read(1, "n") end))
    has("bad argument #1 to 'read'", raised(function() a:read {} end))
    has("number of bytes expected", raised(function() a:read(-1) end))
  end)

  it("raises for what is no transport", real(function()
    local a, b = ends.tcp()
    local _ <close> = ends.held(a, b)
    has("transport expected, got table", raised(a.read, {}))
    has("transport expected, got FILE*", raised(a.read, io.stdout))
    local c, d = ends.unix()
    local _ <close> = ends.held(c, d)
    has("perilune.tcp expected, got perilune.unix", raised(a.nodelay, c))
    assert.equal("x", c:write("x") and a.read(d, 1))
  end))

  it("consumes nothing when it fails for lack of a connection", real(function()
    local server <close> = assert(aio.tcp.listen("127.0.0.1", 0))
    local _, port = server:sockname()
    local peer = ends.python([[
s = socket.create_connection(("127.0.0.1", int(arg)))
s.sendall(b"some data")
s.recv(1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
s.close()
]], port)
    local conn <close> = assert(server:accept())
    assert.equal("some ", conn:read(5))
    conn:write "x"
    local _, message = failed("ECONNRESET", conn:read "l")
    assert.is_nil(message)
    has("(read 127.0.0.1:", select(2, conn:read "l"))
    assert.equal("data", conn:read_some())
    failed("ECONNRESET", conn:read_some())
    peer:close()
  end))
end)

describe("the other ways to read", function()
  both("read_some: what is there, at most so much", function(a, b)
    say(b, "abcdef")
    assert.equal("ab", a:read_some(2))
    assert.equal("cdef", a:read_some())
    local reader = parked(a.read_some, a)
    say(b, "late")
    assert.equal("late", reader:await())
    b:close()
    values({ nil, n = 1 }, a:read_some())
    has("bad argument #1", raised(function() a:read_some(0) end))
  end)

  both("read_exactly: all, or what came before the end", function(a, b)
    say(b, "abcdef")
    assert.equal("abcd", a:read_exactly(4))
    assert.equal("", a:read_exactly(0))
    b:close()
    local none, message, code, partial = a:read_exactly(4)
    assert.is_nil(none)
    has("EOF: ", message)
    assert.equal("EOF", code)
    assert.equal("ef", partial)
    assert.equal("", select(4, a:read_exactly(4)))
  end)

  both("read_exactly: more than any buffer holds", function(a, b)
    local block = ("0123456789abcdef"):rep(100000)
    local writer = aio.spawn(b.write, b, block, "rest")
    assert.equal(block, a:read_exactly(#block))
    assert.equal("rest", a:read_some())
    writer:await()
  end)

  both("read_until: up to a delimiter", function(a, b)
    say(b, "one--two--")
    assert.equal("one", a:read_until "--")
    assert.equal("two--", a:read_until("--", { keep = true }))
    say(b, "rest")
    b:close()
    local none, _, code, partial = a:read_until "--"
    assert.is_nil(none)
    assert.equal("EOF", code)
    assert.equal("rest", partial)
    values({ nil, n = 1 }, a:read_until "--")
  end)

  both("read_until: a delimiter that comes in pieces", function(a, b)
    local reader = parked(a.read_until, a, "abac")
    for c in ("xababababac!"):gmatch "." do
      say(b, c)
      turn(2)
    end
    assert.equal("xababab", reader:await())
    assert.equal("!", a:read_some())
  end)

  both("read_until: has a limit", function(a, b)
    say(b, "12345678--")
    failed("ELIMIT", a:read_until("--", { limit = 9 }))
    assert.equal("12345678", a:read_until("--", { limit = 10 }))
    say(b, "1234567890")
    failed("ELIMIT", a:read_until("--", { limit = 10 }))
    has("empty delimiter", raised(function() a:read_until "" end))
    has("option 'limit'", raised(function() a:read_until("x", { limit = 0 }) end))
    has("unknown option 'limt'",
      raised(function() a:read_until("x", { limt = 9 }) end))
  end)

  both("peek consumes nothing", function(a, b)
    say(b, "abcdef")
    assert.equal("abc", a:peek(3))
    assert.equal("abcdef", a:peek(6))
    assert.equal("a", a:read(1))
    b:close()
    assert.equal("bcdef", a:peek(100))
    assert.equal("bcdef", a:read "a")
    values({ nil, n = 1 }, a:peek(1))
  end)

  both("lines iterates to the end", function(a, b)
    local got = {}
    say(b, "1\n2\n3")
    b:close()
    for line in a:lines() do
      got[#got + 1] = line
    end
    assert.same({ "1", "2", "3" }, got)
  end)

  both("lines takes any format", function(a, b)
    local got = {}
    say(b, "abcdefgh")
    b:close()
    for block in a:lines(3) do
      got[#got + 1] = block
    end
    for all in a:lines "a" do
      got[#got + 1] = all
    end
    assert.same({ "abc", "def", "gh" }, got)
  end)

  both("lines raises where read would fail", function(a, b)
    aio.spawn(b.write, b, "1\n", ("x"):rep(70000), "\n")
    local e = raised(function()
      for line in a:lines() do
        assert.equal("1", line)
      end
    end)
    assert.equal("ELIMIT", e.code)
    has("ELIMIT: longer than the limit (read", e)
    a:close()
    assert.equal("ECLOSED", raised(a:lines()).code)
  end)

  -- What comes is compared with what was sent, in random pieces.
  both("agree about random data", function(a, b)
    math.randomseed(42)
    local pieces = {}
    for i = 1, 3000 // helper.slow do
      local n = math.random(0, 1) == 0 and math.random(0, 40) or math.random(0, 4000)
      local text = {}
      for k = 1, n // 8 + 1 do
        text[k] = ("%x"):format(math.random(0, 0xffffffff))
      end
      pieces[i] = table.concat(text, math.random(5) == 1 and "\n" or "")
    end
    aio.spawn(function()
      for i, piece in ipairs(pieces) do
        b:write(piece)
        if i % 7 == 0 then
          aio.yield()
        end
      end
      b:shutdown()
    end)
    local got = {}
    local ways = {
      function() return a:read_some(math.random(1, 1000)) end,
      function() return a:read "L" end,
      function() return a:read(math.random(1, 5000)) end,
      function()
        local s, _, code, partial = a:read_exactly(math.random(1, 3000))
        return s or code == "EOF" and partial ~= "" and partial or nil
      end,
      function()
        local s, _, code, partial = a:read_until("a1", { keep = true })
        return s or code == "EOF" and partial or nil
      end,
      function()
        local peeked = a:peek(math.random(1, 100))
        local read = peeked and a:read_exactly(#peeked)
        assert.equal(peeked, read)
        return read
      end,
      function()
        local x, y = a:read(3, "L")
        return x and x .. (y or "")
      end,
    }
    while true do
      local data = ways[math.random(#ways)]()
      if not data then
        break
      end
      got[#got + 1] = data
    end
    assert.is_true(table.concat(pieces) == table.concat(got))
  end)
end)

describe("a parked read", function()
  both("is left by a timeout and consumes nothing", function(a, b)
    say(b, "par")
    failed("ETIMEDOUT", aio.timeout(0.01, a.read, a))
    failed("ETIMEDOUT", aio.timeout(0.01, a.read_exactly, a, 10))
    say(b, "tial\n")
    assert.equal("partial", a:read())
  end)

  both("of several formats consumes nothing when cancelled", function(a, b)
    say(b, "one\ntwo\nthr")
    failed("ETIMEDOUT", aio.timeout(0.01, a.read, a, "l", 2, "l", "l", "l"))
    say(b, "ee\n")
    values({ "one", "two", "three" }, a:read("l", "l", "l"))
  end)

  both("does not begin in a cancelled task", function(a, b)
    say(b, "data\n")
    local task = aio.spawn(function() return a:read() end)
    task:cancel()
    assert.is_false((task:join()))
    assert.equal("cancelled", (task:peek()))
    assert.equal("data", a:read())
  end)

  both("keeps its value when it completed before the cancel", function(a, b)
    local reader = parked(a.read, a)
    local main = aio.task()
    -- Both are woken by the same poll, and main comes first.
    aio.spawn(function()
      say(b, "data\n")
      main:name "woken"
    end)
    for _ = 1, 50 do
      aio.yield()
      if (reader:info().state) == "ready" then
        break
      end
    end
    reader:cancel()
    values({ true, "data" }, reader:join())
  end)

  both("is told when the transport is closed", function(a)
    local one = parked(a.read, a)
    a:close()
    failed("ECLOSED", one:await())
  end)

  both("is told when the transport is aborted", function(a)
    local one = parked(a.read_exactly, a, 10)
    a:abort()
    failed("ECLOSED", one:await())
  end)

  both("that was woken finds the transport closed", function(a, b)
    local reader = parked(a.read, a)
    say(b, "data\n")
    while reader:info().state ~= "ready" and reader:peek() == "pending" do
      aio.yield()
    end
    a:close()
    if reader:peek() == "pending" then
      failed("ECLOSED", reader:await())
    end
  end)

  both("refuses a second reader", function(a, b)
    local one = parked(a.read, a)
    for _, second in ipairs { a.read, a.read_some, a:lines() } do
      local e = raised(second, a)
      assert.equal("EBUSY", e.code)
    end
    has("spec/net/transport_spec.lua:", raised(function() a:peek(1) end))
    say(b, "1\n2\n")
    assert.equal("1", one:await())
    assert.equal("2", a:read())
  end)

  both("refuses a second reader also when woken", function(a, b)
    local one = parked(a.read, a)
    say(b, "1\n")
    local refused
    for _ = 1, 20 do
      local ok, e = pcall(aio.timeout, 0, a.read, a)
      refused = refused or (not ok and e.code == "EBUSY")
      aio.yield()
    end
    assert.is_true(refused)
    assert.equal("1", one:await())
  end)

  both("makes way for another reader when cancelled", function(a, b)
    local one = parked(a.read, a)
    one:cancel()
    one:join()
    say(b, "1\n")
    assert.equal("1", a:read())
  end)

  both("keeps its transport from being collected", function(a, b)
    local task
    do
      local c, d = aio.unix.pair()
      task = parked(function() return d:read() end)
      d = nil
      collectgarbage()
      collectgarbage()
      turn(2)
      c:write "kept\n"
      c:flush()
    end
    assert.equal("kept", task:await())
    a:close()
    b:close()
  end)

  it("cannot be begun where no wait is possible", real(function()
    local a, b = ends.tcp()
    local _ <close> = ends.held(a, b)
    say(b, "data\n")
    has("table.sort", raised(table.sort, { 1, 2, 3 }, function() return a:read() end))
    local cb = aio.loop():call_soon(function() return a:read() end)
    has("callback", select(2, cb:join()))
    local co = helper.stock.create(function() return a:read() end)
    has("aio.coroutine", select(2, helper.stock.resume(co)))
    assert.equal("data", a:read())
  end))

  it("waits in generators", real(function()
    local a, b = ends.tcp()
    local _ <close> = ends.held(a, b)
    local words = aio.coroutine.wrap(function()
      for line in a:lines() do
        for word in line:gmatch "%w+" do
          aio.coroutine.wrap(function() aio.yield() end)()
          coroutine.yield(word)
        end
      end
    end)
    aio.spawn(function()
      b:write "one two\n"
      aio.yield()
      b:write "three\n"
      b:close()
    end)
    assert.same({ "one", "two", "three" }, { words(), words(), words() })
    assert.is_nil(words())
  end))
end)

describe("write", function()
  both("takes strings and numbers and returns the transport", function(a, b)
    assert.equal(a, a:write("a", 1, 2.5, "", "b"))
    assert.equal(a, a:write())
    a:close()
    assert.equal("a12.5b", b:read "a")
  end)

  both("raises for other types, before anything is sent", function(a, b)
    has("bad argument #2 to 'write' (string expected, got table)",
      raised(function() a:write("x", {}) end))
    a:close()
    assert.equal("", b:read "a")
  end)

  both("gathers what a task writes until it waits", function(a, b)
    for i = 1, 100 do
      a:write(i, "\n")
    end
    assert.equal(292, #b:read_some())
  end)

  both("sends at once what is not to be gathered", function(a, b)
    assert.equal(a, a:setvbuf "no")
    local turns = aio.loop():stats().turns
    a:write("x", "y")
    assert.equal("xy", b:read_some())
    assert.equal(turns, aio.loop():stats().turns)
  end)

  both("gathers up to a size", function(a, b)
    a:setvbuf("full", 10)
    a:write "12345"
    a:write "1234567"
    assert.equal("12345", b:read_some())
    assert.equal("1234567", b:read_some())
  end)

  both("keeps the order of small and big pieces", function(a, b)
    local all = {}
    aio.spawn(function()
      for i = 1, 200 do
        local piece = (tostring(i) .. ","):rep(i % 17 == 0 and 20000 or i % 50)
        all[i] = piece
        assert(a:write(piece))
      end
      a:close()
    end)
    local got = b:read "a"
    assert.is_true(table.concat(all) == got)
  end)

  both("waits above the high-water mark, then takes the whole", function(a, b)
    local n = ends.fill(a)
    local big = ("y"):rep(1 << 20)
    local writer = parked(a.write, a, big)
    assert.equal("pending", (writer:peek()))
    b:read_exactly(n)
    assert.equal(a, writer:await())
    assert.equal(big, b:read_exactly(#big))
  end)

  both("does not wait below it", function(a)
    local block = ("x"):rep(1 << 22)
    local turns = aio.loop():stats().turns
    a:write(block)
    assert.equal(turns, aio.loop():stats().turns)
    a:abort()
  end)

  both("lets writers take turns in order", function(a, b)
    local n = ends.fill(a)
    local log = helper.log()
    local writers = {}
    for i = 1, 4 do
      writers[i] = parked(function()
        a:write(("%d"):format(i):rep(70000))
        log(i)
        a:write(("%d"):format(i + 4):rep(10))
        log(i + 4)
      end)
    end
    b:read_exactly(n)
    for i = 1, 4 do
      assert.equal(("%d"):format(i):rep(70000), b:read_exactly(70000))
    end
    for i = 5, 8 do
      assert.equal(("%d"):format(i):rep(10), b:read_exactly(10))
    end
    for i = 1, 4 do
      writers[i]:await()
    end
    assert.equal("1 2 3 4 5 6 7 8", log:text())
  end)

  both("sends nothing when cancelled", function(a, b)
    local n = ends.fill(a)
    local one = parked(a.write, a, "one")
    local two = parked(a.write, a, "two")
    local three = parked(a.write, a, "three")
    two:cancel()
    b:read_exactly(n)
    one:await()
    assert.is_false((two:join()))
    three:await()
    a:close()
    assert.equal("onethree", b:read "a")
  end)

  both("is left by a timeout", function(a, b)
    local n = ends.fill(a)
    failed("ETIMEDOUT", aio.timeout(0.01, a.write, a, "never"))
    b:read_exactly(n)
    a:write "then"
    a:close()
    assert.equal("then", b:read "a")
  end)

  both("is told when the transport is closed", function(a)
    ends.fill(a)
    local one = parked(a.write, a, "one")
    local two = parked(a.flush, a)
    a:abort()
    failed("ECLOSED", one:await())
    failed("ECLOSED", two:await())
    failed("ECLOSED", a:write "three")
  end)

  both("returns the error of what was sent before", function(a, b)
    b:abort()
    local none, message, code
    for _ = 1, 100 do
      none, message, code = a:write(("x"):rep(1000))
      if not none then
        break
      end
      aio.yield()
    end
    assert.is_nil(none)
    assert.is_true(code == "EPIPE" or code == "ECONNRESET")
    has(code .. ": ", message)
    has("(write ", message)
    failed(code, a:write "again")
    failed(code, a:flush())
    failed(code, a:shutdown())
  end)

  both("wakes who waits when the peer has gone", function(a, b)
    ends.fill(a)
    local one = parked(a.write, a, "one")
    local two = parked(a.write, a, "two")
    local three = parked(a.flush, a)
    b:abort()
    for _, task in ipairs { one, two, three } do
      local none, _, code = task:await()
      assert.is_nil(none)
      assert.is_true(code == "EPIPE" or code == "ECONNRESET")
    end
  end)

  both("never waits in a callback", function(a, b)
    local n = ends.fill(a)
    local cb = aio.loop():call_soon(function()
      for _ = 1, 3 do
        assert(a:write(("z"):rep(100000)))
      end
      return "done"
    end)
    assert.equal("done", cb:await())
    b:read_exactly(n)
    assert.equal(("z"):rep(300000), b:read_exactly(300000))
  end)
end)

describe("flush", function()
  both("returns at once when the kernel has it all", function(a, b)
    local turns = aio.loop():stats().turns
    a:write "x"
    assert.equal(a, a:flush())
    assert.equal("x", b:read_some())
    assert.equal(turns, aio.loop():stats().turns)
  end)

  both("waits until the kernel has it", function(a, b)
    local n = ends.fill(a)
    local flusher = parked(a.flush, a)
    turn(3)
    assert.equal("pending", (flusher:peek()))
    b:read_exactly(n)
    assert.equal(a, flusher:await())
  end)

  both("does not wait for what is written later", function(a, b)
    local n = ends.fill(a)
    local flusher = parked(a.flush, a)
    local later = parked(a.write, a, ("y"):rep(1 << 22))
    b:read_exactly(n)
    assert.equal(a, flusher:await())
    a:abort()
    later:join()
  end)

  both("is left by a timeout, and by two at once", function(a, b)
    local n = ends.fill(a)
    failed("ETIMEDOUT", aio.timeout(0.01, a.flush, a))
    local one, two = parked(a.flush, a), parked(a.flush, a)
    one:cancel()
    b:read_exactly(n)
    assert.equal(a, two:await())
    assert.is_false((one:join()))
  end)
end)

describe("shutdown", function()
  both("ends our side, and the other stays open", function(a, b)
    a:write "last words"
    assert.equal(a, a:shutdown())
    assert.equal("last words", b:read "a")
    failed("EPIPE", a:write "more")
    b:write "answer"
    b:close()
    assert.equal("answer", a:read "a")
    assert.equal(a, a:shutdown())
  end)

  both("waits until all is sent, behind the writers", function(a, b)
    local n = ends.fill(a)
    local writer = parked(a.write, a, "tail")
    local shut = parked(a.shutdown, a)
    local late = parked(a.write, a, "late")
    turn(3)
    assert.equal("pending", (shut:peek()))
    local all = b:read "a"
    assert.equal(n + 4, #all)
    assert.equal(a, writer:await())
    assert.equal(a, shut:await())
    failed("EPIPE", late:await())
  end)

  both("does not wait in a callback", function(a, b)
    local n = ends.fill(a)
    aio.loop():call_soon(function()
      assert.equal(a, a:shutdown())
    end):await()
    assert.equal(n, #b:read "a")
    a:close()
  end)

  both("cancelled behind a writer, it does nothing", function(a, b)
    local n = ends.fill(a)
    failed("ETIMEDOUT", aio.timeout(0.01, a.shutdown, a))
    b:read_exactly(n)
    a:write "open"
    assert.equal("open", b:read_some())
  end)
end)

describe("close", function()
  both("never waits, and what was written goes out", function(a, b)
    local n = ends.fill(a)
    local turns = aio.loop():stats().turns
    assert.is_true(a:close())
    assert.equal(turns, aio.loop():stats().turns)
    assert.equal(n, #b:read "a")
  end)

  both("twice is fine, and everything says so afterwards", function(a)
    a:close()
    assert.is_true(a:close())
    assert.is_true(a:abort())
    for _, name in ipairs { "read", "read_some", "write", "flush", "shutdown", "sockname",
      "peername", "pause", "resume" } do
      failed("ECLOSED", a[name](a))
    end
    failed("ECLOSED", a:read_exactly(1))
    failed("ECLOSED", a:read_until "x")
    failed("ECLOSED", a:peek(1))
    failed("ECLOSED", a:protocol {})
    failed("ECLOSED", a:setvbuf "no")
    has("(closed)", a)
  end)

  it("gives up on a peer that does not read, after a while", real(function()
    local a, b = ends.tcp { linger = 0.05 }
    local _ <close> = b
    ends.fill(a)
    a:close()
    local before = aio.loop():stats().handles
    while aio.loop():stats().handles == before do
      aio.sleep(0.01)
    end
  end))

  both("happens at the end of a block", function(a, b)
    do
      local _ <close> = a
      a:write "bye"
    end
    assert.equal("bye", b:read "a")
  end)

  both("happens when nobody holds it", function(a, b)
    local c, d = aio.unix.pair()
    c:write "x"
    c = nil
    turn(2)
    collectgarbage()
    collectgarbage()
    assert.equal("x", d:read "a")
    d:close()
    a:close()
    b:close()
  end)

  it("is missed in debug when nobody holds it", function()
    local log = helper.log()
    helper.run(function()
      local function forget()
        local server = assert(aio.tcp.listen("127.0.0.1", 0))
        local _, port = server:sockname()
        assert(aio.tcp.connect("127.0.0.1", port))
        assert(server:accept()):close()
        return "127.0.0.1:" .. port
      end
      local name = forget()
      turn(2)
      for _ = 1, 3 do
        collectgarbage()
        turn()
      end
      assert.equal(2, #log)
      for _, what in ipairs { "transport", "server" } do
        has(("leak a %s was collected before it was closed (%s)")
          :format(what, name), log:text())
      end
    end, { debug = { slow = false }, on_error = function(err, info)
      log(info.kind .. " " .. err)
    end })
  end)

  it("resets the connection if aborted", real(function()
    local a, b = ends.tcp()
    local reader = parked(b.read, b)
    a:abort()
    failed("ECONNRESET", reader:await())
    b:close()
  end))

  it("sends nothing more if aborted", real(function()
    local a, b = ends.unix()
    local n = ends.fill(a)
    a:abort()
    assert.is_true(#b:read "a" < n + 1)
    b:close()
  end))
end)

describe("a transport", function()
  it("knows its names", real(function()
    local a, b = ends.tcp()
    local _ <close> = ends.held(a, b)
    local host, port = a:sockname()
    assert.equal("127.0.0.1", host)
    values({ host, port }, b:peername())
    values({ a:peername() }, b:sockname())
    assert.equal(("tcp (127.0.0.1:%d)"):format(port), tostring(b))
    assert.equal("perilune.tcp", getmetatable(a).__name)
  end))

  it("has options", real(function()
    local a, b = ends.tcp { nodelay = false }
    local _ <close> = ends.held(a, b)
    assert.equal(a, a:nodelay())
    assert.equal(a, a:nodelay(false))
    assert.equal(a, a:keepalive(true, 30))
    assert.equal(a, a:keepalive(false))
    has("bad argument #2", raised(function() a:keepalive(true, 0) end))
  end))

  it("works at top level", function()
    local before = aio.loop():stats().handles
    local a, b = ends.tcp()
    a:write "hello\n"
    assert.equal("hello", b:read())
    failed("ETIMEDOUT", aio.timeout(0.01, b.read, b))
    b:close()
    assert.is_nil((a:read()))
    a:close()
    aio.run(function() end)
    while aio.loop():stats().handles > before do
      aio.sleep(0.001)
    end
  end)

  it("of a script that just ends is closed with it", function()
    assert.equal("done\n", helper.program [[
      local aio = require "perilune"
      local a, b = aio.unix.pair()
      a:write "x"
      local t = aio.spawn(function()
        local _ <close> = setmetatable({}, {__close = function()
          b:write "unwinding"
        end})
        b:read_exactly(2)
      end)
      aio.yield()
      a:protocol {}
      print "done"
    ]])
  end)

  it("says that a peer has gone instead of ending the program", function()
    assert.equal("nil\tEPIPE\nnil\tEPIPE\n", helper.program [[
      local aio = require "perilune"
      local a, b = aio.unix.pair()
      b:close()
      aio.sleep(0.001)
      print(a:write "x", (select(3, a:write "x")))
      a:close()
      aio.run(function()
        local a, b = aio.unix.pair()
        b:close()
        a:write "x"
        aio.yield()
        print(a:write "x", (select(3, a:write "x")))
      end)
    ]])
  end)
end)
