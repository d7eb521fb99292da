--- What bench/peer runs: perilune's workloads and servers.
-- A workload is a function of the number of operations; it is run as the main
-- task and calls `start` and `stop` around what is measured.
--
-- SPDX-License-Identifier: MIT

local what, n = arg[1], math.tointeger(arg[2] or 1)
local aio = require "perilune"

local BATCH <const> = 1000
local GATHERED <const> = 10000
local LIMIT <const> = 100
local CONNECTIONS <const> = 4096

-- The meter ------------------------------------------------------------------

local begun = {}

-- Resident memory in KiB, now and at its peak.
local function memory()
  local status <close> = io.open("/proc/self/status")
  if not status then return 0, 0 end
  local text = status:read("a")
  return math.tointeger(text:match("VmRSS:%s*(%d+)")),
    math.tointeger(text:match("VmHWM:%s*(%d+)"))
end

-- The loop's clock is that of the turn, hence a new one.
local function clock()
  aio.yield()
  return aio.now()
end

local function start()
  begun.memory = memory()
  begun.wall = clock()
  begun.cpu = os.clock()
end

local function stop(operations)
  local cpu = os.clock() - begun.cpu
  local wall = clock() - begun.wall
  local _, peak = memory()
  local line = '{"n":%d,"wall":%.6f,"cpu":%.6f,"rss0_kb":%d,"hwm_kb":%d}'
  print(line:format(operations, wall, cpu, begun.memory, peak))
end

-- Workloads ------------------------------------------------------------------

local workloads = {}

local function trivial()
  return 1
end

local function switch(operations, ntasks)
  local each = operations // ntasks
  local function switcher()
    local yield = aio.yield
    for _ = 1, each do yield() end
  end
  local tasks = {}
  for i = 1, ntasks do tasks[i] = aio.spawn(switcher) end
  start()
  for _, task in ipairs(tasks) do task:await() end
  stop(each * ntasks)
end

function workloads.switch1(operations)
  switch(operations, 1)
end

function workloads.switch1000(operations)
  switch(operations, 1000)
end

