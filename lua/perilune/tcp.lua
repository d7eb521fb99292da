--- TCP: connecting to names with several addresses, and listening.
--
-- SPDX-License-Identifier: MIT

local connect = require "perilune.connect"
local core = require "perilune.core"
local serve = require "perilune.serve"

local tcp = {}

local TIMEOUT <const> = 30 -- seconds
local STAGGER <const> = 0.25 -- seconds until the next address is tried as well

local CONNECT = {
  timeout = "timeout",
  linger = "linger",
  nodelay = "nodelay",
  protocol = "protocol",
}
local LISTEN = {
  backlog = "backlog",
  reuseport = "reuseport",
  linger = "linger",
  nodelay = "nodelay",
  protocol = "factory",
}

-- Several addresses -----------------------------------------------------------

-- Alternates between the families, beginning with that of the first address.
local function interleave(list)
  local first, second, all = {}, {}, {}
  for _, entry in ipairs(list) do
    local of = entry.family == list[1].family and first or second
    of[#of + 1] = entry.address
  end
  for i = 1, math.max(#first, #second) do
    all[#all + 1] = first[i]
    all[#all + 1] = second[i]
  end
  return all
end

local Race = {}
Race.__index = Race

-- One attempt, a child of the race.
function Race:try(i, address)
  local conn, message, code = core.tcp.connect(address, self.port, self.opts)
  self.running = self.running - 1
  if not conn then
    self.errors[i] = { message, code }
  elseif self.winner then
    conn:close()
  else
    self.winner = conn
  end
  self.progress:set()
end

-- A connection that nobody will get: the race was cancelled at the finish.
function Race:__close(err)
  if err ~= nil and self.winner then
    self.winner:close()
  end
end

-- Waits until an attempt ends, or for so many seconds.
function Race:wait(seconds)
  self.progress:clear()
  core.timeout(seconds, self.progress.wait, self.progress)
end

function Race:run(addresses)
  local group <close> = core.group()
  for i, address in ipairs(addresses) do
    self.running = self.running + 1
    group:spawn(self.try, self, i, address)
    self:wait(i < #addresses and STAGGER or math.huge)
    if self.winner then
      break
    end
  end
  while self.running > 0 and not self.winner do
    self:wait(math.huge)
  end
  group:cancel("another address was faster")
end

-- What went wrong, in the order of the addresses; the code is the first one's.
local function combine(errors)
  local messages = {}
  for i, e in ipairs(errors) do
    messages[i] = e[1]
  end
  return nil, table.concat(messages, "; "), errors[1][2]
end

-- The attempts obey the limit of the whole, and have none of their own.
local function without_limit(opts)
  local copy = {}
  for name, value in pairs(opts or {}) do
    copy[name] = value
  end
  copy.timeout = math.huge
  return copy
end

-- Happy Eyeballs (RFC 8305): the addresses are tried one after the other,
-- without waiting long for each; the first connection wins.
local function race(addresses, port, opts)
  local r <close> = setmetatable({
    port = port,
    opts = opts,
    running = 0,
    errors = {},
    progress = core.event(),
  }, Race)
  r:run(addresses)
  if r.winner then
    return r.winner
  end
  return combine(r.errors)
end

local function connect_name(host, port, opts)
  local list, message, code = connect.lookup(host)
  if not list then
    return nil, message, code
  end
  local addresses = interleave(list)
  if #addresses == 1 then
    return core.tcp.connect(addresses[1], port, opts)
  end
  return race(addresses, port, opts)
end

local TIMED_OUT <const> = "ETIMEDOUT: connection timed out (connect %s:%d)"

-- Lets results through, but for the limit's own, whose message names nobody.
local function name_limit(host, port, conn, message, code)
  if conn then
    return conn
  elseif code == "ETIMEDOUT" then
    message = TIMED_OUT:format(host, port)
  end
  return nil, message, code
end

--- Connects. Tries all addresses of a name, as RFC 8305 says. Waits.
-- @param host name or address
-- @param port number
-- @param opts table or nil: `timeout` in seconds (30), for everything; `linger`
--   in seconds (5); `nodelay` (true); `protocol`: a table, or a function that
--   makes one
-- @return transport; or nil, message, code
function tcp.connect(host, port, opts)
  local n = connect.check_address(host, port, "connect")
  connect.check_options(opts, 3, "connect", CONNECT)
  if core.is_address(host) then
    return core.tcp.connect(host, n, opts)
  end
  local limit = opts and opts.timeout or TIMEOUT
  local inner = without_limit(opts)
  return name_limit(host, n, core.timeout(limit, connect_name, host, n, inner))
end

-- Listening -------------------------------------------------------------------

-- The first address that can be had.
local function listen_first(addresses, port, opts)
  local server, message, code
  for _, address in ipairs(addresses) do
    server, message, code = core.tcp.listen(address, port, opts)
    if server then
      return server
    end
  end
  return nil, message, code
end

local ANY = { "::", "0.0.0.0" } -- the first one takes IPv4 as well

--- Listens. Waits only if the host is a name that has to be looked up.
-- @param host name or address; "*" is every address of this machine
-- @param port number; 0 is any free one, which `server:sockname()` tells
-- @param opts table or nil: `backlog` (511), `reuseport` (false), `protocol`: a
--   function that makes one for each connection; for connections `linger`,
--   `nodelay`
-- @return server; or nil, message, code
function tcp.listen(host, port, opts)
  local n = connect.check_address(host, port, "listen")
  connect.check_options(opts, 3, "listen", LISTEN)
  if host == "*" then
    return listen_first(ANY, n, opts)
  elseif core.is_address(host) then
    return core.tcp.listen(host, n, opts)
  end
  local list, message, code = connect.lookup(host)
  if not list then
    return nil, message, code
  end
  return listen_first(interleave(list), n, opts)
end

serve.extend(core.tcp.server)

return tcp
