--- For tests of programs that use perilune: a clock that tests move, waiting
-- until nothing happens any more, the check that nothing is left, and runs under
-- many schedules.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local check = require "perilune.check"
local core = require "perilune.core"
local runs = require "perilune.run"

local testing = {}

-- The clock ----------------------------------------------------------------------

local Clock = {}
Clock.__index = Clock

--- Makes the loop's clock a manual one. It jumps to the next timer whenever
-- nothing else is left to do, so that no test takes real time. Never waits.
-- @param opts table or nil; `autojump` = false: it stands still until moved
-- @return clock with `advance` and `close`; also `<close>`
function testing.clock(opts)
  if opts ~= nil and type(opts) ~= "table" then
    check.fail(1, "clock", "table expected, got " .. check.typename(opts))
  end
  for name, value in pairs(opts or {}) do
    if name ~= "autojump" or type(value) ~= "boolean" then
      local text = name == "autojump" and "option '%s' must be a boolean" or "unknown option '%s'"
      check.fail(1, "clock", text:format(tostring(name)))
    end
  end
  core.manual(true, not (opts and opts.autojump == false))
  return setmetatable({}, Clock)
end

-- As that of a clock which aio.clock returns.
function Clock:advance(seconds)
  core.clock():advance(seconds)
  return self
end

--- Puts the real clock back. Never waits.
function Clock:close() -- luacheck: ignore 212
  core.manual(false)
  return true
end

Clock.__close = Clock.close

-- Settling -----------------------------------------------------------------------

local QUIET = 3 -- turns in a row in which nothing but the caller was ready

--- Waits until all other tasks are parked and nothing has come from outside.
-- @return true
function testing.settle()
  local quiet = 0
  while quiet < QUIET do
    core.poll()
    core.yield()
    quiet = core.idle() and quiet + 1 or 0
  end
  return true
end

--- Runs what is ready in a random order, to find code that depends on it.
-- Never waits.
-- @param seed whole number other than 0; nil: in order again
function testing.shuffle(seed)
  if seed ~= nil and math.type(seed) ~= "integer" then
    check.fail(1, "shuffle", "whole number expected, got " .. check.typename(seed))
  end
  core.shuffle(seed)
  return true
end

-- Leaks --------------------------------------------------------------------------

local KINDS = { "tasks", "timers", "handles", "requests" }

--- What is alive now, to be compared with later. Never waits.
-- @return table of counts
function testing.snapshot()
  return core.loop:stats()
end

