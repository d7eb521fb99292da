-- For whoever has landed.
--
-- SPDX-License-Identifier: MIT

local function rocket(x, y, colour)
  for height = 0, 60, 4 do
    burst(x, y - height, 1, 0xffe0a0)
    aio.sleep(0.02)
  end
  burst(x, y - 64, 40, colour)
end

while true do
  local x, y, colour = landed:wait()
  aio.spawn(function()
    for i = -1, 1 do
      aio.spawn(rocket, x + i * 22, y, colour)
      aio.sleep(0.15)
    end
  end)
end
