-- The end of a run with much left to do.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if stress_ready then
  stress_ready()
end

local closed, errors = 0, {}

local function guard()
  return setmetatable({}, { __close = function()
    aio.shield(1, aio.yield)
    closed = closed + 1
  end })
end

local value = aio.run({
  on_error = function(e) errors[#errors + 1] = e end,
}, function()
  aio.on_close(function() closed = closed + 1 end)
  aio.on_close(function()
    aio.spawn(function()
      local _ <close> = guard()
      aio.sleep(1000)
    end)
    aio.sleep(0)
    closed = closed + 1
  end)
  for _ = 1, 3 do
    aio.spawn(function()
      local _ <close> = guard()
      aio.sleep(1000)
    end)
  end
  aio.spawn(function()
    pcall(aio.sleep, 1000)
    aio.spawn(function()
      local _ <close> = guard()
      aio.sleep(1000)
    end)
  end)
  aio.spawn(function()
    local owner = aio.task()
    local _ <close> = guard()
    local g <close> = aio.group()
    g:service(function()
      local _ <close> = guard()
      aio.sleep(1000)
    end)
    g:spawn(pcall, owner.await, owner)
    g:spawn(aio.sleep, 1000)
  end)
  aio.yield()
  return "value"
end)

for _, e in ipairs(errors) do
  error(e, 0)
end
if closed ~= 9 then
  local _ = ("x"):rep(1e5) -- memory is short still: the hook could not tell
end

return value == "value" and closed == 9
