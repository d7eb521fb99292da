--- Echo server: sends back what it is sent, a task for each connection.
--
--   lua5.4 examples/echo.lua [port [host]]
--
-- Port 0 (the default) takes a free one; the line that is printed says which.
-- Ctrl-C ends it.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

local port = tonumber(arg[1]) or 0
local host = arg[2] or "127.0.0.1"

-- Written as if there were only one connection. What the peer does not read
-- is not read from it either: `write` waits while too much is unsent.
local function echo(conn)
  local data = conn:read_some()
  while data and conn:write(data) do
    data = conn:read_some()
  end
end

local function main()
  local server <close> = assert(aio.tcp.listen(host, port))
  local _, bound = server:sockname()
  print(("echo on %s port %d"):format(host, bound))
  io.stdout:flush()
  server:serve(echo)
end

local ok, e = pcall(aio.run, main)
if not ok then
  io.stderr:write(tostring(e), "\n")
end
os.exit(ok, true)
