--- What the specs share: a loop with a deadline, the check that nothing is
-- left, a log to order events by, and scripts run in a Lua of their own.
--
--   it("wakes waiters in order", helper.case(function() ... end))
--
-- runs the function as the main task of `aio.run`, on a manual clock that
-- jumps ahead when nothing is ready: no case waits for real time.
--
-- Environment: PERILUNE_SLOW=n stretches the deadlines, PERILUNE_GCSTRESS=1
-- sets a harsh collector around each case.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local testing = require "perilune.testing"

local helper = {}

-- The stock functions, whoever patches them later.
helper.stock = {}
for name, fn in pairs(coroutine) do
  helper.stock[name] = fn
end

local SLOW = tonumber(os.getenv "PERILUNE_SLOW") or 1
local STRESS = os.getenv "PERILUNE_GCSTRESS" == "1"
local STEP = 11 -- a step is worth 2^11 bytes
local DEADLINE = 10 * SLOW -- seconds of real time that a case gets
local MANUAL = 1e6 -- seconds of a manual clock: no case sleeps for so long
local KINDS = { "tasks", "timers", "handles", "requests" }

helper.slow = SLOW

--- How many there shall be where there could be `n`: fewer where the collector
-- is harsh.
function helper.many(n)
  return STRESS and math.max(n // 20, 10) or n
end

-- The collector ---------------------------------------------------------------

local MODES = { incremental = { 200, 100, 13 }, generational = { 20, 100 } }
local relaxed = setmetatable({}, {
  __close = function(self)
    collectgarbage(self.mode, table.unpack(MODES[self.mode]))
  end,
})

-- Has a cycle begin as soon as one has ended, in steps so large that new
-- objects of a few kilobytes pay for a whole one.
local function harsh()
  if not STRESS then
    return nil
  end
  relaxed.mode = collectgarbage("incremental", 0, 1000, STEP)
  collectgarbage("setpause", 0)
  collectgarbage() -- the new pause counts from here
  return relaxed
end

-- What is left ------------------------------------------------------------------

local function check_left(before)
  local after = aio.loop():stats()
  local left = {}
  for _, kind in ipairs(KINDS) do
    local n = (after[kind] or 0) - (before[kind] or 0)
    if n > 0 then
      left[#left + 1] = ("%d %s"):format(n, kind)
    end
  end
  if #left > 0 then
    error("left behind: " .. table.concat(left, ", ") .. "\n"
      .. helper.tree(), 0)
  end
end

--- The tree of tasks as text.
function helper.tree()
  local lines = {}
  local function add(nodes, indent)
    for _, node in ipairs(nodes) do
      lines[#lines + 1] = ("%stask %s%s: %s%s"):format(indent, node.id,
        node.name and " (" .. node.name .. ")" or "", node.state,
        node.waiting_on and ", waits for " .. node.waiting_on or "")
      lines[#lines + 1] = node.task and node.task:traceback() or nil
      add(node.children, indent .. "  ")
    end
  end
  add(aio.tree(), "")
  return table.concat(lines, "\n")
end

-- Running -----------------------------------------------------------------------

local function is_failure(e)
  local mt = type(e) == "table" and getmetatable(e)
  return mt and mt.__type == "failure"
end

local function is_pending(e)
  local mt = type(e) == "table" and getmetatable(e)
  return mt and mt.__type == "pending"
end

-- Adds the stack to an error, where that can be done without changing what
-- busted makes of it.
local function explain(e, trace)
  -- The stack of a child that failed says more than that of who waited.
  local where = aio.traceback(e)
  if not where or where:find("helper.lua", 1, true) then
    where = trace or where
  end
  if not where or is_pending(e) then
    return e
  elseif is_failure(e) then
    e.message = tostring(e.message) .. "\n" .. where
    return e
  elseif type(e) == "string" or (type(e) == "table" and e.code) then
    return tostring(e) .. "\n" .. where
  end
  return e
end

-- The main task: `fn` with a deadline. Its values, or its error, whose stack
-- goes to `seen`.
local function watched(fn, deadline, seen)
  local values, tree
  local function body()
    values = table.pack(xpcall(fn, function(e)
      if not aio.is_cancelled(e) then
        seen.trace = debug.traceback(nil, 2)
      end
      return e
    end))
    if not values[1] then
      error(values[2], 0)
    end
  end
  if not deadline then
    body()
    return table.unpack(values, 2, values.n)
  end
  -- Made first, so that it looks before the case is unwound.
  local look = aio.loop():call_later(deadline, function()
    tree = helper.tree()
  end)
  local ok, e = pcall(aio.timeout, deadline, body)
  look:cancel()
  if not ok then
    error(e, 0)
  elseif not values or not values[1] then
    error("this took too long\n" .. tostring(tree or helper.tree()), 0)
  end
  return table.unpack(values, 2, values.n)
end

local function split(opts, deadline)
  local settings = {}
  for k, v in pairs(opts or {}) do
    settings[k] = v
  end
  if settings.deadline ~= nil then
    deadline = settings.deadline
  end
  settings.deadline = nil
  return settings, deadline
end

local function run(fn, opts, limit)
  local settings, deadline = split(opts, limit)
  local seen = {}
  local before = aio.loop():stats()
  local results
  do
    local _ <close> = harsh()
    results = table.pack(pcall(aio.run, settings, watched, fn, deadline, seen))
  end
  if not results[1] then
    error(explain(results[2], seen.trace), 0)
  end
  check_left(before)
  return table.unpack(results, 2, results.n)
end

--- Runs `fn` as main of `aio.run`, in real time; its values. Fails if it takes
-- longer than ten seconds or leaves anything behind.
-- @param opts those of `aio.run`, and `deadline` in seconds, or false
function helper.run(fn, opts)
  return run(fn, opts, DEADLINE)
end

--- The same on a manual clock, which `fn` is given.
function helper.manual(fn, opts)
  local clock <close> = testing.clock()
  return run(function() return fn(clock) end, opts, MANUAL)
end

--- Calls `fn` at top level, on a manual clock: for what runs the loop itself.
function helper.outside(fn)
  local before = aio.loop():stats()
  do
    local clock <close> = testing.clock()
    local _ <close> = harsh()
    fn(clock)
  end
  check_left(before)
end

--- Functions to be given to `it`.
function helper.case(fn, opts)
  return function() helper.manual(fn, opts) end
end

function helper.real(fn, opts)
  return function() helper.run(fn, opts) end
end

function helper.bare(fn)
  return function() helper.outside(fn) end
end

-- Exploring ---------------------------------------------------------------------

-- How many seeds each scenario gets, where that was asked for.
local SEEDS = tonumber(os.getenv "PERILUNE_SEEDS")

-- What talks to the outside takes longer, and comes in another order anyway. The
-- clock stands still then, so that no timer comes before what is under way.
local function outside(settings)
  settings.seeds = math.max(2, (SEEDS or 0) // 10)
  settings.cancel_seeds = math.max(1, (SEEDS or 0) // 10)
  settings.outside = nil
  local scenario = settings.scenario
  function settings.scenario(state)
    testing.clock { autojump = false }
    return scenario(state)
  end
end

local function settings_of(opts)
  local few = SEEDS or math.max(3, 30 // SLOW)
  local settings = { seeds = few, cancel_seeds = SEEDS or few // 3, deadline = DEADLINE }
  for key, value in pairs(opts) do
    settings[key] = value
  end
  if settings.outside then
    outside(settings)
  end
  if STRESS then
    local scenario = settings.scenario
    settings.seeds, settings.when = 1, "later"
    settings.scenario = function(state)
      collectgarbage "restart" -- the explorer stops it
      return scenario(state)
    end
  end
  return settings
end

--- A case that explores; `opts` as for `testing.explore`, and `outside`, true for
-- what waits for sockets, processes or threads. PERILUNE_SEEDS=n asks for so many
-- orders, each with all cancellations, and shows the counts.
function helper.explore(name, opts)
  local subject = debug.getinfo(2, "S").short_src:match "(%w+)_spec"
  require("busted").it(name, function()
    local _ <close> = harsh()
    local counts = testing.explore(settings_of(opts))
    if SEEDS then
      io.stdout:write(("%6d orders %4d waits %8d cancelled %8d runs  %s: %s\n"):format(
        counts.seeds, counts.waits, counts.points, counts.runs, subject, name))
    end
  end)
end

--- Counts who comes and goes: `local _ <close> = presence()`; `now` and `most`
-- are there at a time, `came` in all.
function helper.presence()
  local count = { now = 0, most = 0, came = 0 }
  local leave = { __close = function() count.now = count.now - 1 end }
  return setmetatable(count, { __call = function()
    count.now, count.came = count.now + 1, count.came + 1
    count.most = math.max(count.most, count.now)
    return setmetatable({}, leave)
  end })
end

-- Looking -----------------------------------------------------------------------

local Log = {}
Log.__index = Log

function Log:__call(...)
  local words = table.pack(...)
  for i = 1, words.n do
    words[i] = tostring(words[i])
  end
  self[#self + 1] = table.concat(words, ":")
end

--- What was logged, separated by blanks.
function Log:text()
  return table.concat(self, " ")
end

--- Makes a function that writes its arguments, joined by colons, as a word.
function helper.log()
  return setmetatable({}, Log)
end

--- Calls `fn` and returns what it raised; fails if it does not.
function helper.raised(fn, ...)
  local results = table.pack(pcall(fn, ...))
  local e = results[2]
  if results[1] then
    for i = 2, results.n do
      results[i] = tostring(results[i])
    end
    error("no error was raised; returned: "
      .. table.concat(results, ", ", 2), 2)
  elseif is_failure(e) then
    error(e, 0)
  end
  return e
end

--- Fails unless the text of `value` has `needle` in it; returns the value.
function helper.has(needle, value)
  local text = tostring(value)
  if not text:find(needle, 1, true) then
    error(("%q expected in:\n%s"):format(needle, text), 2)
  end
  return value
end

--- Fails unless the values after `expected` (a list with `n`) equal it.
function helper.values(expected, ...)
  local got = table.pack(...)
  expected.n = expected.n or #expected
  local same = expected.n == got.n
  for i = 1, expected.n do
    same = same and (rawequal(expected[i], got[i])
      or type(expected[i]) == "number" and expected[i] == got[i])
  end
  if same then
    return
  end
  local function text(list)
    local words = {}
    for i = 1, list.n do
      words[i] = type(list[i]) == "string" and ("%q"):format(list[i])
        or tostring(list[i])
    end
    return "(" .. table.concat(words, ", ") .. ")"
  end
  error(text(expected) .. " expected, got " .. text(got), 2)
end

--- Fails unless the values are nil, a message that begins with the code, and
-- the code.
function helper.failed(code, ...)
  local value, message, got = ...
  if value ~= nil or got ~= code then
    error(("nil, message, %q expected, got %s, %s, %s"):format(code,
      tostring(value), tostring(message), tostring(got)), 2)
  elseif tostring(message):sub(1, #code) ~= code then
    error(("message does not begin with %s: %s"):format(code,
      tostring(message)), 2)
  end
end

--- Fails unless what is in the weak table goes away.
function helper.gone(weak)
  for _ = 1, 5 do
    collectgarbage()
    if next(weak) == nil then
      return
    end
  end
  local k, v = next(weak)
  error(("still there: %s, %s"):format(tostring(k), tostring(v)), 2)
end

--- The line this is called from, as errors name it: "spec/x_spec.lua:7".
function helper.here()
  local info = debug.getinfo(2, "Sl")
  return ("%s:%d"):format(info.short_src, info.currentline)
end

--- Calls `fn` and returns what is written to stderr meanwhile, where the
-- default error hook writes.
function helper.written(fn)
  local stderr, text = io.stderr, {}
  io.stderr = { -- luacheck: ignore 122
    write = function(self, ...)
      text[#text + 1] = table.concat { ... }
      return self
    end,
  }
  local ok, e = pcall(fn)
  io.stderr = stderr -- luacheck: ignore 122
  if not ok then
    error(e, 0)
  end
  return table.concat(text)
end

-- Programs ----------------------------------------------------------------------

--- The interpreter that runs this.
function helper.interpreter()
  local i = -1
  while arg and arg[i - 1] do
    i = i - 1
  end
  return arg and arg[i] or "lua5.4"
end

--- What a shell puts in front of an interpreter so that it starts with the
-- sanitizers that this one was started with.
function helper.preload()
  local found, list = {}, {}
  local maps = io.open("/proc/self/maps")
  if not maps then
    return ""
  end
  for line in maps:lines() do
    local path = line:match "(/%S*lib[au]b?san%S*)$"
    if path and not found[path] then
      found[path] = true
      table.insert(list, path:find "libasan" and 1 or #list + 1, path)
    end
  end
  maps:close()
  return #list > 0 and ('LD_PRELOAD="%s"'):format(table.concat(list, " ")) or ""
end

--- How a shell starts this interpreter, sanitizers and all.
function helper.command()
  local preload = helper.preload()
  local options = preload ~= "" and "ASAN_OPTIONS=detect_leaks=0" or ""
  return ("%s %s '%s'"):format(preload, options, helper.interpreter())
end

local function read_all(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

--- Runs a Lua program; returns what it wrote to stdout and to stderr, and its
-- exit status (128 and the signal's number if one ended it).
-- @param seconds how long it may take (10); then it is killed
function helper.script(code, seconds)
  local path, out, err = os.tmpname(), os.tmpname(), os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(code)
  file:close()
  local command = ("timeout -s KILL %g env %s '%s' >'%s' 2>'%s' </dev/null")
    :format((seconds or 10) * SLOW, helper.command(), path, out, err)
  local _, how, status = os.execute(command)
  if how == "signal" then
    status = 128 + status
  end
  local stdout, stderr = read_all(out), read_all(err)
  os.remove(path)
  os.remove(out)
  os.remove(err)
  return stdout, stderr, status
end

--- The same for a program that shall end well; returns its stdout.
function helper.program(code, seconds)
  local stdout, stderr, status = helper.script(code, seconds)
  if status ~= 0 or stderr ~= "" then
    error(("exit status %d\nstdout: %s\nstderr: %s"):format(status, stdout,
      stderr), 2)
  end
  return stdout
end

return helper
