-- The examples that are tools of their own: probe, tail, socks, syslog, jobs, hash.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local Child = require "spec.child"
local helper = require "spec.helper"
local place = require "spec.fs.place"
local program = require "spec.examples.program"

local has, inside, real = helper.has, place.inside, helper.real
local interrupt, run, serve = program.interrupt, program.run, program.serve

-- What a shell prints, which runs without the sanitizers' libraries.
local function shell(text, ...)
  return place.shell("env -u LD_PRELOAD " .. text:format(...) .. " 2>&1")
end

describe("examples/probe.lua", function()
  -- Answers every datagram but those that end with `ignored`.
  local function answering(fn, ignored)
    local socket <close> = assert(aio.udp.bind("127.0.0.1", 0))
    aio.group(nil, function(g)
      g:service(function()
        for data, host, port in socket do
          if not data:find(ignored or "\0", 1, true) then
            socket:send(data, host, port)
          end
        end
      end)
      fn(select(2, socket:sockname()))
    end)
  end

  -- Starts it, and reads what it prints while it is answered.
  local function probe(words, ...)
    local process = assert(aio.process.spawn {
      "sh", "-c", ("exec env %s examples/probe.lua %s 2>&1"):format(helper.command(),
        words:format(...)),
      stdout = "pipe",
    })
    local out <close> = process.stdout
    return out:read "a", process:wait()
  end

  it("tells of answers and refusals", real(function()
    answering(function(port)
      local out, status = probe("-c 1 -t 9 127.0.0.1:%d 127.0.0.1:1", port)
      has((":%d: 1 of 1 answered, "):format(port), out)
      has("127.0.0.1:1: 1: ECONNREFUSED\n", out)
      assert.equal(1, status)
    end)
  end))

  it("goes on after one that was lost", real(function()
    answering(function(port)
      local out, status = probe("-c 3 -i 0.01 -t %g 127.0.0.1:%d", 0.4 * helper.slow, port)
      has(": 1: ", out)
      has(": 2: ETIMEDOUT\n", out)
      has("2 of 3 answered", out)
      assert.equal(0, status)
    end, "probe 2 of")
  end))

  it("says how it is used", function()
    local out, status = run "probe.lua -c x host"
    has("usage", out)
    assert.equal(2, status)
  end)
end)

describe("examples/tail.lua", function()
  it("shows the last lines, and what comes", inside(function(dir)
    local path = dir .. "/log"
    place.write(path, "1\n2\n3\n4\n")
    local child <close> = Child.start("examples/tail.lua -n 2 " .. path)
    assert.equal("3", child:line())
    assert.equal("4", child:line())
    assert(aio.fs.append_file(path, "5\n"))
    assert.equal("5", child:line())
    interrupt(child)
  end))

  it("follows the name, and files that are cut off", inside(function(dir)
    local path = dir .. "/log"
    place.write(path, "old\n")
    local child <close> = Child.start("examples/tail.lua " .. path)
    assert.equal("old", child:line())
    assert(os.rename(path, path .. ".1"))
    place.write(path, "first of the next\n")
    assert.equal("first of the next", child:line())
    place.write(path, "cut\n")
    assert.equal("cut", child:line())
    interrupt(child)
  end))

  it("waits for a file that is not there", inside(function(dir)
    local child <close> = Child.start("examples/tail.lua " .. dir .. "/log")
    has("ENOENT", child:line())
    place.write(dir .. "/log", "here\n")
    assert.equal("here", child:line())
    interrupt(child)
  end))

  it("needs a directory", inside(function(dir)
    local out, status = run("tail.lua " .. dir .. "/none/log")
    has("ENOENT: no such file or directory (watch", out)
    assert.equal(1, status)
  end))
end)

-- A client of its own, for what no tool asks.
local function socks(port, request)
  local conn <close> = assert(aio.tcp.connect("127.0.0.1", port))
  conn:write("\5\1\0", request)
  assert.equal("\5\0", conn:read_exactly(2))
  return conn:read_exactly(10):byte(2)
