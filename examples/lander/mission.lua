-- The mission, from the first sight of the ground to the last touchdown. It
-- is one task on the game's clock; each scene is one in a scope of its own,
-- which the return key ends.
--
-- SPDX-License-Identifier: MIT

local surveyed = ...
local SECTORS = 16

local fleet = {
  { nerve = 52 }, { nerve = 50 }, { nerve = 90 }, { nerve = 54 }, { nerve = 48 },
}

local function say(text)
  for i = 1, #text, 2 do
    caption(text:sub(1, i + 1))
    aio.sleep(0.015)
  end
  aio.sleep(0.3)
end

local function fly_in()
  cinema(true)
  cruise()
  say "HOUSTON: YOU ARE GO FOR DESCENT"
  cinema(false)
  caption ""
end

local function descent()
  for i, state in ipairs(fleet) do
    wait_until(function() return ahead(i) < 64 end)
    deploy(i, state)
  end
  wait_until(function() return flying() == 0 end)
end

local function debrief()
  local _, a, b, c, d = flying()
  say("DOWN AND SAFE: " .. table.concat({ a, b, c, d }, ", "))
end

local sectors = {}
for i = 1, SECTORS do sectors[i] = i end
aio.map(sectors, function(i) ground(i, survey(i)) end, 4)
surveyed:resolve()

scene(fly_in)
cinema(false)
caption ""
scene(descent)
scene(debrief)
