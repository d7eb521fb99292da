-- Driving the loop from the main chunk, without a run.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if stress_ready then
  stress_ready()
end

local function check(expected, got)
  if expected ~= got then
    error(("%s expected, got %s"):format(expected, tostring(got)))
  end
end

aio.sleep(1e-5)
check("v", aio.spawn(function()
  aio.yield()
  return "v"
end):await())
check("ETIMEDOUT", select(3, aio.timeout(1e-5, aio.sleep, 1000)))
check(3, select("#", aio.all(aio.yield, aio.yield, aio.yield)))

do
  local g <close> = aio.group()
  g:spawn(aio.yield)
  g:spawn(aio.sleep, 1000)
  aio.yield()
  g:cancel()
end

local ok, e = pcall(aio.await, aio.future())
if ok or type(e) ~= "table" then
  error(e, 0)
end
check("EDEADLK", e.code)

return true