end

describe("examples/socks.lua", function()
  local function upper(conn)
    for line in conn:lines() do conn:write(line:upper(), "\n") end
  end

  it("connects nc to where it asks for", real(function()
    local server <close> = assert(aio.tcp.listen("127.0.0.1", 0))
    local serving = aio.spawn(server.serve, server, upper)
    local _, target = server:sockname()
    local child <close>, port = serve "socks.lua"
    local result = assert(aio.process.run { "sh", "-c",
      ("env -u LD_PRELOAD nc -N -X 5 -x 127.0.0.1:%d 127.0.0.1 %d"):format(port, target),
      input = "one\ntwo\n" })
    assert.equal("ONE\nTWO\n", result.stdout)
    interrupt(child)
    server:close()
    serving:await()
  end))

  it("takes names and both families of addresses", real(function()
    local server <close> = assert(aio.tcp.listen("localhost", 0))
    local _, target = server:sockname()
    local child <close>, port = serve "socks.lua"
    local to = string.pack(">I2", target)
    assert.equal(0, socks(port, "\5\1\0\3\9localhost" .. to))
    assert.equal(0, socks(port, "\5\1\0\1\127\0\0\1" .. to))
    server:close()
    assert.equal(5, socks(port, "\5\1\0\1\127\0\0\1" .. to))
    local v6 = socks(port, "\5\1\0\4" .. ("\0"):rep(15) .. "\1" .. to)
    assert.is_true(v6 == 5 or v6 == 3 or v6 == 1) -- there may be no IPv6
    interrupt(child)
  end))

  it("refuses what it does not know", real(function()
    local child <close>, port = serve "socks.lua"
    assert.equal(7, socks(port, "\5\2\0\1\127\0\0\1\0\1"))
    assert.equal(8, socks(port, "\5\1\0\9"))
    local conn <close> = assert(aio.tcp.connect("127.0.0.1", port))
    conn:write "GET / HTTP/1.0\r\n"
    assert.is_nil((conn:read(1)))
    has("this is not SOCKS5", child:line())
    interrupt(child)
  end))
end)

describe("examples/syslog.lua", function()
  local PYTHON = [[
import logging, logging.handlers
handler = logging.handlers.SysLogHandler(("127.0.0.1", %d), "local1")
handler.ident = "app: "
logging.getLogger().addHandler(handler)
logging.getLogger().error("from Python")
]]

  local function says(child, port, message)
    local socket <close> = assert(aio.udp.connect("127.0.0.1", port))
    assert(socket:send(message))
    return child:line()
  end

  it("understands both forms", real(function()
    local child <close>, port = serve "syslog.lua"
    local function check(message, line)
      assert.equal(line, says(child, port, message))
    end
    check("<34>1 2003-10-11T22:14:15.003Z mymachine su 12 ID47 - \xEF\xBB\xBFfailed",
      "2003-10-11T22:14:15.003Z mymachine auth.crit su[12]: failed")
    check('<165>1 - - app - - [a b="\\]"][c d="e"] text [1]',
      "- 127.0.0.1 local4.notice app: text [1]")
    check("<34>Oct  1 22:14:15 host su[7]: it failed\n",
      "Oct  1 22:14:15 host auth.crit su[7]: it failed")
    check("<13>Oct 11 22:14:15 host su: it", "Oct 11 22:14:15 host user.notice su: it")
    check("<0>", "- 127.0.0.1 kern.emerg -:")
    check("<192>x", "127.0.0.1: not syslog: <192>x")
    check("<11>\27[1m", "- 127.0.0.1 user.err -: ?[1m")
    check("<14>1 - - - - - [", "- 127.0.0.1 user.info -: [")
    child:signal "TERM"
    local rest, status = child:finish()
    assert.equal("8 messages, 1 of them not syslog\n", rest)
    assert.equal(0, status)
  end))

  it("leaves out what matters less", real(function()
    local child <close>, port = serve "syslog.lua -l err"
    local socket <close> = assert(aio.udp.connect("127.0.0.1", port))
    assert(socket:send "<12>a warning")
    assert.equal("- 127.0.0.1 user.err -: an error", says(child, port, "<11>an error"))
    child:signal "INT"
    assert.equal("2 messages, 0 of them not syslog\n", (child:finish()))
  end))

  it("receives what Python sends", real(function()
    local child <close>, port = serve "syslog.lua"
    assert.equal("", shell("python3 -c '%s'", PYTHON:format(port)))
    has("local1.err -: app: from Python", child:line())
    child:signal "TERM"
    child:finish()
  end))

  it("says how it is used", function()
    local out, status = run "syslog.lua -l worst"
    has("usage", out)
    assert.equal(2, status)
  end)
end)

