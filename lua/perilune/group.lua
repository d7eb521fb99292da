--- Task groups: what the C core leaves to Lua.
--
-- SPDX-License-Identifier: MIT

local check = require "perilune.check"
local core = require "perilune.core"

local group = {}

local function values(...)
  if select("#", ...) == 0 then
    return true
  end
  return ...
end

local function block(opts, fn)
  local g <close> = core.group(opts)
  return values(fn(g))
end

local function check_options(opts)
  for key, value in pairs(opts or {}) do
    if key ~= "on_failure" then
      check.fail(1, "group", ("unknown option '%s'"):format(tostring(key)), 1)
    elseif value ~= false and not check.callable(value) then
      check.fail(1, "group", "option 'on_failure': function or false expected", 1)
    end
  end
end

--- Opens a group of tasks.
-- With `fn` it runs `fn(g)` inside and closes the group when that returns;
-- else it returns the group, to be assigned to a variable declared `<close>`.
-- Closing waits for the children; raises the earliest failure of body and
-- children, unchanged.
-- @param opts table or nil; `on_failure`: a function (task, err) that hears of
--   failing children instead, or false to keep quiet
-- @param fn body, optional
-- @return the group; with `fn` its values, true if none
function group.group(opts, fn)
  if type(opts) == "function" and fn == nil then
    check.fail(1, "group", "options or nil expected, got a function; call group(nil, fn)")
  elseif opts ~= nil and type(opts) ~= "table" then
    check.fail(1, "group", "table expected, got " .. check.typename(opts))
  end
  check_options(opts)
  if fn ~= nil and not check.callable(fn) then
    check.fail(2, "group", "function expected, got " .. check.typename(fn))
  end
  if fn then
    return block(opts, fn)
  end
  return core.group(opts)
end

local NOT_STARTED = "the function returned without calling started()"

-- What went wrong before started() was called is for the caller of start.
local function watch(task, started)
  return task:on_done(function()
    local state, err = task:peek()
    if state == "failed" then
      started:fail(err)
    elseif state == "cancelled" then
      started:cancel(err)
    else
      started:fail(core.error("EINVAL", NOT_STARTED))
    end
  end)
end

local meta = core.group_methods

--- Runs `fn(started, ...)` as a child and waits until it calls `started(...)`.
-- An error before that is raised here and does not touch the group.
-- Cancelled, it cancels the child as well.
-- @return what `started` was given
function meta:start(fn, ...)
  if not check.callable(fn) then
    check.fail(1, "start", "function expected, got " .. check.typename(fn))
  end
  local started = core.future()
  local task
  task = core.starting(self, fn, function(...)
    core.started(task)
    started:resolve(...)
  end, ...)
  watch(task, started)
  local ok, err = pcall(started.await, started)
  if not ok then
    task:cancel()
    error(err, 0)
  end
  return started:await()
end

return group