-- Spawns fn and awaits it, in batches.
local function spawn_await(operations, fn)
  local spawn = aio.spawn
  local batches = math.max(1, operations // BATCH)
  start()
  for _ = 1, batches do
    local tasks = {}
    for i = 1, BATCH do tasks[i] = spawn(fn) end
    for i = 1, BATCH do tasks[i]:await() end
  end
  stop(batches * BATCH)
end

function workloads.spawn(operations)
  spawn_await(operations, trivial)
end

-- Two tasks hand each other one future after the other.
function workloads.future(operations)
  local future = aio.future
  local ping, pong
  local answering = aio.spawn(function()
    for _ = 1, operations do
      ping = future()
      ping:await()
      pong:resolve(1)
    end
  end)
  aio.yield()
  start()
  for _ = 1, operations do
    local answer = future()
    pong = answer
    ping:resolve(1)
    answer:await()
  end
  stop(operations)
  answering:await()
end

local function queue(operations, size)
  local channel = aio.channel(size)
  local putting = aio.spawn(function()
    for i = 1, operations do channel:put(i) end
  end)
  start()
  for _ = 1, operations do channel:get() end
  stop(operations)
  putting:await()
end

function workloads.queue1(operations)
  queue(operations, 1)
end

function workloads.queue100(operations)
  queue(operations, 100)
end

function workloads.sleepers(operations)
  local spawn, sleep, random = aio.spawn, aio.sleep, math.random
  start()
  local tasks = {}
  for i = 1, operations do tasks[i] = spawn(sleep, random()) end
  for i = 1, operations do tasks[i]:await() end
  stop(operations)
end

function workloads.timeouts(operations)
  local timeout = aio.timeout
  start()
  for _ = 1, operations do timeout(10, trivial) end
  stop(operations)
end

function workloads.gather(operations)
  local functions = {}
  for i = 1, GATHERED do functions[i] = trivial end
  local rounds = math.max(1, operations // GATHERED)
  start()
  for _ = 1, rounds do aio.all(table.unpack(functions)) end
  stop(rounds * GATHERED)
end

function workloads.cancel(operations)
  local tasks = {}
  for i = 1, operations do tasks[i] = aio.spawn(aio.sleep, 3600) end
  aio.yield()
  start()
  for i = 1, operations do tasks[i]:cancel() end
  for i = 1, operations do tasks[i]:join() end
  stop(operations)
end

function workloads.ctx_get(operations)
  local var = aio.context.var("bench")
  local get = var.get
  var:set(1)
  start()
  for _ = 1, operations do get(var) end
  stop(operations)
end

function workloads.ctx_set(operations)
  local var = aio.context.var("bench")
  local set = var.set
  start()
  for i = 1, operations do set(var, i) end
  stop(operations)
end

function workloads.ctx_spawn(operations)
  local var = aio.context.var("bench")
  var:set(7)
  spawn_await(operations, function() return var:get() end)
end

function workloads.lock(operations)
  local lock = aio.lock()
  start()
  for _ = 1, operations do
    lock:acquire()
    lock:release()
  end
  stop(operations)
end

-- Selects of two channels: first both have something, then they have not.
function workloads.select2(operations)
  local half = operations // 2
  local a, b = aio.channel(half), aio.channel(half)
  local function fill(wait)
    for i = 1, half // 2 do
      a:put(i)
      wait()
      b:put(i)
      wait()
    end
  end
  local get_a, get_b, select = a:get_op(), b:get_op(), aio.select
  fill(function() end)
  start()
  for _ = 1, half // 2 * 2 do select { get_a, get_b } end
  local filling = aio.spawn(fill, aio.yield)
  for _ = 1, half // 2 * 2 do select { get_a, get_b } end
  stop(half // 2 * 4)
  filling:await()
end

function workloads.map(operations)
  local list = {}
  for i = 1, GATHERED do list[i] = i end
  local function wait()
    aio.yield()
    return 1
  end
  local rounds = math.max(1, operations // GATHERED)
  start()
  for _ = 1, rounds do aio.map(list, wait, LIMIT) end
  stop(rounds * GATHERED)
end

function workloads.process(operations)
  start()
  for _ = 1, operations do assert(aio.process.run { "true" }) end
  stop(operations)
end

-- Files: those that bench/run has made. The io_ ones do the same with io.

local PIECE <const> = 65536
local DIR <const> = "build/bench/"

local function read_pieces(file)
  repeat local data = file:read(PIECE) until not data
  file:close()
end

function workloads.pieces(megabytes)
  start()
  read_pieces(assert(aio.fs.open(DIR .. megabytes .. "MB")))
  stop(megabytes)
end

function workloads.io_pieces(megabytes)
  start()
  read_pieces(assert(io.open(DIR .. megabytes .. "MB", "rb")))
  stop(megabytes)
end

-- A hash that is quick to reckon, so that reading is most of the work.
local function hash(text)
  local h = #text
  for at = 1, #text - 7, 8 do
    h = (h ~ string.unpack("i8", text, at)) * 0x100000001b3
  end
  return h
end

local function small_files(count)
  local list = {}
  for i = 1, count do list[i] = DIR .. "small/" .. i end
  return list
end

function workloads.hash(count)
  local list = small_files(count)
  start()
  aio.map(list, function(path) return hash(assert(aio.fs.read_file(path))) end, LIMIT)
  stop(count)
end

function workloads.io_hash(count)
  local list = small_files(count)
  start()
  for i = 1, count do
    local file <close> = assert(io.open(list[i], "rb"))
    hash(file:read "a")
  end
  stop(count)
end

-- Servers --------------------------------------------------------------------

local servers = {}

local function ready()
  print("READY")
  io.stdout:flush()
end

local function serve(port, handler)
  local options = { backlog = CONNECTIONS }
  local server = assert(aio.tcp.listen("127.0.0.1", port, options))
  ready()
  server:serve(handler)
end

function servers.serve_echo_task(port)
  serve(port, function(conn)
    while true do
      local data = conn:read_some()
      if not data then break end
      conn:write(data)
    end
  end)
end

function servers.serve_udp_task(port)
  local socket <close> = assert(aio.udp.bind("127.0.0.1", port))
  ready()
  for data, host, from in socket do
    socket:send(data, host, from)
  end
end

function servers.serve_line_task(port)
  serve(port, function(conn)
    while true do
      local line = conn:read("L")
      if not line then break end
      conn:write(line)
    end
  end)
end

function servers.serve_echo_proto(port)
  local echo = {}
  echo.__index = echo
  function echo:connection_made(conn) self.conn = conn end
  function echo:data_received(data) self.conn:write(data) end

  local options = {
    backlog = CONNECTIONS,
    protocol = function() return setmetatable({}, echo) end,
  }
  -- Held, because a server that nobody holds is closed.
  local _ <close> = assert(aio.tcp.listen("127.0.0.1", port, options))
  ready()
  aio.sleep(math.huge)
end

-- ----------------------------------------------------------------------------

if what == "list" then
  local names = { "startup" }
  for name in pairs(workloads) do names[#names + 1] = name end
  for name in pairs(servers) do names[#names + 1] = name end
  table.sort(names)
  print(table.concat(names, " "))
  return
end

local fn = workloads[what] or servers[what]
if not fn then
  io.stderr:write("bench/peer: no such workload: ", tostring(what), "\n")
  os.exit(2)
end
aio.run(fn, n)
