-- Transports in memory: bytes in chunks, more than there is room for, in both
-- styles, closed and aborted.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local testing = require "perilune.testing"

if not aio.tcp then
  return true
end

local text = "line\n"
while #text < 2500 do -- string.rep does not ask a second time
  text = text .. text
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

local function by_tasks()
  local a <close>, b = testing.pair { chunk = { 1, 500 }, room = 1000 }
  local _ <close> = b
  aio.group(nil, function(g)
    g:spawn(function()
      ensure(a:write(text))
      ensure(a:shutdown())
    end)
    local got = ensure(b:read "a")
    if got ~= text then
      error "mixed up"
    end
  end)
end

local lost

local function by_protocol()
  local a <close>, b = testing.pair { room = 10 }
  lost = aio.future()
  b:protocol {
    data_received = function(p) p.data = true end,
    connection_lost = function() lost:resolve() end,
  }
  ensure(a:write "0123456789abcdef")
  a:close()
  lost:await()
  local c = testing.pair()
  c:write "lost"
  c:abort()
end

local failed
-- A method that could not be called says no more than that.
local function on_error(err)
  failed = err
  if lost then
    lost:fail(err)
  end
end

aio.run({ on_error = on_error }, function()
  by_tasks()
  by_protocol()
end)
if failed and not tostring(failed):find "memory" then
  error(failed, 0)
end

return true
