-- Waiting inside generators, nested, failing, dropped, cancelled.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if stress_ready then
  stress_ready()
end

local failure = {}

local function numbers(n)
  return aio.coroutine.wrap(function()
    for i = 1, n do
      aio.yield()
      coroutine.yield(i, nil)
    end
  end)
end

local function doubled(source)
  return aio.coroutine.wrap(function()
    for i in source do
      aio.sleep(0)
      coroutine.yield(2 * i)
    end
  end)
end

local sum = aio.run(function()
  local sum = 0
  for i in doubled(numbers(4)) do
    sum = sum + i
  end

  local co = aio.coroutine.create(function()
    aio.yield()
    error(failure)
  end)
  local ok, e = aio.coroutine.resume(co)
  if ok or e ~= failure then
    error(e, 0)
  end

  co = aio.coroutine.create(function()
    local _ <close> = setmetatable({}, { __close = function() end })
    aio.yield()
    coroutine.yield()
  end)
  ok, e = aio.coroutine.resume(co)
  if not ok then
    error(e, 0)
  end
  aio.coroutine.close(co)

  local dropped = numbers(2)
  dropped()

  local g <close> = aio.group()
  local t = g:spawn(function()
    for _ in aio.coroutine.wrap(function()
      aio.sleep(1000)
    end) do
    end
  end)
  aio.yield()
  t:traceback()
  t:cancel()
  g:wait()
  return sum
end)

return sum == 20
