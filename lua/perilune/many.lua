--- Waiting for several: all, map, race, wait, as_completed.
--
-- SPDX-License-Identifier: MIT

local check = require "perilune.check"
local core = require "perilune.core"

local many = {}

-- `return nil, message, code` of a child travels through the group as an
-- error, so that it cancels the others; this tells it from what was raised. The
-- error hook hears of one that comes after another failure.
local Refusal = {
  __tostring = function(refusal)
    return refusal[1]
  end,
}

-- The first of a race travels in the same way; its values wait in the race.
local WON = {}

local function is_refusal(first, message)
  return first == nil and type(message) == "string"
end

-- Runs a child; keeps its first value, or raises what ends the rest.
local function keep(results, i, first, ...)
  if is_refusal(first, (...)) then
    error(setmetatable({ n = select("#", ...), ... }, Refusal), 0)
  end
  results[i] = first
end

local function child(results, i, fn, ...)
  keep(results, i, fn(...))
end

-- Runs `body(group)` in a group; true, or nil, message, code of the child that
-- refused. Raises what else went wrong. A child that was cancelled by itself
-- has no value: that is a failure here. Errors of children that come after the
-- one which ended the rest go to the error hook.
local function together(body)
  core.enter()
  local function run()
    local g <close> = core.group(nil, true)
    body(g)
  end
  local ok, err = pcall(run)
  if ok or err == WON then
    return true
  elseif getmetatable(err) == Refusal then
    return nil, table.unpack(err, 1, err.n)
  end
  error(err, 0)
end

-- So many children are begun in a turn: those that end at once leave their
-- coroutines, still warm, to the next ones.
local PORTION <const> = 256

local function begin(n, spawn)
  for i = 1, n do
    spawn(i)
    if i % PORTION == 0 then
      core.yield() -- raises after a failure: no more are begun
    end
  end
end

--- Runs the functions as children; waits for all.
-- A raise, or a function that returns nil and a string, is a failure: the
-- others are cancelled and joined. Many are begun in the course of some turns;
-- after a failure those whose turn has not come are left out.
-- @param ... functions
-- @return the first value of each, in order; or nil, message, code
function many.all(...)
  local n, fns = select("#", ...), { ... }
  for i = 1, n do
    if not check.callable(fns[i]) then
      check.fail(i, "all", "function expected, got " .. check.typename(fns[i]))
    end
  end
  local results = {}
  local ok, message, code = together(function(g)
    begin(n, function(i)
      g:spawn(child, results, i, fns[i])
    end)
  end)
  if not ok then
    return nil, message, code
  end
  return table.unpack(results, 1, n)
end

-- Items are taken from the list by `limit` workers, so that a long list does
-- not make as many tasks.
local function worker(list, fn, results, cursor)
  while cursor.i < cursor.n do
    local i = cursor.i + 1
    cursor.i = i
    keep(results, i, fn(list[i]))
    if cursor.i < cursor.n then
      core.check() -- after a failure, or when cancelled, no more are begun
    end
  end
end

--- Calls `fn(item)` for each item in tasks, at most `limit` at a time, in the
-- list's order. Fails as `all` does; with a limit, items whose turn has not come
-- are left out then. Waits.
-- @param list list of items, with `n` if it has holes
-- @param fn function
-- @param limit tasks at a time; nil for one for each item
-- @return list of the first values, with `n`; or nil, message, code
function many.map(list, fn, limit)
  if type(list) ~= "table" then
    check.fail(1, "map", "table expected, got " .. check.typename(list))
  elseif not check.callable(fn) then
    check.fail(2, "map", "function expected, got " .. check.typename(fn))
  elseif limit ~= nil and limit ~= math.huge and (math.type(limit) ~= "integer" or limit < 1) then
    check.fail(3, "map", "positive number of tasks expected")
  end
  local n = math.type(list.n) == "integer" and list.n or #list
  local results = { n = n }
  local ok, message, code = together(function(g)
    local cursor = { i = 0, n = n }
    begin(math.min(limit or n, n), function()
      g:spawn(worker, list, fn, results, cursor)
    end)
  end)
  if not ok then
    return nil, message, code
  end
  return results
end

-- What ends in any way, first or not, ends the race.
local Race = {
  __close = function(race)
    race.over = true
  end,
}

