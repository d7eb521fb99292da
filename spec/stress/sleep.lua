-- Tasks that wait for time, and are cancelled doing so.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if stress_ready then
  stress_ready()
end

local woken = 0

aio.run(function()
  local g <close> = aio.group()
  for i = 1, 5 do
    g:spawn(function()
      aio.sleep(i * 1e-5)
      woken = woken + 1
    end)
  end
  local sleeper = g:spawn(aio.sleep, 1000)
  local fresh = g:spawn(aio.sleep, math.huge)
  fresh:cancel "before it started"
  aio.yield()
  aio.sleep(0)
  aio.check()
  sleeper:cancel { "a reason" }
  g:wait()
  for _, task in ipairs { sleeper, fresh } do
    local state, e = task:peek()
    if state ~= "cancelled" then
      error(e, 0)
    end
  end
end)

return woken == 5
