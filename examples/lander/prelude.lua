-- What all scripts of the game have; the rest is the host's (script.c).
--
-- SPDX-License-Identifier: MIT

aio = require "perilune"

local update = aio.signal "update"

-- Waits for a frame in which the condition holds.
function wait_until(condition)
  while not condition() do update:wait() end
end
