-- A state that is closed with tasks alive, in every kind of wait.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if stress_ready then
  stress_ready()
end

local ch, ev, f = aio.channel(), aio.event(), aio.future()

local function guard()
  return setmetatable({}, { __close = function() pcall(aio.yield) end })
end

for _, wait in ipairs {
  function() aio.sleep(1000) end,
  function() ch:get() end,
  function() ev:wait() end,
  function() f:await() end,
  function() aio.timeout(500, f.join, f) end,
  function() aio.shield(500, aio.sleep, 1000) end,
  function() aio.wait { f } end,
  function() aio.all(function() aio.sleep(1000) end) end,
  function() aio.coroutine.wrap(function() aio.sleep(1000) end)() end,
  function()
    local g <close> = aio.group()
    g:spawn(aio.sleep, 1000)
    g:service(aio.sleep, 1000)
  end,
  function()
    local ok, e
    repeat
      ok, e = pcall(aio.sleep, 1000)
    until not ok and type(e) == "string" -- it would not wait, ever again
  end,
} do
  aio.spawn(function()
    local _ <close> = guard()
    wait()
  end)
end

aio.yield()
aio.yield()
aio.loop():call_later(1000, print)
aio.spawn(function()
  local _ <close> = guard()
  aio.sleep(1000)
end)

return true