--- What is alive that was not at the time of a snapshot. Never waits.
-- @param before snapshot, nil: nothing was alive
-- @return nil if nothing, else a text
function testing.leaks(before)
  if before ~= nil and type(before) ~= "table" then
    check.fail(1, "leaks", "snapshot expected, got " .. check.typename(before))
  end
  local now, left = core.loop:stats(), {}
  for _, kind in ipairs(KINDS) do
    local n = (now[kind] or 0) - (before and before[kind] or 0)
    if n > 0 then
      left[#left + 1] = n .. " " .. kind
    end
  end
  if #left > 0 then
    return "left alive: " .. table.concat(left, ", ")
  end
end

-- Running ------------------------------------------------------------------------

local DEADLINE = 10 -- seconds

local function too_long(limit)
  return ("the test did not end within %g s"):format(limit)
end

local function guarded(limit, fn)
  local results
  core.scope(nil, function(scope)
    local _ <close> = core.probe(scope, limit)
    results = table.pack(fn())
  end)
  if not results then
    error(too_long(limit), 0)
  end
  return table.unpack(results, 1, results.n)
end

--- Runs `fn` as the main task of a run, with a deadline, and fails if a task,
-- timer, handle or request is left. Waits. Only in the main chunk.
-- @param fn function
-- @param opts table or nil; `deadline` in seconds of real time (10), whatever the
--   clock; else as for `aio.run`
-- @return what fn returns
function testing.run(fn, opts)
  if not check.callable(fn) then
    check.fail(1, "run", "function expected, got " .. check.typename(fn))
  elseif opts ~= nil and type(opts) ~= "table" then
    check.fail(2, "run", "table expected, got " .. check.typename(opts))
  end
  local run_opts = { signals = false, unhandled = "fail" }
  for key, value in pairs(opts or {}) do
    run_opts[key] = value
  end
  local limit = run_opts.deadline or DEADLINE
  if type(limit) ~= "number" or limit ~= limit then
    check.fail(2, "run", "option 'deadline' must be a number of seconds")
  end
  run_opts.deadline = nil
  runs.check_options(run_opts, 2)
  local before = testing.snapshot()
  local results = table.pack(aio.run(run_opts, guarded, limit, fn))
  local left = testing.leaks(before)
  if left then
    error(left, 0)
  end
  return table.unpack(results, 1, results.n)
end

--- A busted case whose body is a task: `it(name, fn)` with `testing.run`. Only
-- registers the case: never waits.
-- @param name text of the case
-- @param fn body
-- @param opts as for `testing.run`
function testing.it(name, fn, opts)
  local ok, busted = pcall(require, "busted")
  local it = _G.it or ok and busted.it
  if not it then
    error("testing.it works inside busted", 2)
  end
  return it(name, function()
    testing.run(fn, opts)
  end)
end

-- Transports in memory -----------------------------------------------------------

local ROOM = 65536 -- bytes

local function sizes_of(chunk)
  local sizes = type(chunk) == "table" and chunk or { chunk }
  for _, n in ipairs(sizes) do
    if math.type(n) ~= "integer" or n < 1 or n > 0x7fffffff then
      check.fail(1, "pair", "option 'chunk': number of bytes, or a list of these, expected", 2)
    end
  end
  return sizes
end

local function check_pair(opts)
  for name in pairs(opts) do
    if name ~= "chunk" and name ~= "room" then
      check.fail(1, "pair", ("unknown option '%s'"):format(tostring(name)), 1)
    end
  end
  if math.type(opts.room or ROOM) ~= "integer" or (opts.room or ROOM) < 1 then
    check.fail(1, "pair", "option 'room': number of bytes expected", 1)
  end
end

--- Makes two transports that are connected with each other in memory: as those
-- of `aio.unix.pair`, but what comes when is the same each time. What is written
-- in a turn can be read in the next one. Never waits.
-- @param opts table or nil; `chunk`: bytes that arrive at a time, at most, or a
--   list of such numbers, which are taken in turn, by each side for itself; `room`:
--   bytes that are under way, at most (65536): more than that are unsent
-- @return transport, transport
function testing.pair(opts)
  if opts ~= nil and type(opts) ~= "table" then
    check.fail(1, "pair", "table expected, got " .. check.typename(opts))
  elseif not core.memory then
    error(core.error("ENOSYS", "there are no transports in this build"), 2)
  end
  opts = opts or {}
  check_pair(opts)
  return core.memory(opts.room or ROOM, sizes_of(opts.chunk))
end

-- Exploring ----------------------------------------------------------------------

local SEEDS, CANCEL_SEEDS = 50, 3
local BEGINNING = 1000 -- what the clock shows when a run begins, in seconds
local WHENS = { "entry", "parked", "later", "woken" }
local WHEN = { entry = true, parked = true, later = true, woken = true }
local CANCEL = { body = { "body" }, task = { "task" }, both = { "body", "task" } }

local EXPLORE = {
  scenario = "function",
  invariant = "function",
  seeds = "number",
  seed = "number",
  cancel_seeds = "number",
  cancel = "string",
  cancel_at = "number",
  when = "string",
  deadline = "number",
}

local function check_option(name, value)
  local want = EXPLORE[name]
  if not want then
    check.fail(1, "explore", ("unknown option '%s'"):format(tostring(name)), 2)
  elseif want == "number" and math.type(value) ~= "integer" and name ~= "deadline" then
    check.fail(1, "explore", ("option '%s' must be a whole number"):format(name), 2)
  elseif type(value) ~= want and not (want == "function" and check.callable(value)) then
    local text = "option '%s': %s expected, got %s"
    check.fail(1, "explore", text:format(name, want, type(value)), 2)
  end
end

local function check_explore(opts)
  if type(opts) ~= "table" then
    check.fail(1, "explore", "table expected, got " .. check.typename(opts), 1)
  elseif opts.scenario == nil then
    check.fail(1, "explore", "option 'scenario' is missing", 1)
  end
  for name, value in pairs(opts) do
    if name ~= "cancel" or value ~= false then
      check_option(name, value)
    end
  end
  if opts.cancel and not CANCEL[opts.cancel] then
    check.fail(1, "explore", 'field \'cancel\': "body", "task", "both" or false expected', 1)
  elseif opts.when and not WHEN[opts.when] then
    check.fail(1, "explore", 'field \'when\': "entry", "parked", "later" or "woken" expected', 1)
  end
end

-- What one has to pass to have this run only.
local function options_of(run)
  if not run.cancel_at then
    return ("seed = %d, cancel = false"):format(run.seed)
  end
  return ("seed = %d, cancel = %q, cancel_at = %d, when = %q"):format(run.seed, run.cancel,
    run.cancel_at, run.when)
end

local function broken(run, what, cause)
  local trace = core.traceback(cause)
  local text = ("%s%s\nrun it alone with %s%s"):format(what, tostring(cause), options_of(run),
    trace and "\n" .. trace or "")
  local e = core.error("EINVARIANT", text)
  e.cause, e.seed, e.cancel = cause, run.seed, run.cancel or false
  e.cancel_at, e.when = run.cancel_at, run.when
  run.broken = e
  error(e, 0)
end

-- Runs the scenario in a scope of its own, where it is cancelled, and notes
-- what became of it.
local function play(opts, run, state, scope)
  local probe <close> = core.probe(scope, opts.deadline or DEADLINE, run.cancel_at or 0,
    run.when, run.cancel == "task")
  local _ <close> = setmetatable({}, {
    __close = function()
      run.waits, run.cancelled = probe:waits()
      run.late = scope:cancelled() == "ETIMEDOUT"
    end,
  })
  run.results = table.pack(opts.scenario(state))
  run.ok = true
end

local function names_of_tasks()
  local names = {}
  for i, task in ipairs(core.tasks()) do
    local info = task:info()
    names[i] = ("\n  task %d%s: %s, waits for %s"):format(info.id,
      info.name and " (" .. info.name .. ")" or "", info.state, info.waiting_on or "nothing")
  end
  return table.concat(names)
end

-- What has to hold in any case, and then what the caller says.
local function examine(opts, run, state, before)
  local left = testing.leaks(before)
  if left then
    broken(run, "", left .. names_of_tasks())
  end
  local report = run.reports[1]
  if report then
    broken(run, report.kind .. ": ", report.err)
  elseif opts.invariant then
    local ok, result = pcall(opts.invariant, state, run)
    if not ok or result == false then
      broken(run, "", ok and "the invariant does not hold" or result)
    end
  end
end

local function once(opts, run)
  local state, before = {}, testing.snapshot()
  core.shuffle(run.seed)
  local ok, err = pcall(core.scope, nil, function(scope)
    play(opts, run, state, scope)
  end)
  if run.late then
    broken(run, "", too_long(opts.deadline or DEADLINE))
  elseif not ok then
    broken(run, "", err)
  end
  testing.settle()
  core.shuffle(nil)
  examine(opts, run, state, before)
end

-- A secondary failure is for the invariant to judge.
local function listener(run)
  return function(err, info)
    local list = info.kind == "secondary" and run.secondary or run.reports
    list[#list + 1] = { err = err, kind = info.kind }
  end
end

-- Collects between runs, when there is twice as much as after the last time.
local function collector()
  local limit = 2 * collectgarbage "count"
  return function()
    if collectgarbage "count" > limit then
      collectgarbage()
      limit = 2 * collectgarbage "count"
    end
  end
end

-- While it runs nothing is collected, so that no finalizer changes what happens.
local function alone(opts, run, collect)
  run.reports, run.secondary, run.ok = {}, {}, false
  core.manual(true, true, BEGINNING)
  collectgarbage "stop"
  local ok, err = pcall(aio.run, { signals = false, on_error = listener(run) }, once, opts, run)
  core.shuffle(nil)
  collectgarbage "restart"
  collect()
  if not core.idle() then
    testing.settle()
  end
  if not ok and not run.broken then
    pcall(broken, run, "", err)
  end
  if run.broken then
    error(run.broken, 0)
  end
  return run
end

-- Cancels at each wait of a run that was not cancelled.
local function cancel_each(opts, plain, counts, collect)
  local first, last = opts.cancel_at or 1, opts.cancel_at or plain.waits
  for _, whom in ipairs(CANCEL[opts.cancel or "body"]) do
    for at = first, last do
      for _, when in ipairs(opts.when and { opts.when } or WHENS) do
        local run = { seed = plain.seed, cancel = whom, cancel_at = at, when = when }
        counts.runs = counts.runs + 1
        counts.points = counts.points + (alone(opts, run, collect).cancelled and 1 or 0)
      end
    end
  end
end

local function explore(opts)
  local counts = { seeds = 0, runs = 0, waits = 0, points = 0 }
  local collect = collector()
  local first = opts.seed or 0
  local last = opts.seed or (opts.seeds or SEEDS) - 1
  local cancelled = opts.seed or (opts.cancel_seeds or CANCEL_SEEDS) - 1
  for seed = first, last do
    local plain = alone(opts, { seed = seed }, collect)
    counts.seeds, counts.runs = counts.seeds + 1, counts.runs + 1
    counts.waits = math.max(counts.waits, plain.waits)
    if seed <= cancelled and opts.cancel ~= false then
      cancel_each(opts, plain, counts, collect)
    end
  end
  return counts
end

--- Runs a scenario again and again: under many orders of what is ready, and
-- cancelled at each of its waits in turn. Each run is one of `aio.run`, on a
-- manual clock. In none of them the scenario may fail, never end, or leave a
-- task, timer, handle or request behind; and the invariant has to hold. Waits.
-- Only in the main chunk.
-- @param opts table: `scenario(state)`: a function that gets a new table;
--   `invariant(state, run)`: raises, or returns false, if something is wrong;
--   it is called also if the scenario was cancelled. `seeds` (50): how many orders,
--   the first being that of coming; `cancel_seeds` (3): in how many of them it is
--   also cancelled; `cancel`: "body" (default), which is the scenario with all that
--   it opened; "task": the one that waits, if it is another than the scenario's own;
--   "both", one after the other; or false;
--   `deadline` in seconds of real time for a run (10). To have one run again:
--   `seed`, `cancel_at` (the number of the wait), `when`: it begins ("entry"), is
--   "parked", or has been for some turns ("later"), or was "woken" and has not gone
--   on
-- @return table of counts: `seeds`, `runs`, `waits` (of a run that is not
--   cancelled, at most), `points` (runs that were cancelled). Raises what was found,
--   with fields `seed`, `cancel`, `cancel_at`, `when`, `cause`
function testing.explore(opts)
  check_explore(opts)
  local clock <close> = testing.clock() -- luacheck: ignore 211
  return explore(opts)
end

return testing
