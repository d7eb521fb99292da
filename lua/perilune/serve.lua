--- Serving: a task for each connection, and closing a server in good order.
--
-- Adds `serve`, `close` and `abort` to the servers of the core.
--
-- SPDX-License-Identifier: MIT

local check = require "perilune.check"
local core = require "perilune.core"

local serve = {}

local GRACE <const> = 5 -- seconds that handlers get to end

-- Who serves a server: a list of records with `group`, `task` (who called
-- serve) and `ended`, an event.
local servings = setmetatable({}, { __mode = "k" })

local Serving = {}
Serving.__index = Serving

--- Forgets what has ended.
function Serving:__close()
  local list = servings[self.server]
  for i, other in ipairs(list) do
    if other == self then
      table.remove(list, i)
      break
    end
  end
  self.ended:set()
end

local function begin(server)
  local state = { server = server, task = core.task(), ended = core.event() }
  local serving = setmetatable(state, Serving)
  local list = servings[server] or {}
  servings[server] = list
  list[#list + 1] = serving
  return serving
end

-- Handlers --------------------------------------------------------------------

-- The body of a connection's task.
local function handle(handler, conn)
  local _ <close> = conn
  core.served(conn)
  handler(conn)
end

-- The same, counted: the last one that makes room wakes who accepts.
local function handle_counted(handler, conn, slots)
  local _ <close> = slots
  return handle(handler, conn)
end

local Slots = {}

function Slots:__close()
  self.used = self.used - 1
  self.free:set()
end

function Slots:__call(conn)
  self.used = self.used + 1
  while self.used >= self.limit do
    self.free:clear()
    self.free:wait()
  end
  return conn
end

local function serve_all(server, group, handler)
  for conn in server do
    core.serving(group, handle, handler, conn)
  end
end

local function serve_some(server, group, handler, limit)
  local state = { used = 0, limit = limit, free = core.event() }
  local slots = setmetatable(state, Slots)
  for conn in server do
    core.serving(group, handle_counted, handler, conn, slots)
    slots()
  end
end

local REPORT = { on_failure = core.report }

local function check_server(server, fname)
  local got = check.typename(server)
  if not got:find "%.server$" then
    check.fail(1, fname, "server expected, got " .. got .. "; call it with ':'", 2)
  end
end

local function check_serve(server, handler, opts)
  check_server(server, "serve")
  if not check.callable(handler) then
    local got = check.typename(handler)
    check.fail(1, "serve", "function expected, got " .. got, 1)
  elseif opts ~= nil and type(opts) ~= "table" then
    check.fail(2, "serve", "table expected, got " .. check.typename(opts), 1)
  end
  for name in pairs(opts or {}) do
    if name ~= "limit" then
      check.fail(2, "serve", ("unknown option '%s'"):format(tostring(name)), 1)
    end
  end
  local limit = opts and opts.limit
  if limit ~= nil and (math.type(limit) ~= "integer" or limit < 1) then
    check.fail(2, "serve", "option 'limit' must be a positive integer", 1)
  end
  return limit
end

--- Calls `handler(conn)` in a task of its own, and in a logical context of its
-- own, for each connection, and closes the connection when that ends. A handler
-- that fails is reported to the error hook and harms no other. Waits: returns
-- when the server has been closed and all handlers have ended.
-- @param handler function
-- @param opts table or nil; `limit`: how many connections at once at most
-- @return true
function serve.serve(server, handler, opts)
  local limit = check_serve(server, handler, opts)
  local serving <close> = begin(server)
  local group <close> = core.group(REPORT)
  serving.group = group
  if limit then
    serve_some(server, group, handler, limit)
  else
    serve_all(server, group, handler)
  end
  return true
end

-- Closing ---------------------------------------------------------------------

local function wait_for(list)
  for _, serving in ipairs(list) do
    serving.ended:wait()
  end
  return true
end

local function cancel(list, reason)
  for _, serving in ipairs(list) do
    if serving.group then
      serving.group:cancel(reason)
    end
  end
end

-- Is the running task a handler, or a task that one of them has made?
local function is_inside(list)
  local task = core.task()
  while task do
    for _, serving in ipairs(list) do
      if task == serving.task then
        return true
      end
    end
    task = task:info().parent
  end
  return false
end

local function finish(list, grace)
  if not core.timeout(grace, wait_for, list) then
    cancel(list, "server closed")
    wait_for(list)
  end
  return true
end

local function copy(list)
  return table.move(list or {}, 1, #(list or {}), 1, {})
end

-- Accepts no more; raises, for the method `fname`, if that is no server.
local function stop(server, fname)
  check_server(server, fname)
  server:stop()
end

--- Accepts no more; handlers get `grace` seconds to end and are cancelled then.
-- Waits until they have ended, unless one of them calls this: then that goes on
-- in the background.
-- @param grace seconds (5)
-- @return true
function serve.close(server, grace)
  local is_number = type(grace) == "number" and grace == grace
  if grace ~= nil and (not is_number or grace < 0) then
    local got = check.typename(grace)
    check.fail(1, "close", "number of seconds expected, got " .. got)
  end
  stop(server, "close")
  local list = copy(servings[server])
  if #list == 0 then
    return true
  elseif is_inside(list) then
    core.spawn(finish, list, grace or GRACE)
    return true
  end
  return finish(list, grace or GRACE)
end

--- Accepts no more, and cancels the handlers. Never waits.
-- @return true
function serve.abort(server)
  stop(server, "abort")
  cancel(copy(servings[server]), "server aborted")
  return true
end

--- Adds the methods to a type of servers.
-- @param meta its metatable
function serve.extend(meta)
  meta.serve, meta.close, meta.abort = serve.serve, serve.close, serve.abort
  function meta.__close(server)
    return serve.close(server)
  end
end

return serve
