--- Standard streams for specs: those of a program that a shell runs, and some of
-- this process that are put in the place of its own for a moment.
--
-- SPDX-License-Identifier: MIT

local core = require "perilune.core"
local helper = require "spec.helper"

local streams = {}

streams.host = assert(package.loadlib("build/host/process.so", "luaopen_process"))()

local function write_file(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
end

--- Runs a program in a command of a shell, where `prog` is what runs it, and `$f` its
-- file.
-- @return what the command writes to its stdout and stderr
function streams.shell(command, code)
  local path = os.tmpname()
  write_file(path, "local aio = require 'perilune'\n" .. code)
  local script = ('f=%s; prog() { env %s "$f" "$@"; }\n%s'):format(path,
    helper.command(), command)
  local pipe = assert(io.popen(("exec 2>&1; timeout -s KILL %d sh -c '%s'"):format(
    20 * helper.slow, script:gsub("'", "'\\''"))))
  local out = pipe:read "a"
  pipe:close()
  os.remove(path)
  return out
end

-- The program runs in the foreground of a terminal of 100 columns, `slave`, that
-- belongs to the script, which has its other side, `fd`.
local TERMINAL = [==[
import fcntl, os, pty, signal, struct, sys, termios
fd, slave = pty.openpty()
os.setsid()
fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
def resize(columns, rows):
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
resize(100, 30)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(slave, os.getpid())
    for n in range(3): os.dup2(slave, n)
    for n in (signal.SIGTTOU, signal.SIGINT): signal.signal(n, signal.SIG_DFL)
    os.execvp("sh", ["sh", "-c", sys.argv[1]])
out = b""
def expect(text):
    global out
    while text not in out: out += os.read(fd, 1000)
def mode():
    return "cooked" if termios.tcgetattr(slave)[3] & termios.ICANON else "raw"
def pending():
    with open("/proc/%d/status" % pid) as f:
        for line in f:
            if line.startswith("ShdPnd:"): return int(line.split()[1], 16) != 0
def finish():
    global out
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.set_blocking(fd, False)
    try:
        while True: out += os.read(fd, 1000)
    except OSError: pass
    return status
]==]

--- Runs a program in a terminal, and a script in Python that uses it.
-- @return what the script prints
function streams.terminal(code, script)
  local program, python = os.tmpname(), os.tmpname()
  write_file(program, "local aio = require 'perilune'\n" .. code)
  write_file(python, TERMINAL .. script)
  local command = ("exec env %s '%s'"):format(helper.command(), program)
  local pipe = assert(io.popen(("env -u LD_PRELOAD timeout -s KILL %d python3 %s '%s' 2>&1"):format(
    20 * helper.slow, python, command:gsub("'", "'\\''"))))
  local text = pipe:read "a"
  pipe:close()
  os.remove(program)
  os.remove(python)
  return text
end

--- The transport for a standard stream that is `fd` at this moment, and is closed
-- at the end of the block. It keeps that open itself.
function streams.standard(n, fd)
  local saved = streams.host.replace(fd, n)
  local ok, conn = pcall(core.stdio.open, n)
  streams.host.close(streams.host.replace(saved, n))
  streams.host.close(saved)
  if not ok then
    error(conn, 0)
  end
  return conn
end

--- What there is to be read from: makers of a descriptor, and of what is written
-- to so that it arrives there.
streams.sources = {
  pipe = streams.host.pipe,
  socket = streams.host.pair,
  terminal = streams.host.pty,
  ["other side of a terminal"] = function()
    local terminal, other = streams.host.pty()
    return other, terminal
  end,
}

local Ends = {}
Ends.__index = Ends

function Ends:close()
  for _, name in ipairs { "fd", "peer" } do
    if self[name] then
      streams.host.close(self[name])
      self[name] = nil
    end
  end
end

--- Closes one of the two: "fd" or "peer".
function Ends:drop(name)
  streams.host.close(self[name])
  self[name] = nil
end

function Ends:write(text)
  streams.host.write(self.peer, text)
end

function Ends:read(n)
  return streams.host.read(self.peer, n)
end

Ends.__close = Ends.close

--- Two descriptors: `fd` for stdin, and `peer`, which one writes to.
function streams.source(kind)
  local fd, peer = streams.sources[kind]()
  return setmetatable({ fd = fd, peer = peer }, Ends)
end

--- The same for stdout: one reads from `peer`.
function streams.sink(kind)
  local name = kind:match "pipe" or kind
  local ends = streams.source(name)
  if name == "pipe" then
    ends.fd, ends.peer = ends.peer, ends.fd
  end
  return ends
end

return streams
