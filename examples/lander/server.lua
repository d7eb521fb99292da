-- The leaderboard: a line for each row, at a pace that one can watch.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local quit, pace = ...

local rows = {
  "EAGLE      1969  ****", "INTREPID   1969  ****", "ANTARES    1971  ***",
  "FALCON     1971  ***", "ORION      1972  ***", "CHALLENGER 1972  **",
  "LUNA 16    1970  **", "SURVEYOR   1966  *",
}

local server = assert(aio.tcp.listen("127.0.0.1", 0))
aio.spawn(server.serve, server, function(conn)
  for _, line in ipairs(rows) do
    conn:write(line, "\n")
    conn:flush()
    aio.sleep(pace)
  end
end)
announce(select(2, server:sockname()))
quit:await()
server:close(0)
