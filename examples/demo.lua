--- The demonstration that `make demo` runs: a line server and a thousand
-- clients that talk to it at the same time, in this one process.
--
--   lua5.4 examples/demo.lua [--clients n] [--keep [port]]
--
-- All clients connect before any of them speaks. Then most ask their
-- questions as fast as they can, some take their time, some break off in the
-- middle of a line, and some ask for what takes longer than they will wait.
-- Each knows what must happen to it; the exit status is 1 if anything else
-- did. With --keep the server stays, to be talked to by hand.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

local PATIENCE = 20 -- seconds, where nobody should have to wait
local QUESTIONS = 20 -- lines that each client sends
local SPARE = 64 -- descriptors that are not sockets
local KEEP_PORT = 7007

-- The server ------------------------------------------------------------------

local stats = { connected = 0, most = 0, answered = 0, left = {} }
local all_there -- an event: as many are connected as are expected

local function count(failures, code)
  failures[code] = (failures[code] or 0) + 1
end

-- The answer to a line; "wait" takes longer than an impatient client does.
local function answer(line)
  if line == "wait" then
    aio.sleep(1)
  end
  return line:reverse()
end

-- Talks to one client until that ends the conversation: returns what the
-- failing call did, or nothing.
local function converse(conn)
  while true do
    local line, message, code = aio.timeout(PATIENCE, conn.read, conn, "l")
    if not line then
      return line, message, code
    elseif line == "quit" then
      return conn:write "bye\n"
    end
    local ok
    ok, message, code = conn:write(answer(line), "\n")
    if not ok then
      return nil, message, code
    end
    stats.answered = stats.answered + 1
  end
end

local function handle(conn)
  stats.connected = stats.connected + 1
  stats.most = math.max(stats.most, stats.connected)
  if stats.connected == stats.expected then
    all_there:set()
  end
  local _, _, code = converse(conn)
  if code then
    count(stats.left, code)
  end
  stats.connected = stats.connected - 1
end

-- The clients -----------------------------------------------------------------

-- Sends a line and compares what comes back: true, or nil, message, code.
local function ask(conn, line, patience)
  local ok, message, code = conn:write(line, "\n")
  if not ok then
    return nil, message, code
  end
  local reply
  reply, message, code = aio.timeout(patience or PATIENCE, conn.read, conn, "l")
  if reply == line:reverse() then
    return true
  end
  return nil, message or ("answered " .. tostring(reply)), code or "EWRONG"
end

local function ask_all(conn, id, pause)
  for i = 1, QUESTIONS do
    local ok, message, code = ask(conn, ("client %d, line %d"):format(id, i))
    if not ok then
      return nil, message, code
    end
    if pause and i % 5 == 0 then
      aio.sleep(pause)
    end
  end
  return true
end

-- What a client does, by kind. Each returns true, or nil, message, code.
local behaviour = {}

function behaviour.quick(conn, id)
  return ask_all(conn, id)
end

function behaviour.slow(conn, id)
  return ask_all(conn, id, 0.1 + id % 7 / 50)
end

function behaviour.rude(conn, id)
  local ok, message, code = ask(conn, "client " .. id)
  if ok then
    conn:write "and another th"
    conn:abort()
    return nil, "ECONNABORTED: hung up", "ECONNABORTED"
  end
  return nil, message, code
end

function behaviour.impatient(conn)
  return ask(conn, "wait", 0.2)
end

-- How each kind must end, and how many in a hundred are of it.
local kinds = {
  { name = "quick", share = 80 },
  { name = "slow", share = 10 },
  { name = "rude", share = 5, ends = "ECONNABORTED" },
  { name = "impatient", share = 5, ends = "ETIMEDOUT" },
}

local function kind_of(id)
  local place = (id - 1) % 100
  for _, kind in ipairs(kinds) do
    place = place - kind.share
    if place < 0 then
      return kind
    end
  end
end

-- Connects, and waits until all others have: the connection, or nil, message,
-- code.
local function join_in(port)
  local conn, message, code = aio.timeout(PATIENCE, aio.tcp.connect,
    "127.0.0.1", port)
  if conn and not aio.timeout(PATIENCE, all_there.wait, all_there) then
    conn:abort()
    return nil, "EALONE: the others did not come", "EALONE"
  end
  return conn, message, code
end

-- One client: joins in, behaves, and notes how that ended.
local function client(id, port, result)
  local kind = kind_of(id)
  local conn <close>, message, code = join_in(port)
  if conn then
    message, code = select(2, behaviour[kind.name](conn, id))
  end
  if code then
    count(result.failures, code)
  end
  if code ~= kind.ends then
    table.insert(result.wrong, ("client %d (%s): %s"):format(id, kind.name,
      message or "ended well"))
  end
  result.done = result.done + 1
end

-- The report ------------------------------------------------------------------

