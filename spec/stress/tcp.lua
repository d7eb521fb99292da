-- A line that goes to an echo server and back.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if not aio.tcp then
  return true
end

if stress_ready then
  stress_ready()
end

local failure -- of the server's side, which the client sees as an end

-- The world says no where memory is short; that is an error here.
local function ensure(value, message, ...)
  if value == nil then
    error(failure or message, 0)
  end
  return value, message, ...
end

local function talk(port)
  local conn <close> = ensure(aio.tcp.connect("127.0.0.1", port))
  ensure(conn:write("line\n", 1, "\n"))
  local first, second = ensure(conn:read("l", "l"))
  if first ~= "line" or second ~= "1" then
    error(("garbled: %s, %s"):format(first, second))
  end
  ensure(conn:shutdown())
  if conn:read(1) ~= nil then
    error "no end"
  end
end

aio.run({ on_error = function(e) failure = e end }, function()
  local server = ensure(aio.tcp.listen("127.0.0.1", 0))
  local _, port = server:sockname()
  local g <close> = aio.group()
  g:service(function()
    server:serve(function(conn)
      while true do
        local data = conn:read_some()
        if not data then
          break
        end
        conn:write(data)
      end
    end)
  end)
  aio.timeout(10, talk, port)
  aio.timeout(10, function()
    local conn = ensure(aio.tcp.connect("127.0.0.1", port))
    aio.timeout(1e-5, conn.read, conn, 1)
    conn:abort()
  end)
  server:close(0)
end)

return true
