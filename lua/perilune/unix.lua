--- Unix sockets.
--
-- SPDX-License-Identifier: MIT

local check = require "perilune.check"
local connect = require "perilune.connect"
local core = require "perilune.core"
local serve = require "perilune.serve"

local unix = {}

local TIMEOUT <const> = 30 -- seconds
local RETRY <const> = 0.005 -- seconds until a full server is asked again

local CONNECT = {
  timeout = "timeout",
  linger = "linger",
  protocol = "protocol",
}
local LISTEN = { backlog = "backlog", linger = "linger", protocol = "factory" }

local function check_path(path, fname)
  if type(path) ~= "string" then
    check.fail(1, fname, "string expected, got " .. check.typename(path), 1)
  elseif path == "" or path:find("\0", 1, true) then
    check.fail(1, fname, "path expected", 1)
  end
end

-- The system does not wait for a server whose queue is full, as it does for
-- TCP, but says EAGAIN.
local function retry(path, opts)
  local conn, message, code
  repeat
    core.sleep(RETRY)
    conn, message, code = core.unix.connect(path, opts)
  until code ~= "EAGAIN"
  return conn, message, code
end

local function patient(path, opts, conn, message, code)
  if code ~= "EAGAIN" then
    return conn, message, code
  end
  local limit = opts and opts.timeout or TIMEOUT
  conn, message, code = core.timeout(limit, retry, path, opts)
  if code == "ETIMEDOUT" then
    message = ("ETIMEDOUT: connection timed out (connect %s)"):format(path)
  end
  return conn, message, code
end

--- Connects. Waits.
-- @param path of the server's socket
-- @param opts table or nil: `timeout` in seconds (30), `linger` in seconds (5),
--   `protocol`: a table, or a function that makes one
-- @return transport; or nil, message, code
function unix.connect(path, opts)
  check_path(path, "connect")
  connect.check_options(opts, 2, "connect", CONNECT)
  return patient(path, opts, core.unix.connect(path, opts))
end

--- Listens. The file is removed when the server is closed; one that a server
-- which died has left behind is replaced. Never waits.
-- @param path of the socket to be made
-- @param opts table or nil: `backlog` (511), `protocol`: a function that makes
--   one for each connection; for connections `linger`
-- @return server; or nil, message, code
function unix.listen(path, opts)
  check_path(path, "listen")
  connect.check_options(opts, 2, "listen", LISTEN)
  return core.unix.listen(path, opts)
end

--- Makes two transports that are connected with each other. Never waits.
-- @return transport, transport; or nil, message, code
function unix.pair()
  return core.unix.pair()
end

serve.extend(core.unix.server)

return unix
