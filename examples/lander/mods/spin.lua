-- Never waits.
--
-- SPDX-License-Identifier: MIT

aio.sleep(1)
while true do end -- luacheck: ignore
