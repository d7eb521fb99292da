-- What a system can refuse or interrupt: descriptors, system calls. Each case is
-- a program; what files meet is in spec/fs.
--
-- SPDX-License-Identifier: MIT

local Child = require "spec.child"
local aio = require "perilune"
local helper = require "spec.helper"

if not aio.tcp then
  return
end

-- `exhaust()` takes all descriptors there are, until what it returns is closed;
-- `try` prints how a function fails.
local PRELUDE = [[
io.stdout:setvbuf "no"
local aio = require "perilune"
local tcp, unix, udp, process, fs, dns = aio.tcp, aio.unix, aio.udp,
  aio.process, aio.fs, aio.dns -- which are read when they are asked for
local HERE = "127.0.0.1"
local function exhaust()
  local held = {}
  repeat
    local file = io.open "/dev/null"
    held[#held + 1] = file
  until not file
  return setmetatable(held, { __close = function()
    for _, file in ipairs(held) do file:close() end
  end })
end
local function handles()
  for _ = 1, 3 do require("perilune.core").poll() aio.yield() end
  return aio.loop():stats().handles
end
local function try(what, fn, ...)
  local _, message, code = fn(...)
  print(what, code or message)
end
]]

-- What a program prints that has few descriptors.
local function exhausted(code)
  local child <close> = Child.code(PRELUDE .. code, "ulimit -n 40")
  return (child:finish())
end

-- "NAME\tEMFILE" for each.
local function refused(...)
  return table.concat({ ... }, "\tEMFILE\n") .. "\tEMFILE\n"
end

describe("without descriptors", function()
  it("no socket is made", function()
    assert.equal(refused("tcp.connect", "tcp.listen", "unix.connect", "unix.listen",
      "unix.pair", "udp.bind", "udp.connect") .. "0\n", exhausted [[
      aio.run(function()
        local server <close> = tcp.listen(HERE, 0)
        local before, path = handles(), os.tmpname()
        do
          local _ <close> = exhaust()
          try("tcp.connect", tcp.connect, server:sockname())
          try("tcp.listen", tcp.listen, HERE, 0)
          try("unix.connect", unix.connect, path)
          try("unix.listen", unix.listen, path)
          try("unix.pair", unix.pair)
          try("udp.bind", udp.bind, HERE)
          try("udp.connect", udp.connect, HERE, 9)
        end
        print(handles() - before)
        os.remove(path)
      end)]])
  end)

  it("no program is run", function()
    assert.equal(refused("spawn", "pipe", "run") .. "0\nx\n", exhausted [[
      aio.run(function()
        process.run { "true" }
        local before = handles()
        do
          local _ <close> = exhaust()
          try("spawn", process.spawn, { "true" })
          try("pipe", process.spawn, { "true", stdout = "pipe" })
          try("run", process.run, { "true" })
        end
        print(handles() - before)
        print(process.run { "printf", "x" }.stdout)
      end)]])
  end)

  it("no file is opened or watched", function()
    assert.equal(refused("open", "watch", "scandir") .. "0\ntrue\n", exhausted [[
      aio.run(function()
        local before = handles()
        do
          local _ <close> = exhaust()
          try("open", fs.open, "/dev/null")
          try("watch", fs.watch, "/")
          try("scandir", function()
            local _, e = pcall(fs.scandir "/")
            return nil, nil, e.code
          end)
        end
        print(handles() - before)
        print(fs.open "/dev/null":close())
      end)]])
  end)

  it("no name is looked up, but addresses are known", function()
    assert.equal(refused("resolve", "reverse", "connect") .. "127.0.0.1\ntrue\n",
      exhausted [[
      aio.run(function()
        assert(dns.resolve "localhost")
        do
          local _ <close> = exhaust()
          try("resolve", dns.resolve, "localhost")
          try("reverse", dns.reverse, HERE)
          try("connect", tcp.connect, "localhost", 9)
          print(dns.resolve(HERE)[1].address)
        end
        print(dns.resolve "localhost" ~= nil)
      end)]])
  end)

  it("what is open goes on", function()
    assert.equal("r\nx\nUSR1\n", exhausted [[
      aio.run(function()
        local a, b = unix.pair()
        local pipe <close> = io.popen("echo x", "r")
        local _ <close> = exhaust()
        local signals <close> = aio.signals "USR1"
        print(aio.poll(pipe, "r"))
        os.execute "kill -USR1 $PPID"
        a:write "x\n"
        print(b:read())
        print(signals())
        a:close()
        b:close()
      end)]])
  end)
end)

describe("a storm of signals", function()
  -- SIGALRM comes each 100 microseconds, to a handler of the program's own, and
  -- interrupts system calls. `storm(fn)` calls fn until that was often.
  local STORM = PRELUDE .. [[
    local host = assert(package.loadlib("build/host/process.so", "luaopen_process"))()
    local function storm(fn)
      local before = host.storm(100)
      repeat fn() until host.handled() - before > 200
      host.storm(0)
    end
    local block = ("0123456789abcdef"):rep(10000)
  ]]

  local function survives(code)
    return function()
      assert.equal("well\n", helper.program(STORM .. code .. " print 'well'"))
    end
  end

  it("harms no connection", survives [[
    aio.run(function()
      local server <close> = tcp.listen(HERE, 0)
      aio.spawn(server.serve, server, function(conn)
        conn:write(conn:read(#block))
      end)
      storm(function()
        local conn <close> = assert(tcp.connect(server:sockname()))
        assert(conn:write(block))
        assert(conn:read "a" == block)
      end)
    end)]])

  it("harms no program that is run", survives [[
    aio.run(function()
      storm(function()
        local r = assert(process.run { "cat", input = block })
        assert(r.code == 0 and r.stdout == block)
      end)
    end)]])

  it("harms no datagram, file or look-up", survives [[
    aio.run(function()
      local a <close> = udp.bind(HERE)
      local b <close> = udp.connect(a:sockname())
      local path = os.tmpname()
      storm(function()
        assert(b:send "x")
        assert(a:recv() == "x")
        assert(fs.write_file(path, block, { atomic = true }))
        assert(fs.read_file(path) == block)
        assert(dns.resolve "localhost")
      end)
      os.remove(path)
    end)]])

  it("ends no sleep early", survives [[
    aio.run(function()
      storm(function()
        local before = aio.now()
        aio.sleep(0.01)
        assert(aio.now() - before >= 0.01)
      end)
    end)]])
end)
