--- Two ends of a connection, for specs; and peers that are not ours.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local core = require "perilune.core"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local ends = {}

--- Two transports that are connected with each other by TCP.
-- @param opts of connect
function ends.tcp(opts)
  local server <close> = assert(aio.tcp.listen("127.0.0.1", 0))
  local _, port = server:sockname()
  local a = assert(aio.tcp.connect("127.0.0.1", port, opts))
  return a, assert(server:accept())
end

--- The same by a unix socket.
function ends.unix()
  return aio.unix.pair()
end

--- The same in memory.
function ends.memory()
  return testing.pair()
end

--- Closes transports at the end of a block.
function ends.held(...)
  local all = { ... }
  return setmetatable({}, {
    __close = function()
      for _, conn in ipairs(all) do
        conn:close()
      end
    end,
  })
end

--- Lets what is ready run, and asks the outside: a task spawned before is in
-- its wait afterwards; what was sent before has arrived after two turns.
function ends.turn(n)
  for _ = 1, n or 1 do
    core.poll()
    aio.yield()
  end
end

--- Spawns a task that calls `fn` and is in its first wait when this returns.
function ends.parked(fn, ...)
  local task = aio.spawn(fn, ...)
  ends.turn()
  return task
end

--- Returns in the turn in which a parked task has been woken, before it runs.
-- @return the task
function ends.woken(task)
  while task:info().state == "waiting" do
    aio.yield()
  end
  return task
end

--- Fills the way from `a` to its peer until a write would wait.
-- @return how many bytes that took
function ends.fill(a)
  local block, n = ("x"):rep(65536), 0
  while aio.timeout(0.02, a.write, a, block) do
    n = n + #block
  end
  return n
end

local function write_file(text)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  return path
end

local NAMESPACE = [[
ip link set lo up || exit 77
%s || exit 77
exec env %s %s 2>&1
]]

--- Runs a program, which has `aio`, in a network and a mount table of its own.
-- @param setup command of a shell that prepares these
-- @return what it writes; or nil and why that is impossible here
function ends.namespace(setup, code)
  local program = write_file("local aio = require 'perilune'\n" .. code)
  local script = write_file(NAMESPACE:format(setup, helper.command(),
    program))
  local pipe = assert(io.popen(
    "env -u LD_PRELOAD timeout 60 unshare -rnm sh " .. script .. " 2>&1"))
  local out = pipe:read "a"
  local good, _, status = pipe:close()
  os.remove(program)
  os.remove(script)
  if not good and (status == 77 or out:find "unshare") then
    return nil, "no namespaces here: " .. out
  end
  return out
end

--- Starts a Python program that talks to us. It has `port` or `path` in `arg`.
-- @return the pipe that it writes to: `read "a"` waits for its end
function ends.python(code, arg)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write("import os, socket, struct, sys, time\n")
  file:write("os.remove(sys.argv[0])\narg = sys.argv[1]\n", code)
  file:close()
  local command = "env -u LD_PRELOAD timeout 20 python3 %s %s 2>&1"
  return assert(io.popen(command:format(path, arg), "r"))
end

--- A directory that is removed with what is in it.
function ends.directory()
  local path = os.tmpname()
  os.remove(path)
  assert(os.execute("mkdir " .. path))
  return setmetatable({ path = path }, {
    __close = function()
      os.execute("rm -rf " .. path)
    end,
  })
end

return ends
