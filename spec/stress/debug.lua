-- In debug: notes, reports, names of waits; a raw yield that is cancelled.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
require "perilune.debug"

if stress_ready then
  stress_ready()
end

local heard = {}

local function hook(_, info)
  heard[info.kind] = (heard[info.kind] or 0) + 1
end

-- Uses the processor for longer than a step may take.
local function spin()
  local before = os.clock()
  repeat until os.clock() - before > 0.004
end

local function stubborn()
  pcall(aio.sleep, 1)
  pcall(aio.sleep, 1)
  aio.task():info()
  pcall(coroutine.yield)
  coroutine.yield()
end

-- What it would fail with for lack of memory is raised; a cancellation is what
-- is expected.
local function ends(task)
  local ok, e = task:join()
  if not ok and type(e) == "string" then
    error(e, 0)
  end
end

local function main()
  local t = aio.spawn(stubborn)
  local f = aio.future():name "answer"
  local waiter = aio.spawn(function()
    aio.coroutine.wrap(function() f:await() end)()
  end)
  aio.yield()
  for _, task in ipairs { t, waiter } do
    if task:peek() == "failed" then
      error(select(2, task:peek()), 0)
    end
  end
  local seen = waiter:info().waiting_on
  if seen ~= 'future "answer"' or #aio.tree() < 3 then
    error "a wait is not named"
  end
  t:cancel()
  ends(t)
  f:resolve()
  waiter:await()
  aio.spawn(spin):await()
  local _, message = aio.scope({ timeout = 0, name = "scope" }, aio.yield)
  return message
end

local message = aio.run({ debug = { slow = 0.001 }, on_error = hook }, main)
return message:find 'the scope "scope"' ~= nil
