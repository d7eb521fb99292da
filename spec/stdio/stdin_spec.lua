-- The standard input, as a transport.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local ends = require "spec.net.ends"
local helper = require "spec.helper"
local streams = require "spec.stdio.streams"

local failed, has, raised, real = helper.failed, helper.has, helper.raised, helper.real
local parked, woken = ends.parked, ends.woken
local shell = streams.shell

-- Cases for each kind of thing that stdin may be.
local function each(name, case)
  for kind in pairs(streams.sources) do
    it(("%s (%s)"):format(name, kind), real(function()
      local source <close> = streams.source(kind)
      local stdin <close> = streams.standard(0, source.fd)
      case(stdin, source)
    end))
  end
end

describe("aio.stdin", function()
  each("returns at once what is there", function(stdin, source)
    source:write "one\ntwo\n"
    assert.equal("one", stdin:read())
    assert.equal("two", stdin:read "l")
  end)

  each("waits until something comes", function(stdin, source)
    local task = parked(stdin.read, stdin)
    source:write "li"
    ends.turn(2)
    assert.equal("pending", (task:peek()))
    source:write "ne\n"
    assert.equal("line", task:await())
  end)

  each("consumes nothing in a read that is cancelled", function(stdin, source)
    local task = parked(stdin.read, stdin)
    source:write "li"
    ends.turn(2)
    task:cancel()
    assert.is_false((task:join()))
    source:write "ne\n"
    assert.equal("line", stdin:read())
  end)

  each("keeps what came before the cancellation", function(stdin, source)
    local task = parked(stdin.read, stdin)
    source:write "line\n"
    woken(task):cancel()
    task:join()
    ends.turn()
    assert.equal("ok", (task:peek()))
    assert.equal("line", task:await())
  end)

  each("tells a reader that it was closed", function(stdin)
    local task = parked(stdin.read, stdin)
    stdin:close()
    failed("ECLOSED", task:await())
    failed("ECLOSED", stdin:read())
  end)

  each("has one reader", function(stdin, source)
    local task = parked(stdin.read, stdin)
    assert.equal("EBUSY", raised(stdin.read, stdin).code)
    source:write "line\n"
    assert.equal("line", task:await())
  end)

  each("leaves the descriptor as it was", function(stdin, source)
    assert.is_true(streams.host.blocks(source.fd))
    source:write "line\n"
    assert.equal("line", stdin:read())
    assert.is_true(streams.host.blocks(source.fd))
    stdin:close()
    ends.turn()
    source:write "more\n"
    assert.equal("more\n", streams.host.read(source.fd, 10))
  end)

  each("hands over to a protocol", function(stdin, source)
    local got = aio.future()
    stdin:protocol { data_received = function(_, data) got:resolve(data) end }
    source:write "data"
    assert.equal("data", got:await())
    stdin:protocol(nil)
    source:write "line\n"
    assert.equal("line", stdin:read())
  end)

  it("tells of the end", real(function()
    for _, kind in ipairs { "pipe", "socket" } do
      local source <close> = streams.source(kind)
      local stdin <close> = streams.standard(0, source.fd)
      local task = parked(stdin.read, stdin, "a")
      source:write "rest"
      source:drop "peer"
      assert.equal("rest", task:await())
      assert.is_nil(stdin:read())
    end
  end))

  -- The system calls it an error or the end, as it happens.
  it("ends when the terminal has gone", real(function()
    local source <close> = streams.source "terminal"
    local stdin <close> = streams.standard(0, source.fd)
    local task = parked(stdin.read, stdin)
    source:drop "peer"
    local text, _, code = task:await()
    assert.is_nil(text)
    assert.is_true(code == nil or code == "EIO")
  end))

  it("names itself", real(function()
    local source <close> = streams.source "pipe"
    local stdin = streams.standard(0, source.fd)
    assert.equal("stream (stdin)", tostring(stdin))
    local task = parked(stdin.read, stdin)
    has("read", task:info().waiting_on)
    stdin:close()
    has("closed (read)", select(2, stdin:read()))
    task:join()
  end))
end)

local COUNT = [[
local n, bytes = 0, 0
aio.run(function()
  for line in aio.stdin:lines "L" do n, bytes = n + 1, bytes + #line end
end)
print(n, bytes)
]]

describe("aio.stdin of a program", function()
  it("is the same object each time, made when asked for", function()
    assert.equal("nil\ntrue\n", shell("prog", [[
      print(rawget(aio, "stdin"))
      print(aio.stdin == aio.stdin)]]))
  end)

  it("reads a pipe to its end", function()
    assert.equal("3\t5\n", shell("printf 'a\\nb\\nc' | prog", COUNT))
  end)

  it("reads a file, from where it is", function()
    local text = ("some line\n"):rep(20000)
    local path = os.tmpname()
    local file <close> = assert(io.open(path, "w"))
    file:write(text)
    file:close()
    assert.equal("20000\t200000\n", shell(("prog <%s"):format(path), COUNT))
    assert.equal("some line\n19999\t199990\n",
      shell(("{ head -c 10; prog; } <%s"):format(path), COUNT))
    os.remove(path)
  end)

  it("reads /dev/null", function()
    assert.equal("0\t0\n", shell("prog </dev/null", COUNT))
  end)

  it("says that a directory cannot be read", function()
    has("EISDIR: illegal operation on a directory (read stdin)", shell("prog </", COUNT))
  end)

  it("says that it is closed", function()
    has("EBADF: bad file descriptor (read stdin)", shell("prog <&-", COUNT))
  end)

  it("keeps what was read ahead from run to run, and at top level", function()
    assert.equal("1\t2\t3\n", shell("printf '1\\n2\\n3\\n' | prog", [[
      local a = aio.run(function() return aio.stdin:read() end)
      print(a, aio.stdin:read(), aio.run(function() return aio.stdin:read() end))]]))
  end)

  it("leaves the descriptor blocking, killed or not", function()
    local check = [[local host = assert(package.loadlib("build/host/process.so",
      "luaopen_process"))()
      if arg[1] then print(host.blocks(0), host.blocks(1)) return end
      aio.run(function()
        aio.stdin:read()
        aio.stdout:write "read\n"
        if os.getenv "DIE" then os.execute "kill -9 $PPID" end
      end)]]
    for _, before in ipairs { "prog", "DIE=1 prog || true" } do
      local out = shell(("yes | { %s; prog check; }"):format(before), check)
      has("read\n", out)
      has("true\ttrue", out)
    end
  end)

  it("keeps nothing alive that nobody waits for", function()
    has("EDEADLK", shell("mkfifo $f.in; { echo one >&0; prog; } <>$f.in; rm $f.in", [[
      aio.run(function()
        aio.stdin:read()
        local task = aio.spawn(function() aio.stdin:read() end)
        aio.yield()
        task:cancel()
        task:join()
        aio.future():await()
      end)]]))
  end)

  it("is read while other tasks go on", function()
    assert.equal("ticked\nlate\n", shell("mkfifo $f.in; "
      .. "{ read -r _ <$f.in; echo late; } | prog; rm $f.in", [[
      aio.run(function()
        aio.spawn(function()
          print "ticked"
          local file <close> = io.open(arg[0] .. ".in", "w")
          file:write "go\n"
        end)
        print(aio.stdin:read())
      end)]]))
  end)
end)
