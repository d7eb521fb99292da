-- Tasks: spawning, awaiting, failing, being looked at.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if stress_ready then
  stress_ready()
end

-- What is expected to fail: with anything else it is not that failure.
local function expect(expected, ok, e)
  if ok or e ~= expected then
    error(e, 0)
  end
end

local failure = {}

local sum = aio.run(function()
  local one = aio.spawn(function(...)
    aio.yield()
    return select("#", ...), ...
  end, 1, nil, 3)
  local two = aio.spawn(function()
    local _ <close> = setmetatable({}, { __close = aio.yield })
    error(failure)
  end)
  one:name "one"
  local three = aio.spawn(function()
    return one:await() + 1, nil, {}
  end)
  local seen
  local watch = three:on_done(function(t) seen = t:peek() end)
  expect(failure, two:join())
  expect(failure, pcall(two.await, two))
  local sum = one:await() + three:await()
  watch:await()
  if seen ~= "ok" then
    error "on_done was not told"
  end
  local many = aio.spawn(function(...)
    aio.sleep(0)
    return ...
  end, table.unpack({}, 1, 60))
  many:traceback()
  many:info()
  if select("#", many:await()) ~= 60 then
    error "values are missing"
  end
  return sum
end)

return sum == 7