describe("examples/jobs.lua", function()
  it("says how each command ended, with what it wrote", inside(function(dir)
    if Child.sanitized then return end -- it starts others
    place.write(dir .. "/jobs", "# none\n\necho one; echo two >&2\nexit 3\nkill -KILL $$\n")
    local out, status = run("jobs.lua " .. dir .. "/jobs")
    out = out:gsub("%] %d+%.%d s", "]")
    has("[ok]: echo one; echo two >&2\none\ntwo\n", out)
    has("[status 3]: exit 3\n", out)
    has("[KILL]: kill", out)
    has("1 of 3 ended well\n", out)
    assert.equal(1, status)
  end))

  it("ends what takes too long", inside(function(dir)
    if Child.sanitized then return end
    place.write(dir .. "/jobs", "exec sleep 60\n")
    local out, status = run("jobs.lua -t 0.05 " .. dir .. "/jobs")
    has("[timed out] ", out)
    has("0 of 1 ended well\n", out)
    assert.equal(1, status)
  end))

  it("runs no more than so many at once", inside(function(dir)
    if Child.sanitized then return end
    -- Each fails if the other is there.
    local job = ("mkdir %s/lock && sleep 0.01 && rmdir %s/lock\n"):format(dir, dir)
    place.write(dir .. "/jobs", job:rep(5))
    local out, status = run("jobs.lua -j 1 " .. dir .. "/jobs")
    has("5 of 5 ended well", out)
    assert.equal(0, status)
  end))

  it("says how it is used", function()
    local out, status = run "jobs.lua -j 0"
    has("usage", out)
    assert.equal(2, status)
  end)

  it("says that there is no such file", function()
    local out, status = run "jobs.lua /nosuch"
    has("ENOENT: no such file or directory (open /nosuch)", out)
    assert.equal(1, status)
  end)
end)

describe("examples/hash.lua", function()
  local PYTHON = [[
import sys, zlib
for path in sys.argv[1:]:
    print("%%08x  %%s" %% (zlib.crc32(open(path, "rb").read()), path))
]]

  it("agrees with Python", inside(function(dir)
    os.execute(("mkdir -p %s/a/b"):format(dir))
    place.write(dir .. "/a/b/empty", "")
    place.write(dir .. "/a/large", ("0123456789"):rep(20000))
    place.write(dir .. "/small", "123456789")
    os.execute(("ln -s small %s/link"):format(dir))
    local out, status = run("hash.lua " .. dir)
    has("cbf43926  " .. dir .. "/small\n", out)
    assert.equal(shell("python3 -c '" .. PYTHON .. "' %s/a/b/empty %s/a/large %s/small", dir, dir,
      dir), out)
    assert.equal(0, status)
  end))

  it("reads all of many files, a few at once", inside(function(dir)
    for i = 1, 200 do
      place.write(dir .. "/" .. i, tostring(i))
    end
    local out, status = run("hash.lua -j 3 " .. dir)
    assert.equal(200, select(2, out:gsub("\n", "")))
    assert.equal(0, status)
  end))

  it("says what it could not read", inside(function(dir)
    local out, status = run("hash.lua " .. dir .. "/none")
    has("ENOENT", out)
    assert.equal(1, status)
  end))
end)
