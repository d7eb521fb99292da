-- The terminal: its size, and raw mode, which no end of a program leaves behind.
--
-- SPDX-License-Identifier: MIT

local streams = require "spec.stdio.streams"

local terminal = streams.terminal

-- Runs a program that is raw and says so; `tail` of Python does something to it.
-- Returns the mode meanwhile, the mode after its end, and how it ended.
local function ends_by(code, tail)
  return terminal(([[
aio.run(function()
  local raw%s = assert(aio.tty.raw())
  print "ready"
  aio.stdin:read(1)
  %s
end)]]):format(code:find "^close" and " <close>" or "", (code:gsub("^close;", ""))), [[
expect(b"ready")
print(mode(), end=" ")
os.write(fd, b"x")
]] .. (tail or "") .. [[
status = finish()
print(mode(), status)
]])
end

describe("raw mode", function()
  for name, case in pairs {
    ["a return"] = { "close; return 1", "raw cooked 0" },
    ["a return, without being closed"] = { "_G.kept = raw", "raw cooked 0" },
    ["an error"] = { "close; error 'no'", "raw cooked 1" },
    ["an error, without being closed"] = { "_G.kept = raw; error 'no'", "raw cooked 1" },
    ["a deadlock"] = { "_G.kept = raw; aio.future():await()", "raw cooked 1" },
    ["os.exit"] = { "_G.kept = raw; os.exit(3)", "raw cooked 3" },
    ["os.exit that closes the state"] = { "_G.kept = raw; os.exit(3, true)", "raw cooked 3" },
    ["SIGTERM"] = { "_G.kept = raw; aio.stdin:read()", "raw cooked -15",
      "os.kill(pid, signal.SIGTERM)\n" },
    ["SIGHUP"] = { "_G.kept = raw; aio.stdin:read()", "raw cooked -1",
      "os.kill(pid, signal.SIGHUP)\n" },
    ["an interrupt"] = { "close; aio.stdin:read()", "raw cooked 1",
      "os.kill(pid, signal.SIGINT)\n" },
    ["the third interrupt"] = { "_G.kept = raw; print 'stuck'; "
      .. "(('a'):rep(99)):find(('a*'):rep(40) .. 'b')", "raw cooked -2", [[
expect(b"stuck")
for _ in range(3):
    os.kill(pid, signal.SIGINT)
    while pending(): pass
]] },
  } do
    it("is undone by " .. name, function()
      assert.equal(case[2] .. "\n", ends_by(case[1], case[3]))
    end)
  end

  it("is undone while the program is stopped", function()
    assert.equal("raw cooked raw cooked 0\n", ends_by("close; aio.stdin:read(1)", [[
os.kill(pid, signal.SIGTSTP)
os.waitpid(pid, os.WUNTRACED)
print(mode(), end=" ")
os.kill(pid, signal.SIGCONT)
while mode() != "raw": pass
print(mode(), end=" ")
os.write(fd, b"x")
]]))
  end)

  it("brings keys as they are typed, until it is closed", function()
    assert.equal("key=97\r\nkey=3\r\ncooked 0\n", terminal([[
aio.run(function()
  local raw, second = aio.tty.raw(), aio.tty.raw()
  print "ready"
  print("key=" .. aio.stdin:read(1):byte())
  raw:close()
  print("key=" .. aio.stdin:read(1):byte())
  second:close()
  second:close()
end)]], [[
expect(b"ready\r\n")
os.write(fd, b"a")
expect(b"key=97")
os.write(fd, b"\3")
status = finish()
text = out[out.index(b"key=97"):].decode()
sys.stdout.write(text + mode() + " " + str(status) + "\n")
]]))
  end)

  it("is refused where stdin is no terminal", function()
    assert.equal("nil\tENOTTY: inappropriate ioctl for device (raw stdin)\tENOTTY\n",
      streams.shell("prog </dev/null", "print(aio.tty.raw())"))
  end)
end)

describe("aio.tty.size", function()
  it("is that of the terminal, now", function()
    assert.equal("100 30\n80 25\n", terminal([[
aio.run(function()
  local changes <close> = aio.signals "WINCH"
  print("size", aio.tty.size())
  for _ in changes do
    print("size", aio.tty.size())
    break
  end
end)]], [[
expect(b"size\t100\t30")
resize(80, 25)
expect(b"size\t80\t25")
finish()
print("100 30\n80 25")
]]))
  end)

  it("says that there is no terminal", function()
    assert.equal("ENOTTY\n", streams.shell("prog </dev/null 2>/dev/null | cat",
      "print((select(3, aio.tty.size())))"))
  end)
end)

-- What is in a file once its last line is there.
local function settled(path)
  local text
  repeat
    local file <close> = assert(io.open(path))
    text = file:read "a"
  until text:find "done\n" or not os.execute "sleep 0.01"
  os.remove(path)
  return text
end

describe("a terminal that goes away", function()
  it("is the end of what is read, and SIGHUP", function()
    local path = os.tmpname()
    terminal(([[
local out <const> = io.open("%s", "w")
aio.run(function()
  local hup <close> = aio.signals "HUP"
  print "ready"
  local text, _, code = aio.stdin:read()
  out:write(tostring(text), " ", code == nil and "EIO" or code, "\n")
  for name in hup do
    out:write(name, "\n")
    break
  end
  out:write(tostring(select(3, aio.stdout:write "x")), "\n")
end)
out:write "done\n"
out:close()]]):format(path), [[
expect(b"ready")
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.close(slave)
os.close(fd)
]])
    assert.equal("nil EIO\nHUP\nEIO\ndone\n", settled(path))
  end)
end)

describe("examples/prompt.lua", function()
  local function prompt(script)
    return terminal("arg[1] = '0.02'; dofile 'examples/prompt.lua'", script)
  end

  it("reads a line while a clock ticks", function()
    assert.equal("cooked 0\nHello, Jon!\n", prompt [[
expect(b"your name? ")
os.write(fd, b"Jox\x7f")
expect(b"your name? Jo\r")
for n in range(1, 4): expect(b"[%d] your name? Jo" % n)
os.write(fd, b"n\r")
status = finish()
print(mode(), status)
print(out.decode().split("\r\n")[-2])
]])
  end)

  it("takes Ctrl-C as no answer", function()
    assert.equal("cooked 1\nNobody.\n", prompt [[
expect(b"your name? ")
os.write(fd, b"Jo\x03")
status = finish()
print(mode(), status)
print(out.decode().split("\r\n")[-2])
]])
  end)

  it("reads from a pipe as well", function()
    assert.equal("Hello, Eve!\n", streams.shell("echo Eve | prog", "dofile 'examples/prompt.lua'"))
    assert.equal("Nobody.\n", streams.shell("prog </dev/null", "dofile 'examples/prompt.lua'"))
  end)
end)