-- Keeps the values of the first, and ends the rest by an error.
local function finish(race, i, ...)
  if not race.over then
    race.first, race.values = i, table.pack(...)
    error(WON, 0)
  end
end

local function racer(race, i, fn)
  local _ <close> = race
  finish(race, i, fn())
end

--- Runs the functions as children; the first that returns, or raises, counts.
-- The others are cancelled and joined; if one raises meanwhile, the error hook
-- hears of it. A child that was cancelled by itself has raised. Waits.
-- @param ... functions, at least one
-- @return the index of the first that returned, and all that it returned
function many.race(...)
  local n, fns = math.max(select("#", ...), 1), { ... }
  for i = 1, n do
    if not check.callable(fns[i]) then
      check.fail(i, "race", "function expected, got " .. check.typename(fns[i]))
    end
  end
  local race = setmetatable({}, Race)
  together(function(g)
    for i = 1, n do
      g:spawn(racer, race, i, fns[i])
    end
  end)
  return race.first, table.unpack(race.values, 1, race.values.n)
end

-- The futures of a list of awaitables, each of which may be there once.
local function futures(list, fname)
  local seen, out = {}, {}
  for i = 1, #list do
    local x = list[i]
    if not core.is_awaitable(x) then
      check.fail(1, fname, ("item %d is not awaitable (%s)"):format(i, check.typename(x)), 1)
    elseif seen[x] then
      check.fail(1, fname, ("item %d is there twice"):format(i), 1)
    end
    seen[x] = true
    out[i] = core.to_future(x)
  end
  return out
end

local function split(list, order)
  local done, pending, is_done = {}, {}, {}
  for k, i in ipairs(order) do
    done[k], is_done[i] = list[i], true
  end
  for i = 1, #list do
    if not is_done[i] then
      pending[#pending + 1] = list[i]
    end
  end
  return done, pending
end

local OPTIONS = { mode = true, timeout = true }

local function check_options(opts)
  for key in pairs(opts or {}) do
    if not OPTIONS[key] then
      check.fail(2, "wait", ("unknown option '%s'"):format(tostring(key)), 1)
    end
  end
end

local MODES = { all = true, any = true, first_error = true }

--- Waits for the awaitables of a list. Cancels none of them and raises none of
-- their errors.
-- @param list awaitables, no duplicates
-- @param opts `mode`: "all" (default), "any" or "first_error" (the first that
--   failed or was cancelled); `timeout` in seconds
-- @return those done, in the order of completion; those pending, in the list's
function many.wait(list, opts)
  if type(list) ~= "table" then
    check.fail(1, "wait", "table expected, got " .. check.typename(list))
  elseif opts ~= nil and type(opts) ~= "table" then
    check.fail(2, "wait", "table expected, got " .. check.typename(opts))
  end
  check_options(opts)
  local mode = opts and opts.mode or "all"
  local limit = opts and opts.timeout
  if not MODES[mode] then
    check.fail(2, "wait", ("unknown mode '%s'"):format(tostring(mode)))
  elseif limit ~= nil and (type(limit) ~= "number" or limit ~= limit) then
    check.fail(2, "wait", "option 'timeout' must be a number of seconds")
  end
  if #list == 0 then
    return {}, {}
  end
  local watch <close> = core.watch(futures(list, "wait"))
  core.timeout(limit, watch.wait, watch, mode)
  return split(list, watch:order())
end

local Completed = {}

function Completed:__call()
  local i = self.watch:next()
  return i and self.list[i]
end

function Completed:__close()
  self.watch:close()
end

--- Makes `for x in aio.as_completed(list) do` go through the objects of a list
-- in the order in which they are done. It cancels none of them and raises none
-- of their errors. Leaving the loop early leaves nothing running; held in a
-- variable declared `<close>`, what it returns is let go of at the end of the
-- block, and ends loops over it. The iterator waits.
-- @param list awaitables, no duplicates
-- @return an object to loop over; several tasks may share it
function many.as_completed(list)
  if type(list) ~= "table" then
    check.fail(1, "as_completed", "table expected, got " .. check.typename(list))
  end
  local watch = core.watch(futures(list, "as_completed"))
  return setmetatable({ watch = watch, list = table.move(list, 1, #list, 1, {}) }, Completed)
end

return many
