-- Lights at the pads, in a wave.
--
-- SPDX-License-Identifier: MIT

for pad = 1, 5 do
  aio.spawn(function()
    aio.sleep(pad * 0.2)
    while true do
      for light = 1, 0, -0.125 do
        lamp(pad, light)
        aio.sleep(0.08)
      end
    end
  end)
end
