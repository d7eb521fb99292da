--- Debugging: what is noted and reported besides.
--
-- SPDX-License-Identifier: MIT

local check = require "perilune.check"
local core = require "perilune.core"

local debug = {}

local LIMIT <const> = 0.1 -- seconds

-- The limit that options ask for, or nil for none.
local function limit_of(opts)
  local slow = opts.slow
  if slow == nil then
    return LIMIT
  end
  return slow or nil
end

--- Turns debugging on: from now on it is noted which line makes a task, a
-- future, a transport; leaks, swallowed cancellations and slow steps go to the
-- error hook. Never waits.
-- @param opts table or nil; `slow`: the seconds (0.1) that a task or callback
--   may run between two waits, or false for no limit
-- @return true
function debug.enable(opts)
  local wrong = opts ~= nil and check.debug_options(opts)
  if wrong then
    check.fail(1, "enable", wrong)
  end
  core.debug(true, limit_of(opts or {}))
  return true
end

--- Turns it off. Never waits.
-- @return true
function debug.disable()
  core.debug(false)
  return true
end

return debug
