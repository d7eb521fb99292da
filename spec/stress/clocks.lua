-- Clocks that are moved by hand, what waits by them, and signals.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if stress_ready then
  stress_ready()
end

local log = {}

local function note(...)
  log[#log + 1] = table.concat({ ... }, ":")
end

local function turns(n)
  for _ = 1, n do aio.yield() end
end

aio.run(function()
  local game, menu = aio.clock "game", aio.clock "menu"
  local over = aio.signal "over"
  local g <close> = aio.group()
  g:spawn(aio.scope, { clock = game }, function()
    aio.sleep(1)
    note("slept", game:time())
    aio.spawn(aio.sleep, 1)
    aio.loop():call_later(1, note, "called")
    aio.timeout(1, aio.future().await, aio.future())
    note("late", aio.now())
    over:emit("over", 1)
  end)
  g:spawn(function()
    local _ <close> = aio.scope { clock = menu, timeout = 9 }
    note(aio.select { aio.future(), timeout = 2 } and "won" or "lost")
  end)
  local heard = g:spawn(over.wait, over)
  local gone = g:spawn(aio.scope, { clock = menu }, function() aio.sleep(100) end)
  turns(3)
  game:advance(1)
  menu:advance(5)
  turns(3)
  game:advance(1)
  gone:cancel()
  turns(4)
  note(heard:await())
  aio.next_frame()
  local more = {}
  for i = 1, 20 do more[i] = aio.clock("more " .. i) end
  for i = 1, 40 do g:spawn(aio.scope, { clock = more[i % 20 + 1] }, function() aio.sleep(1) end) end
  turns(3)
  for i = 1, 20 do more[i]:advance(3600) end
end)

-- To the main chunk values are given in a table. The callback itself may fail,
-- and nobody is left to emit then.
local top = aio.signal "top"
aio.loop():call_soon(function()
  if not pcall(top.emit, top, 1, 2) then top:emit(1, 2) end
end)
local ok, e, second = pcall(top.wait, top)
if not ok then
  error(e.code == "EDEADLK" and "not enough memory" or e, 0)
end
note(e, second)

return table.concat(log, " ") == "slept:1.0 lost called late:2.0 over:1 1:2"
