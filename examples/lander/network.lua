-- What talks to the outside, on the real clock: it goes on while the game is
-- paused. Fetches the leaderboard whenever a pause begins, and looks whether
-- the autopilot was changed.
--
-- SPDX-License-Identifier: MIT

local port, folder, watching = ...

local function fetch()
  local conn <close> = assert(aio.tcp.connect("127.0.0.1", port:await()))
  local i = 0
  for line in conn:lines() do
    i = i + 1
    row(i, line)
  end
end

-- Some programs write in several goes: they are given a moment.
local function watch()
  local changes <close> = assert(aio.fs.watch(folder))
  for change in changes do
    if change.name == "autopilot.lua" then
      aio.sleep(0.1)
      reload()
    end
  end
end

if watching then aio.spawn(watch) end
local paused = aio.signal "paused"
while true do
  local fetched = paused:wait()
  local ok, err = pcall(aio.timeout, 10, fetch)
  if not ok then row(1, tostring(err)) end
  fetched:resolve()
end
