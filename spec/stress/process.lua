-- Processes: run with input, ended early, failed, left alone.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if not aio.process then
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

local failed
aio.run({ on_error = function(err) failed = err end }, function()
  local r = ensure(aio.process.run { "cat", input = "input" })
  if r.stdout ~= "input" or r.code ~= 0 then
    error "garbled"
  end
  aio.process.run { "sleep", 5, timeout = 1e-5 }
  aio.process.run { "no-such-program" }
  local p = ensure(aio.process.spawn { "true", stdout = "pipe",
    env = { A = 1 } })
  ensure(p:wait())
end)
if failed and not tostring(failed):find "memory" then
  error(failed, 0)
end

return true
