--- Ticks: doing something again and again.
--
-- SPDX-License-Identifier: MIT

local check = require "perilune.check"
local core = require "perilune.core"

local every = {}

--- Makes an iterator over ticks: `for n in aio.every(0.5) do`. The n-th comes n
-- times so many seconds from now, by the clock of the scope, however long the
-- loop's body takes. Of ticks that are late the last one comes, at once, and those
-- before it are skipped, as `n` tells. Never waits; the loop does.
-- @param s seconds, more than 0
-- @return function that waits for the next tick and returns its number
function every.every(s)
  if type(s) ~= "number" then
    check.fail(1, "every", "number expected, got " .. check.typename(s))
  elseif not (s > 0 and s < math.huge) then
    check.fail(1, "every", "number of seconds, more than 0, expected")
  end
  local start, n = core.now(), 0
  return function()
    local now = core.now()
    local due = math.max(n + 1, (now - start) // s)
    core.sleep(math.max(0, start + due * s - now))
    n = math.max(due, (core.now() - start) // s)
    return math.tointeger(n)
  end
end

return every
