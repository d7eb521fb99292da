-- The examples: each is run as a program, and talked to where it serves.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local Child = require "spec.child"
local helper = require "spec.helper"
local place = require "spec.fs.place"
local program = require "spec.examples.program"

local has, real = helper.has, helper.real
local interrupt, run, serve = program.interrupt, program.run, program.serve

describe("examples/echo.lua", function()
  it("sends back what it is sent", real(function()
    local child <close>, port = serve "echo.lua 0"
    local conn <close> = assert(aio.tcp.connect("127.0.0.1", port))
    conn:write("one\n", "two\n")
    assert.equal("one", conn:read "l")
    assert.equal("two", conn:read "l")
    interrupt(child)
  end))

  it("does so for several, however much it is", real(function()
    local child <close>, port = serve "echo.lua"
    local text = ("0123456789abcdef"):rep(20000)
    aio.group(nil, function(g)
      for i = 1, 5 do
        g:spawn(function()
          local conn <close> = assert(aio.tcp.connect("127.0.0.1", port))
          g:spawn(function() return conn:write(text:sub(i)) end)
          assert.is_true(text:sub(i) == conn:read(#text - i + 1))
        end)
      end
    end)
    interrupt(child)
  end))
end)

describe("examples/portscan.lua", function()
  it("finds the ports that are open", real(function()
    local server <close> = assert(aio.tcp.listen("127.0.0.1", 0))
    local _, port = server:sockname()
    local first, last = math.max(1, port - 20), math.min(65535, port + 20)
    local out, status = run(("portscan.lua 127.0.0.1 %d %d 5")
      :format(first, last))
    has(("%d open\n"):format(port), out)
    has(("of %d ports of 127.0.0.1 are open"):format(last - first + 1), out)
    assert.equal(0, status)
  end))

  it("finds nothing where nobody listens", real(function()
    local server = assert(aio.tcp.listen("127.0.0.1", 0))
    local _, port = server:sockname()
    server:close()
    assert.equal("0 of 1 ports of 127.0.0.1 are open\n",
      (run("portscan.lua 127.0.0.1 " .. port)))
  end))

  it("says that it does not know the host", function()
    local out, status = run "portscan.lua no-such-host.invalid 1"
    has("EAI_", out)
    assert.equal(1, status)
  end)

  it("says how it is used", function()
    local out, status = run "portscan.lua"
    has("usage", out)
    assert.equal(2, status)
  end)
end)

-- Answers once the client has said all: that needs half-closed connections.
local function count_bytes(conn)
  local data = conn:read "a"
  conn:write(("%d bytes\n"):format(#data))
end

describe("examples/proxy.lua", function()
  it("copies both ways, and the end of each", real(function()
    local server <close> = assert(aio.tcp.listen("127.0.0.1", 0))
    local serving = aio.spawn(server.serve, server, count_bytes)
    local _, target = server:sockname()
    local child <close>, port = serve("proxy.lua 0 127.0.0.1 " .. target)
    local conn <close> = assert(aio.tcp.connect("127.0.0.1", port))
    conn:write(("x"):rep(100000))
    conn:shutdown()
    assert.equal("100000 bytes\n", conn:read "a")
    interrupt(child)
    server:close()
    serving:await()
  end))

  it("survives a target that is not there", real(function()
    local server = assert(aio.tcp.listen("127.0.0.1", 0))
    local _, target = server:sockname()
    server:close()
    local child <close>, port = serve("proxy.lua 0 127.0.0.1 " .. target)
    for _ = 1, 2 do
      -- It may be given up before this end knows that it is connected.
      local conn <close> = aio.tcp.connect("127.0.0.1", port)
      assert.is_nil((conn and conn:read(1)))
      has("ECONNREFUSED", child:line())
    end
    interrupt(child)
  end))
end)

describe("examples/toplevel.lua", function()
  it("uses TCP without run", function()
    local out, status = run "toplevel.lua"
    assert.equal("FUNCTIONS\nHAVE\nNO\nCOLOUR\nnil\tECONNREFUSED\n", out)
    assert.equal(0, status)
  end)
end)

describe("examples/context.lua", function()
  it("does not mix up its requests", function()
    local out, status = run "context.lua"
    has("none mixed up", out)
    assert.equal(0, status)
    -- They did take turns: three begins before any end.
    assert.is_true(tonumber(out:match "(%d+) changes") >= 6)
  end)
end)

describe("examples/breadcrumbs.lua", function()
  it("mixes up no requests, and keeps nothing of them", function()
    local out, status = run "breadcrumbs.lua 30"
    has("40 good, 20 failed, 0 mixed up", out)
    has("nothing is left of any request", out)
    has('/rows: asked "row 1 of bad-', out)
    assert.equal(0, status)
  end)
end)

describe("examples/demo.lua", function()
  it("serves its clients and says so", function()
    local out, status = run "demo.lua --clients 200"
    has("200, 200 of them connected at once", out)
    has("10 ECONNABORTED, 10 ETIMEDOUT", out)
    has("peak memory", out)
    has("nc 127.0.0.1", out)
    assert.is_nil(out:find "WRONG")
    assert.equal(0, status)
  end)

  it("can be talked to with --keep", real(function()
    local child <close> = Child.start "examples/demo.lua --clients 20 --keep 0"
    local line, port
    repeat
      line = assert(child:line())
      port = tonumber(line:match "nc 127.0.0.1 (%d+)") or port
    until line:find "Ctrl%-C"
    local conn <close> = assert(aio.tcp.connect("127.0.0.1", port))
    conn:write "hello\nquit\n"
    assert.equal("olleh", conn:read "l")
    assert.equal("bye\n", conn:read "a")
    interrupt(child)
  end))

  it("fits into few descriptors", function()
    if Child.sanitized then return end -- it starts itself again
    local child <close> = Child.start("examples/demo.lua --clients 100",
      "ulimit -n 150")
    local out, status = child:finish()
    has("only 43 clients", out)
    has("43, 43 of them connected at once", out)
    assert.equal(0, status)
  end)

  it("raises the limit on descriptors where it may", function()
    if Child.sanitized then return end
    local child <close> = Child.start("examples/demo.lua --clients 100",
      "ulimit -S -n 150")
    local out, status = child:finish()
    has("100, 100 of them connected at once", out)
    assert.equal(0, status)
  end)
end)

describe("examples/pipeline.lua", function()
  it("hands on what each program writes", function()
    if Child.sanitized then return end -- it starts others
    local out, status = run [[pipeline.lua "printf 2\n3\n1\n" sort "head -n 2"]]
    assert.equal("1\n2\n", out)
    assert.equal(0, status)
  end)

  it("does so as it comes", place.inside(function(dir)
    if Child.sanitized then return end
    os.execute("mkfifo " .. dir .. "/fifo")
    local child <close> = Child.start(([[examples/pipeline.lua "cat %s/fifo" cat]]):format(dir))
    local input <close> = assert(io.open(dir .. "/fifo", "w"))
    input:setvbuf "no"
    input:write "one\n"
    assert.equal("one", child:line())
    input:write "two\n"
    assert.equal("two", child:line())
    input:close()
    assert.equal("", (child:finish()))
  end))

  it("ends as the last program does", function()
    if Child.sanitized then return end
    assert.equal(1, (select(2, run "pipeline.lua true false")))
    local out, status = run "pipeline.lua no-such-program"
    has("ENOENT: no such file or directory (spawn no-such-program)\n", out)
    assert.equal(1, status)
  end)

  it("says how programs ended that did not end well", function()
    local out = run [[pipeline.lua "ls /no/such/place" cat]]
    has("ls /no/such/place: ", out)
  end)
end)
