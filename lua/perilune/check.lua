--- Checking arguments, with the position of the caller of the library.
--
-- SPDX-License-Identifier: MIT

local core = require "perilune.core"

local check = {}

-- Positions in errors are those of the first function outside this folder.
local _, file = ...
core.library("@" .. tostring(file):gsub("[^/]*$", ""))

--- Raises "bad argument" at the caller of the function that checks.
-- @param arg number of the argument
-- @param fname name of the public function
-- @param text what is wrong
-- @param level levels above the checking function (default 1)
function check.fail(arg, fname, text, level)
  error(("bad argument #%d to '%s' (%s)"):format(arg, fname, text), 3 + (level or 0))
end

--- True if `f` can be called.
function check.callable(f)
  if type(f) == "function" then
    return true
  end
  local meta = getmetatable(f)
  return type(meta) == "table" and meta.__call ~= nil
end

--- The type of `v` as error messages give it.
function check.typename(v)
  if v == nil then
    return "nil"
  end
  local meta = getmetatable(v)
  return type(meta) == "table" and type(meta.__name) == "string" and meta.__name or type(v)
end

--- What is wrong with options of debugging, or nil.
function check.debug_options(opts)
  if type(opts) ~= "table" then
    return "table expected, got " .. check.typename(opts)
  end
  for key, value in pairs(opts) do
    if key ~= "slow" then
      return ("unknown option '%s'"):format(tostring(key))
    elseif value ~= false and not (type(value) == "number" and value > 0) then
      return "option 'slow': seconds, or false, expected"
    end
  end
end

return check
