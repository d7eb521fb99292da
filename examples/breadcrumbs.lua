--- Breadcrumbs: what led to an error, request by request.
--
--   lua5.4 examples/breadcrumbs.lua [requests]
--
-- A service that collects errors wants to know what the program did just
-- before, for the one request that failed and for no other. The breadcrumb
-- library below knows nothing of servers, tasks or HTTP. It has a context
-- variable, the key of the logical context, and a hook for its end; and still
-- it works in timers, in generators that wait, in groups of tasks, and beside a
-- pool of connections that all requests share.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

-- The breadcrumb library --------------------------------------------------------

local crumbs = {}
do
  local key, on_close = aio.context.key, aio.context.on_close
  local MOST = 20 -- that are kept of one request

  local where = aio.context.var("where", "?")
  local trails = {} -- key -> list of crumbs, as long as its context lives
  crumbs.trails = trails

  local function trail()
    local id = key()
    if not trails[id] then
      trails[id] = {}
      on_close(function() trails[id] = nil end)
    end
    return trails[id]
  end

  --- Leaves a crumb.
  function crumbs.leave(text)
    local list = trail()
    list[#list + 1] = ("%s: %s"):format(where:get(), text)
    if #list > MOST then table.remove(list, 1) end
  end

  --- What was left so far where this is called.
  function crumbs.report()
    return table.concat(trail(), "\n")
  end

  --- Calls `fn`; crumbs left inside, whenever that is, name the place.
  function crumbs.within(place, fn, ...)
    return where:with(where:get() .. "/" .. place, fn, ...)
  end

  --- From now on crumbs name this place.
  function crumbs.enter(place)
    where:set(place)
  end
end

-- A pool of connections, shared by all requests -----------------------------------

local pool = { idle = {}, opened = 0 }

-- The connection outlives the request that happens to need one first: it is to
-- keep nothing of it.
local function connect()
  pool.opened = pool.opened + 1
  return assert(aio.context.suppress(aio.tcp.connect, "127.0.0.1", pool.port))
end

-- Asks the backend, which answers a line with a line.
function pool.ask(question)
  local conn = table.remove(pool.idle) or connect()
  assert(conn:write(question, "\n"))
  local answer = assert(conn:read "l")
  pool.idle[#pool.idle + 1] = conn
  crumbs.leave(("asked %q, got %q"):format(question, answer))
  return answer
end

local function backend(conn)
  for line in conn:lines() do
    aio.sleep(#line % 3 / 1000)
    conn:write(line:upper(), "\n")
  end
end

-- The application -----------------------------------------------------------------

-- A generator that waits between its values.
local function rows(id)
  return aio.coroutine.wrap(function()
    for row = 1, 3 do
      coroutine.yield(pool.ask(("row %d of %s"):format(row, id)))
    end
  end)
end

local function part(id, n)
  aio.sleep(n / 1000)
  pool.ask(("part %d of %s"):format(n, id))
end

local function page(id)
  crumbs.leave("begin of " .. id)
  -- May come when the request has been answered, and is part of it.
  aio.loop():call_later(0.02, function()
    crumbs.leave("statistics of " .. id)
  end)
  local got = {}
  crumbs.within("rows", function()
    for row in rows(id) do got[#got + 1] = row end
  end)
  crumbs.within("parts", function()
    local g <close> = aio.group()
    for n = 1, 2 do g:spawn(part, id, n) end
  end)
  if id:find "bad" then
    error(("no page for %s"):format(id), 0)
  end
  return ("%d rows for %s"):format(#got, id)
end

-- The server ----------------------------------------------------------------------

-- Lines, not quite HTTP: "GET /id" gives "200 text", or "500 n" and n bytes of
-- breadcrumbs.
local function handle(conn)
  for line in conn:lines() do
    local id = line:match "^GET /(%S+)$"
    if not id then return end
    -- Each request on a connection is a logical context of its own.
    aio.context.run(function()
      crumbs.enter(id)
      local ok, result = aio.pcall(page, id)
      if ok then
        conn:write("200 ", result, "\n")
      else
        local report = result .. "\n" .. crumbs.report()
        conn:write("500 ", #report, "\n", report)
      end
    end)
  end
end

-- The clients, and what they find ----------------------------------------------------

local result = { good = 0, failed = 0, mixed = 0, seen = 0 }

-- The keys of all requests, as long as anything holds them.
local keys = setmetatable({}, { __mode = "k" })

local function watch()
  for id in pairs(crumbs.trails) do
    result.seen = result.seen + (keys[id] and 0 or 1)
    keys[id] = true
  end
end

-- Every crumb of a failure must be of the request that failed.
local function check(id, report)
  local n = 0
  for line in report:gmatch "[^\n]+" do
    n = n + 1
    if not line:lower():find(id, 1, true) then
      result.mixed = result.mixed + 1
      print("MIXED: " .. id .. " has " .. line)
    end
  end
  result.failed = result.failed + 1
  -- The failure, its begin, three rows, two parts; the timer may have come.
  assert(n == 7 or n == 8, report)
  result.example = result.example or report
end

local function get(conn, id)
  conn:write("GET /", id, "\n")
  local status, rest = conn:read "l":match "^(%d+) (.*)$"
  watch()
  if status == "500" then
    check(id, assert(conn:read_exactly(tonumber(rest))))
  elseif rest == "3 rows for " .. id then
    result.good = result.good + 1
  end
end

-- Two requests on one connection; each third one fails.
local function client(port, n)
  local conn <close> = assert(aio.tcp.connect("127.0.0.1", port))
  for i = 1, 2 do
    get(conn, ("%s-%d-%d"):format(n % 3 == 0 and "bad" or "good", n, i))
  end
end

local function serve(handler)
  local server = assert(aio.tcp.listen("127.0.0.1", 0))
  aio.spawn(server.serve, server, handler)
  local _, port = server:sockname()
  return server, port
end

local function main(clients)
  local _ <close>, port = serve(handle)
  local back <close>, back_port = serve(backend)
  pool.port = back_port
  aio.group(nil, function(g)
    for n = 1, clients do g:spawn(client, port, n) end
  end)
  aio.sleep(0.1) -- timers and hooks of the last requests
  collectgarbage()
  collectgarbage()
  result.left = next(crumbs.trails) ~= nil or next(keys) ~= nil
  for _, conn in ipairs(pool.idle) do conn:close() end
  back:close()
end

local clients = tonumber(arg and arg[1]) or 30
aio.run(main, clients)

print(result.example)
print(("%d good, %d failed, %d mixed up; %d shared connections"):format(
  result.good, result.failed, result.mixed, pool.opened))
assert(result.good + result.failed == 2 * clients, "a request has no answer")
assert(result.mixed == 0, "crumbs of another request")
assert(result.seen > 0 and not result.left, "something is left of a request")
print "nothing is left of any request"
