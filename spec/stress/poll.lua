-- Foreign descriptors, in both directions, and ticks.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if not aio.poll then
  return true
end

if stress_ready then
  stress_ready()
end

-- The world says no where memory is short; that is an error here.
local function ensure(value, message, ...)
  if value == nil then
    error(message, 0)
  end
  return value, message, ...
end

aio.run(function()
  local pipe <close> = ensure(io.popen("echo line"))
  do
    local g <close> = aio.group()
    for _ = 1, 2 do
      g:spawn(function() ensure(aio.poll(pipe, "r")) end)
    end
  end
  ensure(pipe:read "l")
  local quiet <close> = ensure(io.popen("exec cat >/dev/null", "w"))
  aio.timeout(1e-5, aio.poll, quiet, "r")
  ensure(aio.poll(quiet, "w"))
  for n in aio.every(1e-4) do
    if n > 2 then
      break
    end
  end
end)

return true
