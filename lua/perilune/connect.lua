--- What connecting and listening have in common: checks of arguments.
--
-- SPDX-License-Identifier: MIT

local check = require "perilune.check"
local core = require "perilune.core"

local connect = {}

local function is_seconds(v)
  return type(v) == "number" and v == v
end

local function is_limit(v)
  return is_seconds(v) and v >= 0
end

local function is_boolean(v)
  return type(v) == "boolean"
end

local function is_count(v)
  return math.type(v) == "integer" and v > 0 and v < 32768
end

local function is_factory(v)
  return check.callable(v)
end

local function is_protocol(v)
  return type(v) == "table" or check.callable(v)
end

-- What an option may be, and how messages say it.
local KINDS = {
  timeout = { is_seconds, "a number of seconds" },
  linger = { is_limit, "a number of seconds, not negative" },
  nodelay = { is_boolean, "a boolean" },
  reuseaddr = { is_boolean, "a boolean" },
  reuseport = { is_boolean, "a boolean" },
  backlog = { is_count, "an integer from 1 to 32767" },
  protocol = { is_protocol, "a table, or a function that makes one" },
  factory = { is_factory, "a function that makes one" },
}

--- Raises "bad argument" at the caller of the public function unless `host` can
-- be one and `port` is a port number.
-- @return the port as an integer
function connect.check_address(host, port, fname)
  if type(host) ~= "string" then
    check.fail(1, fname, "string expected, got " .. check.typename(host), 1)
  elseif host == "" or host:find("\0", 1, true) then
    check.fail(1, fname, "host name or address expected", 1)
  end
  local n = math.tointeger(port)
  if not n then
    local got = check.typename(port)
    check.fail(2, fname, "port number expected, got " .. got, 1)
  elseif n < 0 or n > 65535 then
    check.fail(2, fname, "port from 0 to 65535 expected", 1)
  end
  return n
end

--- The addresses of a name, unless the host of this loop has not opened look-ups.
-- @return list; or nil, message, code
function connect.lookup(host)
  if not core.dns then
    return nil, ("ENOTSUP: names are not looked up here (lookup %s)"):format(host), "ENOTSUP"
  end
  return core.dns.getaddrinfo(host)
end

--- Raises "bad argument" at the caller of the public function unless `opts` is
-- nil or a table of options that exist.
-- @param opts what was given
-- @param arg its number
-- @param fname name of the public function
-- @param known set of options: name -> kind, a key of the table above
function connect.check_options(opts, arg, fname, known)
  if opts == nil then
    return
  elseif type(opts) ~= "table" then
    check.fail(arg, fname, "table expected, got " .. check.typename(opts), 1)
  end
  for name, value in pairs(opts) do
    local kind = KINDS[known[name]]
    if not kind then
      check.fail(arg, fname, ("unknown option '%s'"):format(tostring(name)), 1)
    elseif not kind[1](value) then
      local text = ("option '%s' must be %s"):format(name, kind[2])
      check.fail(arg, fname, text, 1)
    end
  end
end

return connect
