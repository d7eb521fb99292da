--- For tests of programs that use perilune: a clock that tests move, waiting
-- until nothing happens any more, and the check that nothing is left.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local check = require "perilune.check"
local core = require "perilune.core"

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
  core.manual(true, not (opts and opts.autojump == false))
  return setmetatable({}, Clock)
end

--- Moves the clock; timers that become due fire in the next turn. Never waits.
-- @param seconds not negative
-- @return the clock
function Clock:advance(seconds)
  core.advance(seconds)
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

local DEADLINE = 10

local function guarded(limit, fn, ...)
  local results = table.pack(aio.timeout(limit, fn, ...))
  if results[1] == nil and results[3] == "ETIMEDOUT" then
    error(("the test did not end within %g s"):format(limit), 0)
  end
  return table.unpack(results, 1, results.n)
end

--- Runs `fn` as the main task of a run, with a deadline, and fails if a task,
-- timer, handle or request is left. Waits. Only in the main chunk.
-- @param fn function
-- @param opts table or nil; `deadline` in seconds (10); else as for `aio.run`
-- @return what fn returns
function testing.run(fn, opts)
  if not check.callable(fn) then
    check.fail(1, "run", "function expected, got " .. check.typename(fn))
  end
  local run_opts = { signals = false, unhandled = "fail" }
  for key, value in pairs(opts or {}) do
    run_opts[key] = value
  end
  local limit = run_opts.deadline or DEADLINE
  run_opts.deadline = nil
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

return testing
