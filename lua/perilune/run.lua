--- Running a main function: from the first turn to the last hook.
--
-- SPDX-License-Identifier: MIT

local check = require "perilune.check"
local core = require "perilune.core"

local run = {}

local GRACE = 5

-- The run that is on, or nil.
local current

-- Failures -------------------------------------------------------------------

local function name_of(task)
  if not task then
    return ""
  end
  local info = task:info()
  return (" of task %d%s"):format(info.id, info.name and " (" .. info.name .. ")" or "")
end

local KINDS = {
  task = "failure",
  callback = "failure of a callback",
  secondary = "further failure",
  shutdown = "not ended in time",
  leak = "leak",
  slow = "slow step",
  swallowed = "swallowed cancellation",
}

local function text_of(err)
  local ok, text = pcall(tostring, err)
  return ok and text or "(error object that cannot be shown)"
end

-- The only place where the library writes.
local function write(err, info)
  local what = KINDS[info.kind] or info.kind
  local trace = info.traceback and "\n" .. info.traceback or ""
  io.stderr:write(("perilune: %s%s: %s%s\n"):format(what, name_of(info.task), text_of(err), trace))
end

local function remember(err, info)
  if info.kind ~= "task" and info.kind ~= "callback" then
    return
  end
  if not current or current.failed then
    return
  end
  current.failed, current.failure = true, err
  if current.unhandled == "fail" then
    current.main:cancel("unhandled failure")
  end
end

-- A host in C hears of all of them itself, and nothing is written.
local function default_hook(err, info)
  if core.on_failure then
    return core.on_failure(err, info)
  end
  write(err, info)
  remember(err, info)
end

-- Who hears of failures now.
local hook = default_hook

local set_hook = core.loop.on_error
local methods = getmetatable(core.loop).__index

--- Sets who hears of failures that nobody took: `fn(err, info)`, with
-- info.kind, task, traceback; nil restores the default, which writes to
-- stderr. Never waits.
-- @return the loop
function methods:on_error(fn)
  if fn ~= nil and not check.callable(fn) then
    check.fail(1, "on_error", "function expected, got " .. check.typename(fn))
  end
  hook = fn or default_hook
  return set_hook(self, hook)
end

set_hook(core.loop, default_hook)

-- Hooks ------------------------------------------------------------------------

local state_hooks = {}

-- Calls hooks, last first; those added meanwhile too. An error is reported
-- and stops none of the others.
local function call_hooks(hooks)
  while #hooks > 0 do
    local ok, err = xpcall(table.remove(hooks), core.handler)
    if not ok then
      core.report(nil, err, "shutdown")
    end
  end
end

