-- Scopes, timeouts and shields, in time and too late.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if stress_ready then
  stress_ready()
end

local function code(...)
  return select(3, ...)
end

local function check(expected, got)
  if expected ~= got then
    error(("%s expected, got %s"):format(expected, tostring(got)))
  end
end

local function late()
  local _ <close> = aio.scope { timeout = 1e-5, name = "late" }
  aio.sleep(1000)
end

aio.run(function()
  check("v", aio.timeout(1000, function()
    aio.yield()
    return "v"
  end))
  check("ETIMEDOUT", code(aio.timeout(1e-5, aio.sleep, 1000)))
  check("ETIMEDOUT", code(aio.timeout(0, aio.yield)))
  check("ETIMEDOUT", code(aio.shield(1e-5, aio.sleep, 1000)))

  local ok, e = pcall(late)
  if ok or type(e) ~= "table" then
    error(e, 0)
  end
  check("ETIMEDOUT", e.code)

  check("ECANCELED", code(aio.scope({}, function(s)
    s:expires(aio.now() + 1000)
    s:cancel { "why" }
    aio.sleep(1000)
  end)))

  check("ETIMEDOUT", code(aio.timeout(1e-5, function()
    local g <close> = aio.group()
    g:spawn(aio.sleep, 1000)
    g:spawn(function()
      local _ <close> = setmetatable({}, { __close = function()
        aio.shield(nil, aio.yield)
      end })
      aio.timeout(500, aio.sleep, 1000)
    end)
  end)))

  local left = aio.spawn(function() aio.scope(1000) end)
  local fine, message = left:join()
  if fine then
    error "a scope was left open"
  elseif type(message) ~= "table" then
    error(message, 0)
  end
end)

return true
