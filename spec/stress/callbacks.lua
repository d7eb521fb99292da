-- Callbacks: soon, later, failing, cancelled, heard of.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if stress_ready then
  stress_ready()
end

local failure = {}
local loop = aio.loop()
local heard = {}

local called = 0

local function call(...)
  called = called + 1
  return ...
end

aio.run({ on_error = function(e) heard[#heard + 1] = e end }, function()
  local soon = loop:call_soon(call, 1, nil, 3)
  local later = loop:call_later(1e-5, call)
  local at = loop:call_at(loop:time(), call)
  local never = loop:call_later(1000, call)
  local failing = loop:call_soon(error, failure)
  failing:peek() -- it is taken
  never:cancel "why"
  if select("#", soon:await()) ~= 3 then
    error "values are missing"
  end
  later:await()
  at:await()
  local ok, e = failing:join()
  if ok or e ~= failure then
    error(e, 0)
  end
  loop:call_soon(error, failure)
  aio.yield()
  aio.yield()
  aio.yield()
end)

-- Where the hook could not be called, its error is what is heard.
if called ~= 3 then
  error "not all were called"
end
for _, e in ipairs(heard) do
  if e ~= failure then
    error(e, 0)
  end
end

return #heard <= 1
