-- Several at once: all, map, wait.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if stress_ready then
  stress_ready()
end

local failure = {}

local function check(expected, got)
  if expected ~= got then
    error(("%s expected, got %s"):format(expected, tostring(got)))
  end
end

local function slow(n)
  aio.sleep(n * 1e-5)
  return n
end

local function wait_for(mode, timeout)
  local list = { aio.spawn(slow, 2), aio.spawn(slow, 1), aio.future() }
  local done, pending = aio.wait(list, { mode = mode, timeout = timeout })
  list[3]:resolve()
  for i = 1, 2 do
    list[i]:await()
  end
  return #done + #pending
end

aio.run(function()
  local a, b = aio.all(function() return slow(2) end,
    function() return slow(1) end)
  check(3, a + b)

  local ok, e = pcall(aio.all, function() aio.sleep(1000) end,
    function() error(failure) end)
  if ok or e ~= failure then
    error(e, 0)
  end

  local _, _, code = aio.all(function() return nil, "ETEST: no", "ETEST" end,
    function() aio.sleep(1000) end)
  check("ETEST", code)

  local i, won = aio.race(function() return slow(9000) end,
    function() return slow(1), "won" end)
  check(3, i + won)
  local order = 0
  for task in aio.as_completed { aio.spawn(slow, 2), aio.spawn(slow, 1) } do
    order = 10 * order + task:await()
  end
  check(12, order)

  local list = aio.map({ 1, 2, 3, 4, 5 }, slow, 2)
  check(5, list.n)
  check(5, list[5])

  check(3, wait_for("any"))
  check(3, wait_for("all", 1e-5))
  check(3, wait_for("first_error", 1e-5))
end)

return true
