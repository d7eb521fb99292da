-- An autopilot: lands the lander that it runs for. Change it while the game
-- runs: it is begun anew, with the same state.
--
-- SPDX-License-Identifier: MIT

local state = ...

-- What is left of the way down when it has been braked for.
local function spare()
  local v = falling()
  return altitude() - v * v / (2 * state.nerve)
end

local function descend()
  wait_until(function() return spare() < 6 end)
  thrust(true)
  wait_until(function() return falling() < 22 end)
  thrust(false)
  while not landed() do
    if falling() > 20 then burn(0.08) else aio.sleep(0.02) end
  end
end

-- Leans against the drift, and a little towards the pad.
local function steer()
  while true do
    local wanted = offset() * 1.2
    turn(math.max(-20, math.min(20, (wanted - drift()) * 1.5)))
    aio.sleep(0.05)
  end
end

if not state.braked then
  turn(-40)
  wait_until(function() return offset() < 22 end)
  burn(0.7)
  state.braked = true
end
aio.race(descend, steer)
