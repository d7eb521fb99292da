--- SOCKS5 proxy (RFC 1928): connects its clients to wherever they ask for, by
-- address or by name.
--
--   lua5.4 examples/socks.lua [port [host]]
--
-- Port 0 (the default) takes a free one; the line that is printed says which. It
-- knows CONNECT, and asks nobody for a password: keep it to this machine. Ctrl-C ends
-- it. To try it: curl --socks5-hostname 127.0.0.1:PORT http://example.org
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

local PATIENCE = 10 -- seconds for a client to say what it wants

local port, host = tonumber(arg[1] or 0), arg[2] or "127.0.0.1"
if not port then
  io.stderr:write "usage: socks.lua [port [host]]\n"
  os.exit(2)
end

-- What a reply calls it if a connection cannot be made.
local REPLIES = {
  ENETUNREACH = 3, EHOSTUNREACH = 4, ETIMEDOUT = 4, EAI_NONAME = 4, ECONNREFUSED = 5,
}
local FAILED, NO_SUCH_COMMAND, NO_SUCH_TYPE = 1, 7, 8

local function reply(conn, code)
  return assert(conn:write(string.pack("BBB BI4I2", 5, code, 0, 1, 0, 0)))
end

-- How the host of a request is read, by its type.
local HOSTS = {
  [1] = function(conn) -- an IPv4 address
    return ("%d.%d.%d.%d"):format(assert(conn:read_exactly(4)):byte(1, -1))
  end,
  [3] = function(conn) -- a name
    return assert(conn:read_exactly(assert(conn:read_exactly(1)):byte()))
  end,
  [4] = function(conn) -- an IPv6 address
    return (("%x:"):rep(8):format((">I2I2I2I2I2I2I2I2"):unpack(assert(conn:read_exactly(16))))
      :gsub(":$", ""))
  end,
}

-- Host and port that the client asks for; nil if it asks for what is not here.
local function request(conn)
  local version, methods = assert(conn:read_exactly(2)):byte(1, 2)
  assert(version == 5, "this is not SOCKS5")
  local known = assert(conn:read_exactly(methods)):find("\0", 1, true)
  assert(conn:write(known and "\5\0" or "\5\255"))
  assert(known, "the client insists on a password")
  local _, command, _, kind = assert(conn:read_exactly(4)):byte(1, 4)
  if not HOSTS[kind] then return nil, reply(conn, NO_SUCH_TYPE) end
  local to_host, to_port = HOSTS[kind](conn), (">I2"):unpack(assert(conn:read_exactly(2)))
  if command ~= 1 then return nil, reply(conn, NO_SUCH_COMMAND) end
  return to_host, to_port
end

-- Copies until `from` ends, and passes that end on.
local function copy(from, to)
  while true do
    local data, message, code = from:read_some()
    if message then return nil, message, code end
    if not data then return to:shutdown() end
    assert(to:write(data))
  end
end

local function serve(conn)
  local to_host, to_port, code = aio.timeout(PATIENCE, request, conn)
  assert(code ~= "ETIMEDOUT", to_port)
  if not to_host then return end
  local peer <close>, message, why = aio.tcp.connect(to_host, to_port)
  if not peer then
    reply(conn, REPLIES[why] or FAILED)
    return error(message, 0)
  end
  reply(conn, 0)
  assert(aio.all(
    function() return copy(conn, peer) end,
    function() return copy(peer, conn) end))
end

local function handle(conn)
  local ok, e = aio.pcall(serve, conn)
  if not ok then
    io.stderr:write("connection given up: ", tostring(e), "\n")
  end
end

local function main()
  local server <close> = assert(aio.tcp.listen(host, port))
  local _, bound = server:sockname()
  print(("SOCKS5 on %s port %d"):format(host, bound))
  io.stdout:flush()
  server:serve(handle)
end

local ok, e = pcall(aio.run, main)
if not ok then
  io.stderr:write(tostring(e), "\n")
end
os.exit(ok, true)
