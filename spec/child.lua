--- Programs that run beside a spec: talked to, signalled, waited for.
--
--   local child <close> = Child.start "examples/echo.lua 0"
--   local line = child:line()
--   child:signal "INT"
--   local rest, status = child:finish()
--
-- Order comes from the lines a child prints: whoever has read its "ready"
-- knows that it is.
--
-- SPDX-License-Identifier: MIT

local helper = require "spec.helper"

local PATIENCE = 20 -- seconds after which a child is killed

local Child = {}
Child.__index = Child

--- A child's own children would miss the sanitizers' libraries.
Child.sanitized = helper.preload() ~= ""

-- A spec may itself run with SIGINT ignored, as behind a shell's "&"; what it
-- starts shall not.
local function default_signals()
  local known = os.execute "env --default-signal=INT true 2>/dev/null"
  return known and "--default-signal=INT" or ""
end

--- Starts a Lua program. Its stderr goes where its stdout goes.
-- @param words file and arguments, as for a shell
-- @param before what the shell does that starts it, or nil
function Child.start(words, before)
  local command = ("exec timeout -s KILL %d env %s sh -c "
    .. "'echo $$; %s; exec env %s \"$@\"' sh '%s' %s 2>&1 </dev/null")
    :format(PATIENCE * helper.slow, default_signals(), before or ":",
      helper.preload(), helper.interpreter(), words)
  local pipe = assert(io.popen(command, "r"))
  local self = setmetatable({ pipe = pipe }, Child)
  self.pid = assert(math.tointeger(tonumber(pipe:read "l")))
  return self
end

--- Starts a program that is given as text.
function Child.code(code, before)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(code)
  file:close()
  local self = Child.start(path, before)
  self.path = path
  return self
end

--- The next line that the child prints; nil at its end.
function Child:line()
  return self.pipe:read "l"
end

-- True if a signal waits to be delivered to the process, as far as can be told.
local function is_pending(pid)
  local file = io.open(("/proc/%d/status"):format(pid))
  if not file then
    return false
  end
  local pending = (file:read "a" or ""):match "ShdPnd:%s*(%x+)"
  file:close()
  return pending and pending:find "[^0]"
end

--- Sends it a signal, by name. Returns when that has arrived: the next one of
-- the kind would else be the same.
function Child:signal(name)
  assert(os.execute(("kill -%s %d"):format(name, self.pid)))
  while is_pending(self.pid) do
    os.execute "sleep 0.001"
  end
end

--- Waits for its end: the rest of what it printed, and its exit status, or
-- "signal" and the number.
function Child:finish()
  local rest = self.pipe:read "a"
  local _, how, status = self.pipe:close()
  self.pipe = nil
  if self.path then
    os.remove(self.path)
  end
  if how == "signal" or status > 128 then
    return rest, "signal", status > 128 and status - 128 or status
  end
  return rest, status
end

function Child:__close()
  if self.pipe then
    os.execute(("kill -KILL %d 2>/dev/null"):format(self.pid))
    self:finish()
  end
end

return Child
