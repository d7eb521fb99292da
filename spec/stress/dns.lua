-- Look-ups: at once, by a thread, given up.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if not aio.dns then
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
  ensure(aio.dns.resolve("127.0.0.1", { service = 80, canonical = true }))
  if #ensure(aio.dns.resolve("localhost", { service = "80" })) == 0 then
    error "nothing found"
  end
  aio.dns.reverse "127.0.0.1"
  local task = aio.spawn(aio.dns.resolve, "localhost")
  aio.yield()
  task:cancel()
  task:join()
end)

return true
