--- Names and addresses of hosts.
--
-- SPDX-License-Identifier: MIT

local check = require "perilune.check"
local core = require "perilune.core"

local dns = {}

local FAMILIES = { any = true, inet = true, inet6 = true }

local function is_service(v)
  if type(v) == "string" then
    return v ~= "" and not v:find("\0", 1, true)
  end
  return math.type(v) == "integer" and v >= 0 and v <= 65535
end

-- What an option may be, and how messages say it.
local OPTIONS = {
  family = {
    function(v)
      return FAMILIES[v]
    end,
    '"any", "inet" or "inet6"',
  },
  service = { is_service, "the name of a service, or a port" },
  canonical = {
    function(v)
      return type(v) == "boolean"
    end,
    "a boolean",
  },
}

local function check_host(host, fname)
  if type(host) ~= "string" then
    check.fail(1, fname, "string expected, got " .. check.typename(host), 1)
  elseif host == "" or host:find("\0", 1, true) then
    check.fail(1, fname, "host name or address expected", 1)
  end
end

local function check_options(opts, fname)
  if opts ~= nil and type(opts) ~= "table" then
    check.fail(2, fname, "table expected, got " .. check.typename(opts), 1)
  end
  for name, value in pairs(opts or {}) do
    local kind = OPTIONS[name]
    if not kind then
      check.fail(2, fname, ("unknown option '%s'"):format(tostring(name)), 1)
    elseif not kind[1](value) then
      check.fail(2, fname, ("option '%s' must be %s"):format(name, kind[2]), 1)
    end
  end
end

--- Looks up the addresses of a host, as the system does it: in the hosts file,
-- by name servers. An address is its own answer, at once. Cancelled, the look-up
-- goes on unheard. Waits.
-- @param host name or address
-- @param opts table or nil: `family`, "inet" or "inet6" ("any"); `service`, a
--   name ("https") or port: then the entries have a `port`; `canonical` (false):
--   then the list has the host's proper name as its field `canonical`
-- @return list of tables with `address` and `family`, in the order in which they
--   should be tried; or nil, message, code
function dns.resolve(host, opts)
  check_host(host, "resolve")
  check_options(opts, "resolve")
  opts = opts or {}
  return core.dns.getaddrinfo(host, opts.family, opts.service, opts.canonical)
end

--- Looks up the name of an address. Waits.
-- @param address numeric
-- @return name; or nil, message, code
function dns.reverse(address)
  check_host(address, "reverse")
  if not core.is_address(address) then
    check.fail(1, "reverse", "numeric address expected")
  end
  return core.dns.getnameinfo(address)
end

return dns