-- The most memory this process ever had, where the system says.
local function peak_memory()
  local file = io.open "/proc/self/status"
  local text = file and file:read "a" or ""
  if file then
    file:close()
  end
  local kib = text:match "VmHWM:%s*(%d+)"
  if kib then
    return ("%.1f MB"):format(kib / 1024)
  end
  return ("%.1f MB, in Lua"):format(collectgarbage "count" / 1024)
end

local function in_words(failures)
  local words = {}
  for code, n in pairs(failures) do
    words[#words + 1] = ("%d %s"):format(n, code)
  end
  table.sort(words)
  return #words > 0 and table.concat(words, ", ") or "none"
end

local function progress(result, began)
  while true do
    io.write(("\r%5.1f s  %4d connected  %4d done  %6d lines answered")
      :format(aio.now() - began, stats.connected, result.done, stats.answered))
    io.flush()
    aio.sleep(0.1)
  end
end

local function summary(result, seconds)
  print(("\r%-70s"):format(""))
  print(("clients            %d, %d of them connected at once")
    :format(result.clients, stats.most))
  print(("lines              %d asked and answered"):format(stats.answered))
  print("clients' failures  " .. in_words(result.failures))
  print("server's failures  " .. in_words(stats.left))
  print(("time               %.2f s, %.0f lines a second")
    :format(seconds, stats.answered / seconds))
  print("peak memory        " .. peak_memory() .. ", server and clients")
end

-- What else must be so; the failures have been compared one by one.
local function check(result)
  if stats.most < result.clients and #result.wrong == 0 then
    table.insert(result.wrong, "they were not all connected at once")
  end
  for i = 1, math.min(#result.wrong, 10) do
    print("WRONG: " .. result.wrong[i])
  end
  return #result.wrong == 0
end

-- Main ------------------------------------------------------------------------

local function run_clients(clients, port)
  local result = { clients = clients, done = 0, failures = {}, wrong = {} }
  local began = aio.now()
  stats.expected, all_there = clients, aio.event()
  aio.group(nil, function(g)
    g:service(progress, result, began)
    for id = 1, clients do
      g:spawn(client, id, port, result)
    end
  end)
  summary(result, aio.now() - began)
  return check(result)
end

local to_keep = [[

The server goes on with --keep:

  LUA_PATH="lua/?.lua;lua/?/init.lua;;" LUA_CPATH="build/?.so;;" \
    lua5.4 examples/demo.lua --keep]]

local by_hand = [[

Talk to it from another terminal; lines come back reversed, "quit" ends:

  nc 127.0.0.1 %d
]]

local function main(opts)
  -- They come all at once: none is to be turned away and try again later.
  local server <close> = assert(aio.tcp.listen("127.0.0.1", opts.port,
    { backlog = opts.clients }))
  local serving = aio.spawn(server.serve, server, handle)
  local _, port = server:sockname()
  local good = run_clients(opts.clients, port)
  if not opts.keep then
    print(to_keep)
    print(by_hand:format(KEEP_PORT))
    return good
  end
  print(by_hand:format(port))
  print "Ctrl-C ends it."
  io.flush()
  serving:await()
  return good
end

local function options(args)
  local opts, i = { clients = 1000, port = 0 }, 1
  local function number()
    local n = math.tointeger(tonumber(args[i + 1]))
    i = n and i + 1 or i
    return n
  end
  while args[i] do
    if args[i] == "--keep" then
      opts.keep = true
      opts.port = number() or KEEP_PORT
    elseif args[i] == "--clients" then
      opts.clients = number() or opts.clients
    else
      io.stderr:write "usage: demo.lua [--clients n] [--keep [port]]\n"
      os.exit(2)
    end
    i = i + 1
  end
  return opts
end

-- Descriptors that this process may have open; nil if nobody says.
local function descriptors()
  local pipe = io.popen "ulimit -S -n"
  local limit = pipe and tonumber(pipe:read "l")
  if pipe then
    pipe:close()
  end
  return limit
end

-- Starts this program again, by a shell that allows `n` descriptors if it can.
local function restart(n)
  local words, first = {}, 0
  while arg[first - 1] do
    first = first - 1
  end
  for i = first, #arg do
    words[#words + 1] = "'" .. arg[i]:gsub("'", "'\\''") .. "'"
  end
  local _, _, status = os.execute(
    ("ulimit -S -n %d 2>/dev/null; PERILUNE_DEMO=again exec %s")
      :format(n, table.concat(words, " ")))
  os.exit(status)
end

-- A client needs two descriptors, for both ends are ours, and many systems
-- give a process no more than 1024.
local function see_to_descriptors(opts)
  local limit, need = descriptors(), 2 * opts.clients + SPARE
  if not limit or limit >= need then
    return
  elseif not os.getenv "PERILUNE_DEMO" then
    restart(need)
  end
  opts.clients = math.max(1, (limit - SPARE) // 2)
  print(("only %d clients: `ulimit -n` is %d"):format(opts.clients, limit))
end

local opts = options(arg)
see_to_descriptors(opts)
local ok, good = pcall(aio.run, main, opts)
if not ok then
  io.stderr:write("\n", tostring(good), "\n")
end
os.exit(ok and good, true)
