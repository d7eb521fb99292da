--- Proxy: passes each connection on to another address, both ways.
--
--   lua5.4 examples/proxy.lua port to_host to_port
--
-- Port 0 takes a free one; the line that is printed says which. Ctrl-C ends
-- it.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

local port, to_host, to_port = tonumber(arg[1]), arg[2], tonumber(arg[3])

if not port or not to_port then
  io.stderr:write "usage: proxy.lua port to_host to_port\n"
  os.exit(2)
end

-- Copies until `from` ends, and passes that end on: the other direction may
-- still have much to say.
local function copy(from, to)
  while true do
    local data, message, code = from:read_some()
    if message then
      return nil, message, code
    elseif not data then
      return to:shutdown()
    end
    assert(to:write(data))
  end
end

-- Both directions are children of the task of this connection. If one fails
-- the other is cancelled; either way, both have ended when `all` returns.
local function pass_on(conn)
  local peer <close> = assert(aio.tcp.connect(to_host, to_port))
  assert(aio.all(
    function() return copy(conn, peer) end,
    function() return copy(peer, conn) end))
end

local function handle(conn)
  local ok, e = aio.pcall(pass_on, conn)
  if not ok then
    io.stderr:write("connection given up: ", tostring(e), "\n")
    conn:abort()
  end
end

local function main()
  local server <close> = assert(aio.tcp.listen("127.0.0.1", port))
  local _, bound = server:sockname()
  print(("port %d goes to %s port %d"):format(bound, to_host, to_port))
  io.stdout:flush()
  server:serve(handle)
end

local ok, e = pcall(aio.run, main)
if not ok then
  io.stderr:write(tostring(e), "\n")
end
os.exit(ok, true)
