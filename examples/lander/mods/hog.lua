-- Takes all the memory that it can get.
--
-- SPDX-License-Identifier: MIT

local pile = {}
while true do
  for _ = 1, 200 do pile[#pile + 1] = ("x"):rep(100) .. #pile end
  aio.sleep(0.05)
end
