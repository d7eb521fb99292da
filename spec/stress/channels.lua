-- Channels and events, with and without room, cancelled, closed.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if stress_ready then
  stress_ready()
end

local function stream(size)
  local ch, sum = aio.channel(size), 0
  local g <close> = aio.group()
  g:spawn(function()
    for i = 1, 6 do
      ch:put(i, nil, -i)
    end
    ch:close()
  end)
  for a, b, c in ch do
    if b ~= nil or c ~= -a then
      error "a tuple fell apart"
    end
    sum = sum + a
  end
  return sum
end

local function cancelled()
  local ch = aio.channel()
  local g <close> = aio.group()
  local getter = g:spawn(ch.get, ch)
  aio.yield()
  getter:cancel()
  local putter = g:spawn(ch.put, ch, {})
  aio.yield()
  putter:cancel()
  g:wait()
  for _, task in ipairs { getter, putter } do
    local state, e = task:peek()
    if state ~= "cancelled" then
      error(e, 0)
    end
  end
  if ch:try_get() then
    error "a cancelled put has put"
  end
end

local function events()
  local ev, n = aio.event(), 0
  local g <close> = aio.group()
  for _ = 1, 3 do
    g:spawn(function()
      ev:wait()
      n = n + 1
    end)
  end
  g:spawn(ev.wait, ev):cancel()
  aio.yield()
  ev:set()
  ev:clear()
  g:wait()
  return n
end

local a, b, n = aio.run(function()
  cancelled()
  local ch = aio.channel(2)
  ch:put {}
  ch:try_put {}
  ch:try_put {}
  ch:close()
  ch:put {}
  return stream(0), stream(2), events()
end)

return a == 21 and b == 21 and n == 3
