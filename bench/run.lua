--- Measures the library against its limits; bench/run builds those first.
--
-- SPDX-License-Identifier: MIT

local ROUNDS <const> = math.tointeger(os.getenv("BENCH_ROUNDS") or 9)
local SECONDS <const> = tonumber(os.getenv("BENCH_SECONDS") or 0.4)
local STARTS <const> = 20 -- of programs, in a round

-- The bars for the memory of one thing are decimal, that of a process is not.
local KB <const> = 1000
local MB_IN_KIB <const> = 1024

local lua = os.getenv("BENCH_LUA")
local peer <const> = "bench/peer"

-- Running programs -----------------------------------------------------------

-- What a command prints; raises if it fails.
local function output(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read("a")
  if not pipe:close() then error("failed: " .. command, 0) end
  return text
end

local function succeeds(command)
  return (os.execute(command .. " >/dev/null 2>&1"))
end

local function numbers(text)
  local list = {}
  for word in text:gmatch("%S+") do list[#list + 1] = tonumber(word) end
  return table.unpack(list)
end

-- Server and client get a processor each, so that neither moves the other.
local server_pin, client_pin = "", ""
if succeeds("taskset -c 1 true") then
  server_pin, client_pin = "taskset -c 0 ", "taskset -c 1 "
end

-- Figures --------------------------------------------------------------------

-- The smallest of the results of fn, called once a round: what else the machine
-- does only ever adds.
local function best(fn)
  local least = math.huge
  for _ = 1, ROUNDS do least = math.min(least, fn()) end
  return least
end

-- How many times what `other` takes, `fn` does. Both are called in each round,
-- so that other work on the machine touches both; as it need not touch both
-- alike, only the quieter half of the rounds counts, of which this is the
-- median.
local function ratio(fn, other)
  local rounds = {}
  for i = 1, ROUNDS do
    local took, others = fn(), other()
    rounds[i] = { all = took + others, ratio = took / others }
  end
  table.sort(rounds, function(a, b) return a.all < b.all end)
  local quiet = {}
  for i = 1, (ROUNDS + 1) // 2 do quiet[i] = rounds[i].ratio end
  table.sort(quiet)
  return quiet[(#quiet + 1) // 2]
end

local failures = 0

-- Prints a row of the table. `sign` says which side of the bar is good.
local function row(what, measured, unit, sign, bar)
  local good = measured <= bar
  if sign == ">=" then good = measured >= bar end
  if not good then failures = failures + 1 end
  local shown = unit == "x" and "%.2f %s" or "%.4g %s"
  print(("%-46s %11s   %s %-7s %s"):format(what, shown:format(measured, unit),
    sign, ("%.4g %s"):format(bar, unit), good and "pass" or "FAIL"))
end

local function skip(what, why)
  print(("%-46s %11s   %s"):format(what, "not run", why))
end

-- Tasks ----------------------------------------------------------------------

-- Nanoseconds of CPU time per operation of a workload of ours, and the bytes
-- by which memory grew for each.
local function workload(name, n)
  local line = output(("%s %s %d"):format(peer, name, n))
  local function field(key)
    return tonumber(line:match('"' .. key .. '":([%d.]+)'))
  end
  return field("cpu") / field("n") * 1e9,
    (field("hwm_kb") - field("rss0_kb")) * 1024 / field("n")
end

-- Nanoseconds of CPU time per bare lua_resume and lua_yield, with so many
-- coroutines in turn.
local function pair(coroutines)
  local n <const> = 4000000
  local script = "print(require('limit').pair(%d, %d))"
  local command = lua .. ' -e "' .. script .. '"'
  return tonumber(output(command:format(n, coroutines))) / n * 1e9
end

local function one_pair()
  return pair(1)
end

local function in_pairs(name, n)
  return ratio(function() return (workload(name, n)) end, one_pair)
end

local parts = {}

function parts.switch()
  print(("(a bare resume and yield takes %.1f ns, over 1000 coroutines %.1f)")
    :format(best(one_pair), best(function() return pair(1000) end)))
  row("switch, 1000 tasks", in_pairs("switch1000", 4000000), "x", "<=", 2)
end

function parts.spawn()
  row("spawn and await a trivial task", in_pairs("spawn", 1000000),
    "x", "<=", 5.5)
end

function parts.future()
  row("future round trip between two tasks", in_pairs("future", 500000),
    "x", "<=", 11)
end

function parts.timeout()
  row("timeout around what completes at once", in_pairs("timeouts", 2000000),
    "x", "<=", 2.5)
end

function parts.cancel()
  row("cancel one of 100,000 sleepers", in_pairs("cancel", 100000),
    "x", "<=", 18)
end

-- What tasks do among themselves: operations, and how many times asyncio's CPU
-- time it is to take at least. Where there is no bar, it is only shown.
local BETWEEN <const> = {
  { "future", 100000, 7, "future round trip between two tasks" },
  { "queue1", 100000, 15, "channel with room for 1" },
  { "queue100", 200000, 5, "channel with room for 100" },
  { "gather", 100000, 9, "all of 10,000" },
  { "cancel", 50000, 9, "cancel a sleeper" },
  { "ctx_get", 2000000, 0.6, "get a context variable" },
  { "ctx_set", 1000000, 2, "set a context variable" },
  { "lock", 300000, nil, "lock and release" },
  { "select2", 40000, nil, "select of two" },
  { "map", 50000, nil, "map of 10,000, 100 at a time" },
}

function parts.between()
  local python = os.getenv("BENCH_PYTHON") or "python3"
  if not succeeds(python .. " -c 'import asyncio'") then
    return skip("work between tasks, to asyncio", "there is no python3")
  end
  for _, case in ipairs(BETWEEN) do
    local name, n, bar, what = table.unpack(case, 1, 4)
    local function cost(program)
      local line = output(("%s %s %d"):format(program, name, n))
      return tonumber(line:match('"cpu":([%d.]+)')) / tonumber(line:match('"n":(%d+)'))
    end
    local times = ratio(function() return cost(python .. " bench/between.py") end,
      function() return cost(peer) end)
    what = what .. ", to asyncio"
    if bar then
      row(what, times, "x", ">=", bar)
    else
      print(("%-46s %11s"):format(what, ("%.2f x"):format(times)))
    end
  end
end

-- Most of the work is the kernel's, which copies the page tables of a process
-- that forks: a plain program on libuv, being small, shows what can be had.
function parts.process()
  local n <const> = 100
  local what <const> = "run a program, to asyncio"
  local python = os.getenv("BENCH_PYTHON") or "python3"
  if not succeeds(python .. " -c 'import asyncio'") then
    return skip(what, "there is no python3")
  end
  local function cost(program)
    return function()
      return tonumber(output(("%s %d"):format(program, n)):match('"cpu":([%d.]+)'))
    end
  end
  local theirs = cost(python .. " bench/between.py process")
  print(("(asyncio takes %.2f x a plain program on libuv)")
    :format(ratio(theirs, cost("build/bench/process"))))
  row(what, ratio(theirs, cost(peer .. " process")), "x", ">=", 3)
end

-- Files in the system's memory, so that the disk is not measured. Those that are
-- small are read by threads of the pool, which costs more than the reading, but
-- keeps nobody waiting.
function parts.files()
  local megabytes <const>, count <const>, size <const> = 256, 10000, 1000
  local dir <const> = "build/bench/"
  local make = "[ -e %s ] || (head -c %d /dev/zero | tr '\\0' x > %s)"
  local big = dir .. megabytes .. "MB"
  assert(succeeds(make:format(big, megabytes << 20, big)))
  local small = "[ -e %s/%d ] || { mkdir -p %s && cd %s && head -c %d /dev/zero |"
    .. " split -a 5 -b %d --numeric-suffixes=1 - && for f in x*; do mv $f"
    .. " $(expr ${f#x} + 0); done; }"
  small = small:format(dir .. "small", count, dir .. "small", dir .. "small",
    count * size, size)
  local function cost(name, n)
    return function() return (workload(name, n)) end
  end
  row("read 256 MiB by 64 KiB, to io.read",
    ratio(cost("io_pieces", megabytes), cost("pieces", megabytes)), "x", ">=", 0.8)
  if not succeeds(small) then
    return skip("hash 10,000 files of 1 kB, to io", "they cannot be made")
  end
  print(("%-46s %11s"):format("hash 10,000 files of 1 kB, to io", ("%.2f x"):format(
    ratio(cost("io_hash", count), cost("hash", count)))))
end

function parts.allocations()
  -- The task itself, and the permit; the others allocate nothing.
  local bars = { spawn = 1, semaphore = 1 }
  local text = output(lua .. " bench/allocations.lua")
  for name, each in text:gmatch("(%S+)\t(%S+)\n") do
    row("allocations, " .. name, tonumber(each), "", "<=", bars[name] or 0)
  end
end

-- Hosts ----------------------------------------------------------------------

-- What build/bench/step is asked for, the unit, the bar if there is one, and
-- what that is.
local STEPS <const> = {
  { "idle 0", "ns", 250, "a step, no task" },
  { "idle 100", "ns", 250, "a step, 100 tasks sleep" },
  { "idle 10000", "ns", 250, "a step, 10,000 tasks sleep" },
  { "frame 10000", "ms", 1.2, "next frame of 10,000 tasks" },
  { "emit 10000", "ms", nil, "a signal for 10,000 tasks" },
  { "spawn 100000", "ns", nil, "spawn and finish, from C" },
  { "kill 10000 0", "ms", 5, "kill of 10,000 tasks, DROP" },
  { "kill 10000 1", "ms", 5, "kill of 10,000 tasks, CLOSE" },
  { "post 100000 4", "ns", nil, "a post, of 100,000 from four threads" },
  { "wake 2000", "us", nil, "from a thread to a task, host in poll, median" },
}

function parts.step()
  for _, case in ipairs(STEPS) do
    local how, unit, bar, what = table.unpack(case, 1, 4)
    local took = best(function() return tonumber(output("build/bench/step " .. how)) end)
    if bar then
      row(what, took, unit, "<=", bar)
    else
      print(("%-46s %11s"):format(what, ("%.4g %s"):format(took, unit)))
    end
  end
end

-- Servers --------------------------------------------------------------------

local next_port = 20000 + os.time() % 10000

-- Starts a server of its own command line, which is given a port, and waits
-- until it says that it is ready.
local function start(command)
  next_port = next_port + 1
  local line = "echo $$; exec %s%s %d"
  local pipe = assert(io.popen(line:format(server_pin, command, next_port)))
  local server = { port = next_port, pid = math.tointeger(pipe:read("n")) }
  pipe:read("l")
  if pipe:read("l") ~= "READY" then
    error("did not start: " .. command, 0)
  end
  return setmetatable(server, { __close = function()
    os.execute("kill -9 " .. server.pid)
    pipe:close()
  end })
end

local function client(server, mode, size, connections, seconds)
  local line = "%sbuild/bench/client %s %d %d %d %g %d"
  return numbers(output(line:format(client_pin, mode, server.port, size,
    connections, seconds, server.pid)))
end

-- Seconds of the server's CPU time per message.
local function load(command, mode, size, connections)
  local server <close> = start(command)
  local n, _, cpu = client(server, mode, size, connections, SECONDS)
  return cpu / n
end

-- How much cheaper a message is for `ours` than for `theirs`.
local function versus(ours, theirs, ...)
  local how = table.pack(...)
  return ratio(function() return load(theirs, table.unpack(how)) end,
    function() return load(ours, table.unpack(how)) end)
end

local plain <const> = "build/bench/server"
local tasks <const> = peer .. " serve_echo_task"

local function can_serve(what)
  if io.open("build/bench/client") then return true end
  skip(what, "the load generator is for Linux")
end

local function echo(size, connections, bar)
  local what = ("TCP echo, %d B, %d connections"):format(size, connections)
  row(what, versus(tasks, plain, "echo", size, connections), "x", ">=", bar)
end

function parts.echo()
  if not can_serve("TCP echo") then return end
  for _, connections in ipairs { 100, 1000 } do
    echo(64, connections, 0.90)
    echo(1024, connections, 0.90)
  end
  echo(16384, 100, 0.75)
  echo(65536, 100, 0.70)
end

function parts.udp()
  local what <const> = "UDP echo, 64 B, 100 sockets"
  local python = os.getenv("BENCH_PYTHON") or "python3"
  if not can_serve(what) then return end
  local ours = peer .. " serve_udp_task"
  row(what, versus(ours, plain .. " udp", "udp", 64, 100), "x", ">=", 0.9)
  if not succeeds(python .. " -c 'import asyncio'") then
    return skip(what .. ", to asyncio", "there is no python3")
  end
  row(what .. ", to asyncio", versus(ours, python .. " bench/datagrams.py", "udp", 64, 100),
    "x", ">=", 3)
end

function parts.lines()
  local what = "answered lines, 50 connections, to asyncio"
  local python = os.getenv("BENCH_PYTHON") or "python3"
  if not can_serve(what) then return end
  if not succeeds(python .. " -c 'import asyncio'") then
    return skip(what, "there is no python3")
  end
  local theirs = python .. " bench/lines.py"
  local ours = peer .. " serve_line_task"
  row(what, versus(ours, theirs, "line", 32, 50), "x", ">=", 12)
end

function parts.churn()
  if not can_serve("connect, echo, close") then return end
  row("connect, echo, close", versus(tasks, plain, "churn", 64, 64),
    "x", ">=", 0.90)
end

function parts.memory()
  local sleeping = best(function()
    return select(2, workload("sleepers", 100000))
  end)
  row("memory of a sleeping task", sleeping / KB, "KB", "<=", 1.4)
  if not can_serve("memory of an idle connection") then return end

  -- Of the descriptors allowed some are in use.
  local allowed = tonumber(output("ulimit -n")) or math.huge
  local connections = math.tointeger(math.min(9500, allowed - 100))
  local idle = best(function()
    local server <close> = start(tasks)
    client(server, "echo", 64, 10, 0.1) -- what comes once is not counted
    return client(server, "idle", 64, connections, 0)
  end)
  local what = ("memory of an idle connection, of %d"):format(connections)
  row(what, idle / KB, "KB", "<=", 2.5)
end

function parts.startup()
  local script = "require('perilune').run(function() end)"
  local line = 'build/bench/startup %d %s -e "%s"'
  local memory = 0
  local wall = best(function()
    local took, peak = numbers(output(line:format(STARTS, lua, script)))
    memory = math.max(memory, peak)
    return took
  end)
  row("start-up: require and an empty run", wall, "ms", "<=", 3.5)
  row("start-up: peak memory", memory / MB_IN_KIB, "MB", "<=", 3.5)
end

-- Reading lines from a pipe, to what io.lines takes.
function parts.stdin()
  local path = os.tmpname()
  local file <close> = assert(io.open(path, "w"))
  for i = 1, 500000 do
    file:write("line ", i, " of a text whose lines are neither long nor short\n")
  end
  file:close()
  local function cost(read)
    local script = "n, t = 0, os.clock() %s print((os.clock() - t) / n)"
    local command = "cat %s | %s -e '%s'"
    return tonumber(output(command:format(path, lua, script:format(read))))
  end
  local times = ratio(function()
    return cost("for _ in io.lines() do n = n + 1 end")
  end, function()
    return cost('local aio = require "perilune" aio.run(function() '
      .. "for _ in aio.stdin:lines() do n = n + 1 end end)")
  end)
  os.remove(path)
  row("lines of stdin, to io.lines", times, "x", ">=", 0.8)
end

-- A frame of 2 ms with 10,000 scripts, each of which waits for the next one, and
-- one that never waits. How many of them fit depends on the machine.
function parts.frames()
  local p99, whole = math.huge, 0
  for _ = 1, ROUNDS do
    local late, share = numbers(output("build/bench/frames 10000 300"))
    p99, whole = math.min(p99, late), math.max(whole, share)
  end
  row("a step of 2 ms with a runaway: 99th percentile", p99 / 1000, "ms", "<=", 2.2)
  row("frames in which all 10,000 tasks went on", whole, "", ">=", 0.9)
end

-- ----------------------------------------------------------------------------

local order = { "switch", "spawn", "future", "timeout", "cancel",
  "between", "process", "files", "allocations", "step", "echo", "udp", "lines", "churn",
  "memory", "startup", "stdin", "frames" }

local wanted = #arg > 0 and arg or order
for _, name in ipairs(wanted) do
  if not parts[name] then
    io.stderr:write("bench/run: no such part: ", name, "; there are ",
      table.concat(order, " "), "\n")
    os.exit(2)
  end
end

print(("%-46s %11s   %s"):format("what", "measured", "bar"))
for _, name in ipairs(wanted) do
  local good, err = pcall(parts[name])
  if not good then
    failures = failures + 1
    print(("%-46s %11s   %s"):format(name, "FAIL", err))
  end
end
os.exit(failures == 0 and 0 or 1)
