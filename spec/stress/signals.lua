-- Signals that are subscribed to: waited for, given up, closed.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if not aio.signals then
  return true
end

if stress_ready then
  stress_ready()
end

-- The world says no where memory is short; that is an error here.
local function ensure(value, message, ...)
  if value == nil then
    error(message, 0)
  end
  return value, message, ...
end

local function kill()
  ensure(io.popen("kill -USR1 $PPID")):close()
end

aio.run(function()
  local a <close> = ensure(aio.signals("USR1", "USR2"))
  local b = ensure(aio.signals("USR1"))
  kill()
  if a() ~= "USR1" then
    error "another signal"
  end
  aio.timeout(1e-5, a)
  b:close()
  ensure(aio.signals("HUP")) -- left to the collector
end)

return true
