--- UDP: sockets that send and receive datagrams.
--
-- SPDX-License-Identifier: MIT

local connect = require "perilune.connect"
local core = require "perilune.core"

local udp = {}

local BIND = { reuseaddr = "reuseaddr", protocol = "protocol" }
local CONNECT = { protocol = "protocol" }
local ANY = { "::", "0.0.0.0" } -- the first one takes IPv4 as well

-- What `make(address, port, opts)` returns for the first address that it does
-- not fail for.
local function first(make, addresses, port, opts)
  local socket, message, code
  for _, address in ipairs(addresses) do
    socket, message, code = make(address, port, opts)
    if socket then
      return socket
    end
  end
  return nil, message, code
end

-- The same for the addresses of a name.
local function first_of_name(make, host, port, opts)
  local list, message, code = connect.lookup(host)
  if not list then
    return nil, message, code
  end
  for i, entry in ipairs(list) do
    list[i] = entry.address
  end
  return first(make, list, port, opts)
end

--- Makes a socket that receives what is sent to host and port. Waits only if
-- the host is a name that has to be looked up.
-- @param host name or address; "*", or nil, is every address of this machine
-- @param port number; 0, or nil, is any free one, which `udp:sockname()` tells
-- @param opts table or nil: `reuseaddr` (false): others may bind the same, as
--   the members of a multicast group on one machine do; `protocol`: a table, or
--   a function that makes one
-- @return udp; or nil, message, code
function udp.bind(host, port, opts)
  host, port = host == nil and "*" or host, port == nil and 0 or port
  local n = connect.check_address(host, port, "bind")
  connect.check_options(opts, 3, "bind", BIND)
  if host == "*" then
    return first(core.udp.bind, ANY, n, opts)
  elseif core.is_address(host) then
    return core.udp.bind(host, n, opts)
  end
  return first_of_name(core.udp.bind, host, n, opts)
end

--- Makes a socket that sends to host and port, receives from there only, and is
-- told of errors on the way. Nothing is sent by this. Waits only if the host is
-- a name that has to be looked up.
-- @param host name or address
-- @param port number
-- @param opts table or nil: `protocol`: a table, or a function that makes one
-- @return udp; or nil, message, code
function udp.connect(host, port, opts)
  local n = connect.check_address(host, port, "connect")
  connect.check_options(opts, 3, "connect", CONNECT)
  if core.is_address(host) then
    return core.udp.connect(host, n, opts)
  end
  return first_of_name(core.udp.connect, host, n, opts)
end

-- What the core calls for a host that is no address.
function core.udp.socket.__send_to_name(socket, data, host, port)
  return first_of_name(function(address)
    return socket:send(data, address, port)
  end, host, port)
end

return udp
