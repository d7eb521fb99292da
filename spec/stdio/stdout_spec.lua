-- The standard output, as a transport.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local ends = require "spec.net.ends"
local helper = require "spec.helper"
local streams = require "spec.stdio.streams"

local failed, has, real = helper.failed, helper.has, helper.real
local parked = ends.parked
local shell = streams.shell

local BLOCK = ("x"):rep(10000)

-- Cases for each kind of thing that stdout may be. A pipe that cannot be opened anew
-- is one that stdin writes to: for that it would be opened for reading.
local function each(name, case)
  for kind, n in pairs { pipe = 1, socket = 1, terminal = 1, ["shared pipe"] = 0 } do
    it(("%s (%s)"):format(name, kind), real(function()
      local sink <close> = streams.sink(kind)
      local stdout <close> = streams.standard(n, sink.fd)
      case(stdout, sink)
    end))
  end
end

-- Writes until one would wait; returns how many bytes that took.
local function fill(stdout)
  local n = 0
  while true do
    local task = parked(stdout.write, stdout, BLOCK)
    if task:peek() == "pending" then
      task:cancel()
      task:join()
      return n
    end
    n = n + #BLOCK
  end
end

-- Reads so many bytes, as they come.
local function drain(sink, n)
  while n > 0 do
    aio.poll(sink.peer, "r")
    local text = sink:read(math.min(n, 4096))
    assert.is_nil(text:find "[^x]")
    n = n - #text
  end
end

describe("aio.stdout", function()
  each("writes at once", function(stdout, sink)
    assert.equal(stdout, stdout:write("one ", 2, "\n"))
    assert.equal("one 2\n", sink:read(6))
  end)

  each("waits for room, and loses nothing", function(stdout, sink)
    local n = fill(stdout)
    local task = parked(stdout.write, stdout, "xxx")
    assert.equal("pending", (task:peek()))
    drain(sink, n)
    assert.equal(stdout, task:await())
    drain(sink, 3)
  end)

  each("has sent nothing in a write that is cancelled", function(stdout, sink)
    local n = fill(stdout)
    local task = parked(stdout.write, stdout, "y")
    task:cancel()
    task:join()
    drain(sink, n)
    stdout:write "end"
    assert.equal("end", sink:read(3))
  end)

  each("flushes", function(stdout, sink)
    local n = fill(stdout)
    local task = parked(stdout.flush, stdout)
    assert.equal("pending", (task:peek()))
    drain(sink, n)
    assert.equal(stdout, task:await())
  end)

  each("sends what is on its way when it is closed", function(stdout, sink)
    local n = fill(stdout)
    stdout:close()
    failed("ECLOSED", stdout:write "x")
    drain(sink, n)
  end)

  each("leaves the descriptor as it was", function(stdout, sink)
    stdout:write "x"
    assert.is_true(streams.host.blocks(sink.fd))
    stdout:close()
    ends.turn()
    assert.is_true(streams.host.blocks(sink.fd))
    streams.host.write(sink.fd, "y")
    assert.equal("xy", sink:read(1) .. sink:read(1))
  end)

  it("says that its reader has gone", real(function()
    for _, kind in ipairs { "pipe", "socket" } do
      local sink <close> = streams.sink(kind)
      local stdout <close> = streams.standard(1, sink.fd)
      local n = fill(stdout)
      local task = parked(stdout.write, stdout, BLOCK)
      sink:drop "peer"
      failed("EPIPE", task:await())
      failed("EPIPE", stdout:write "x")
      assert.is_true(n > 0)
    end
  end))

  it("gathers when it is told to", real(function()
    local sink <close> = streams.sink "socket"
    local stdout <close> = streams.standard(1, sink.fd)
    stdout:setvbuf "full"
    aio.spawn(function() stdout:write("a"); stdout:write("b") end)
    ends.turn()
    assert.equal("ab", sink:read(10))
  end))

  it("ends a socket's side", real(function()
    local sink <close> = streams.sink "socket"
    local stdout <close> = streams.standard(1, sink.fd)
    stdout:write "last"
    assert.equal(stdout, stdout:shutdown())
    assert.equal("last", sink:read(10))
    assert.equal("", sink:read(10))
    failed("EPIPE", stdout:write "x")
  end))
end)

describe("aio.stdout of a program", function()
  it("keeps the order with print and io.write", function()
    assert.equal("1\n2\n3 4 5\n6\n", shell("prog | cat", [[
      aio.run(function()
        print(1)
        aio.stdout:write "2\n"
        io.write "3 "
        aio.stdout:write("4 ", 5, "\n")
        print(6)
      end)]]))
  end)

  it("keeps the place in a file", function()
    assert.equal("a\nb\nc\n", shell("{ echo a; prog; echo c; } >$f.out; cat $f.out; rm $f.out",
      [[aio.run(function() aio.stdout:write "b\n" end)]]))
  end)

  it("sends at the end of the run what is unsent", function()
    local late = "{ until [ -e $f.end ]; do :; done; wc -c; }"
    assert.equal("200000\n", shell(("prog | %s; rm $f.end"):format(late), [[
      aio.run(function()
        aio.stdout:write(("x"):rep(200000))
        io.open(arg[0] .. ".end", "w"):close()
      end)
      os.exit(0)]]))
  end)

  it("gives that up when it is interrupted", function()
    has("EINTR: interrupted", shell("mkfifo $f.in; prog 3<>$f.in >&3; rm $f.in", [[
      aio.run({ grace = 0.05 }, function()
        aio.stdout:write(("x"):rep(200000))
        aio.on_close(function() io.popen("kill -INT $PPID"):close() end)
      end)]]))
  end)

  it("sends all before a write in the main chunk returns", function()
    assert.equal("300000\n", shell("prog | wc -c", [[
      for _ = 1, 30 do aio.stdout:write(("x"):rep(10000)) end
      os.exit(0)]]))
  end)

  it("says that its reader has gone", function()
    assert.equal("EPIPE: broken pipe (write stdout)\n", shell("prog | true", [[
      aio.run(function()
        local ok, message = true
        while ok do ok, message = aio.stdout:write "line\n" end
        aio.stderr:write(message, "\n")
      end)]]))
  end)

  it("says that a device is full, or a descriptor closed", function()
    local code = [[aio.stderr:write(select(2, aio.stdout:write "x"), "\n")]]
    assert.equal("ENOSPC: no space left on device (write stdout)\n", shell("prog >/dev/full", code))
    assert.equal("EBADF: bad file descriptor (write stdout)\n", shell("prog >&-", code))
  end)

  it("ends at a reader that has seen enough", function()
    assert.equal("1\n2\nEPIPE\n", shell("prog | head -n 2", [[
      local n, ok, code = 0, true
      aio.run(function()
        while ok do n = n + 1; ok, _, code = aio.stdout:write(n, "\n") end
      end)
      io.stderr:write(code, "\n")]]))
  end)
end)
