--- Waiting for several: all, map, wait.
--
-- SPDX-License-Identifier: MIT

local check = require "perilune.check"
local core = require "perilune.core"

local many = {}

-- `return nil, message, code` of a child travels through the group as an
-- error, so that it cancels the others; this tells it from what was raised.
local Refusal = {}

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
-- has no value: that is a failure here.
local function together(body)
  core.enter()
  local function run()
    local g <close> = core.group(nil, true)
    body(g)
  end
  local ok, err = pcall(run)
  if ok then
    return true
  elseif getmetatable(err) == Refusal then
    return nil, table.unpack(err, 1, err.n)
  end
  error(err, 0)
end

--- Runs the functions as children; waits for all.
-- A raise, or a function that returns nil and a string, is a failure: the
-- others are cancelled and joined.
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
    for i = 1, n do
      g:spawn(child, results, i, fns[i])
    end
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
  end
end

--- Calls `fn(item)` for each item in tasks, at most `limit` at a time.
-- Fails as `all` does. Waits.
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
    for i = 1, math.min(limit or n, n) do
      g:spawn(worker, list, fn, results, cursor)
    end
  end)
  if not ok then
    return nil, message, code
  end
  return results
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
    check.fail(2, "wait", "field 'timeout' must be a number of seconds")
  end
  if #list == 0 then
    return {}, {}
  end
  local watch <close> = core.watch(futures(list, "wait"))
  core.timeout(limit, watch.wait, watch, mode)
  return split(list, watch:order())
end

return many