--- Has `fn` called when this run ends, or without a run when the Lua state is
-- closed; the last one first. For what a library made lazily. In a run it is
-- called after the tasks have ended, by a task: it may wait, within what is left of
-- the grace. At the end of the state its waits raise. Never waits.
-- @param fn function
-- @return true
function run.on_close(fn)
  if not check.callable(fn) then
    check.fail(1, "on_close", "function expected, got " .. check.typename(fn))
  end
  local hooks = current and current.hooks or state_hooks
  hooks[#hooks + 1] = fn
  return true
end

-- Calls a hook of `context.on_close`, which is shielded.
local function call(fn)
  fn()
  return true
end

local function call_shielded(fn)
  local ok, ended = xpcall(core.shield, core.handler, nil, call, fn)
  if not ok then
    core.report(nil, ended, "callback")
  elseif not ended then
    local err = core.error("ETIMEDOUT", "a hook of context.on_close did not end within the grace")
    core.report(nil, err, "callback")
  end
end

-- What a task does in a context that has ended.
core.closer(function(key)
  for fn in core.take_hook, key do
    call_shielded(fn)
  end
end)

core.at_exit(function()
  call_hooks(state_hooks)
  for fn in core.take_hook do
    call_shielded(fn)
  end
end)

-- Patching ---------------------------------------------------------------------

local NAMES = { "create", "resume", "wrap", "close", "status" }
local stock = {}
for _, name in ipairs(NAMES) do
  stock[name] = coroutine[name]
end

local function replace(from, to)
  local changed = false
  for _, name in ipairs(NAMES) do
    if coroutine[name] == from[name] then
      coroutine[name] = to[name] -- luacheck: ignore 122
      changed = true
    end
  end
  return changed
end

--- Puts the functions of `aio.coroutine` in place of the stock ones, so that
-- generators of any library may wait; `false` undoes it, only what is still
-- ours. Never waits.
-- @param on false to undo
-- @return true if something was changed
function run.patch(on)
  if on == false then
    return replace(core.coroutine, stock)
  end
  return replace(stock, core.coroutine)
end

-- The end ----------------------------------------------------------------------

local ROUNDS = 1000
local LAST_TURNS = 16 -- that tasks get when there is no time left

local function left(state)
  return math.max(0, state.deadline - core.loop:time())
end

-- Lets everybody go on who need not wait.
local function settle(state, turns)
  for _ = 1, turns or ROUNDS do
    if core.idle() then
      break
    end
    state.handle:turn(0)
  end
end

-- What does not end within the grace is reported, and ended by force.
local function force(state)
  for _, task in ipairs(state.handle:tasks()) do
    local err = core.error("ETIMEDOUT", "the task did not end within the grace of the shutdown")
    core.report(task, err, "shutdown", task:traceback())
  end
  for _ = 1, ROUNDS do
    if state.handle:kill() == 0 then
      break
    end
  end
end

-- A region that ends with the grace, for `fn`; the second interrupt ends it. Real
-- time, also where the main chunk is in a scope with another clock.
local function within_grace(state, fn)
  local opts = { shield = true, timeout = left(state), clock = core.clock() }
  return core.scope(opts, function(scope)
    state.scopes[scope] = true
    return fn(state)
  end)
end

local function join(state)
  return state.handle:join()
end

-- Waits for the tasks of the run, all of which are cancelled.
local function join_tasks(state)
  local fine, ended = pcall(within_grace, state, join)
  if not (fine and ended) then
    settle(state, LAST_TURNS)
    force(state)
  end
  settle(state) -- failures are reported a turn after they were found
end

-- The hooks of contexts that end are called by further tasks.
local function end_tasks(state)
  for _ = 1, ROUNDS do
    join_tasks(state)
    if not state.handle:alive() then
      break
    end
  end
end

-- Hooks are called by a task: so they may wait, and one that never comes back
-- is ended as any other task, the rest being called by the next one. What they
-- spawn is joined as well.
local function call_in_task(state)
  within_grace(state, function() call_hooks(state.hooks) end)
end

-- First come those of contexts of the run that cannot end: a timer is left, or
-- a protocol.
local function run_hooks(state)
  for fn in state.handle.take_hook, state.handle do
    core.spawn(call_shielded, fn):name "on_close"
    end_tasks(state)
  end
  while #state.hooks > 0 do
    core.spawn(call_in_task, state):name "on_close"
    end_tasks(state)
  end
end

-- Bytes of closed transports go out, as long as there is time.
local function drain(state)
  while core.lingering and core.lingering() > 0 and left(state) > 0 do
    state.handle:turn(left(state))
  end
end

-- What was written to stdout is not lost because its reader takes its time, unless
-- there is an interrupt: then the grace is the limit, or the next interrupt.
local function drain_output(state)
  local seen = state.interrupts
  local function time()
    return state.interrupts == 0 and math.huge or state.interrupts == seen and left(state) or 0
  end
  while core.stdio and core.stdio.unsent() and time() > 0 do
    state.handle:turn(time())
  end
end

-- One ordered pass: tasks are cancelled and joined, what is left is forced,
-- then hooks, then bytes on their way, then stray handles. In a forked child
-- all of that is the parent's.
local function shutdown(state)
  if core.forked() then
    return
  end
  if core.stop_servers then
    core.stop_servers(state.mark)
  end
  core.grace(state.grace, true)
  state.deadline = core.loop:time() + state.grace
  state.handle:cancel "shutdown"
  end_tasks(state)
  run_hooks(state)
  drain(state)
  drain_output(state)
  if core.close_handles then
    core.close_handles(state.mark)
    settle(state)
  end
  core.poll() -- an interrupt may have come that nobody has looked at
  state.handle:turn(0)
end

-- A run ------------------------------------------------------------------------

local OPTIONS = {
  grace = "number",
  signals = "boolean",
  patch = "boolean",
  unhandled = "string",
  on_error = "function",
  debug = "boolean or table",
}

local function fits(value, want)
  local got = type(value)
  return want:find(got, 1, true) or (want == "function" and check.callable(value))
end

-- Raises where the function was called that calls this: a `run`, of which they are
-- the argument `arg`.
function run.check_options(opts, arg)
  for key, value in pairs(opts) do
    local want = OPTIONS[key]
    if not want then
      check.fail(arg, "run", ("unknown option '%s'"):format(tostring(key)), 1)
    elseif not fits(value, want) then
      check.fail(arg, "run", ("option '%s': %s expected, got %s"):format(key, want, type(value)), 1)
    end
  end
  if type(opts.debug) == "table" then
    local wrong = check.debug_options(opts.debug)
    if wrong then
      check.fail(arg, "run", "option 'debug': " .. wrong, 1)
    end
  end
  if opts.unhandled and opts.unhandled ~= "report" and opts.unhandled ~= "fail" then
    check.fail(arg, "run", "option 'unhandled': \"report\" or \"fail\" expected", 1)
  elseif opts.grace and (opts.grace ~= opts.grace or opts.grace < 0) then
    check.fail(arg, "run", "option 'grace': seconds, not negative, expected", 1)
  end
end

-- The first interrupt cancels main, the second cuts the grace to nothing; the
-- third is not ours to see.
local function interrupted(state, n)
  state.interrupts = n
  if n == 1 then
    state.main:cancel("interrupt")
  else
    state.grace, state.deadline = 0, 0
    core.grace(0, true)
    for scope in pairs(state.scopes) do
      scope:expires(0)
    end
  end
end

-- The option `debug`: a boolean, or options. Returns a function that undoes it.
local function set_debug(value)
  local on, slow = core.debug()
  local debugging = require "perilune.debug" -- loaded by those who use it
  if value then
    debugging.enable(value ~= true and value or nil)
  else
    debugging.disable()
  end
  return function()
    core.debug(on, slow)
  end
end

-- Sets what holds while the run is on; returns a function that undoes it.
local function set_up(state, opts)
  local outer, outer_hook, patched = current, hook, false
  current = state
  if opts.on_error then
    hook = opts.on_error
    set_hook(core.loop, hook)
  end
  if opts.patch ~= false then
    patched = run.patch()
  end
  local undebug = opts.debug ~= nil and set_debug(opts.debug)
  local signals = opts.signals ~= false and core.signals
  if signals then
    signals(function(n)
      interrupted(state, n)
    end)
  end
  return function()
    if signals then
      signals(nil)
    end
    if undebug then
      undebug()
    end
    if patched then
      run.patch(false)
    end
    if opts.on_error and hook == opts.on_error then
      hook = outer_hook
      set_hook(core.loop, hook)
    end
    current = outer
    state.handle:close()
  end
end

local function result(state, driven, ok, ...)
  if state.interrupts > 0 then
    error(core.error("EINTR", "interrupted"), 0)
  elseif not driven then
    error(ok, 0)
  elseif state.failed and (ok or state.unhandled == "fail") then
    error(state.failure, 0)
  elseif not ok then
    error((...), 0)
  end
  return ...
end

-- Waits for main, or until a second interrupt has cut the grace: what main
-- still does then is ended by force.
local function join_main(state)
  return core.scope(nil, function(scope)
    state.scopes[scope] = true
    return state.main:join()
  end)
end

local function drive(state, main, ...)
  state.main = state.handle:spawn(main, ...):name("main")
  local results = table.pack(pcall(join_main, state))
  state.handle:forget()
  shutdown(state)
  return results
end

--- Makes `main` a task, drives the loop until it ends, and shuts down.
-- Background tasks are cancelled and joined then, within the grace. Waits.
-- Only in the main chunk.
-- @param opts optional table: `grace` in seconds (5); `signals` (true): Ctrl-C
--   cancels main; `patch` (true): coroutine functions let waits through;
--   `unhandled` "report" (default) or "fail": a failure that nobody took cancels
--   main; `on_error` function (err, info) that hears of such failures; `debug`:
--   true, or a table of options of `debug.enable`
-- @param main function
-- @param ... its arguments
-- @return what main returns; raises its error
function run.run(opts, main, ...)
  if type(opts) ~= "table" or check.callable(opts) then
    return run.run({}, opts, main, ...)
  end
  run.check_options(opts, 1)
  if not check.callable(main) then
    check.fail(1, "run", "function expected, got " .. check.typename(main))
  end
  local state = {
    handle = core.run_open(),
    grace = opts.grace or GRACE,
    unhandled = opts.unhandled,
    mark = core.mark_handles and core.mark_handles(),
    hooks = {},
    scopes = {}, -- that the second interrupt ends
    interrupts = 0,
  }
  core.grace(state.grace)
  local undo = set_up(state, opts)
  local ok, results = pcall(drive, state, main, ...)
  undo()
  if not ok then
    error(results, 0)
  end
  return result(state, table.unpack(results, 1, results.n))
end

return run
