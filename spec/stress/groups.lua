-- Groups: children that end, fail, serve, start, are cancelled, iterated.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if stress_ready then
  stress_ready()
end

local failure = {}

local function expect(expected, ok, e)
  if ok or e ~= expected then
    error(e, 0)
  end
end

local function child(n)
  aio.yield()
  return n
end

local function ending()
  local g <close> = aio.group()
  for i = 1, 3 do
    g:spawn(child, i)
  end
  local sum = 0
  for task in g do
    sum = sum + task:await()
  end
  if sum ~= 6 then
    error "a child is missing"
  end
end

local function failing()
  local g <close> = aio.group()
  g:spawn(function()
    local _ <close> = setmetatable({}, { __close = function()
      aio.shield(1, aio.yield)
    end })
    aio.sleep(1000)
  end)
  g:spawn(error, failure)
  aio.sleep(1000)
end

local function serving()
  local ch = aio.channel()
  local g <close> = aio.group()
  g:service(function()
    for f, n in ch do
      f:resolve(n + 1)
    end
  end)
  local n = g:start(function(started)
    local f = aio.future()
    ch:put(f, 1)
    started(f:await())
    aio.yield()
  end)
  if n ~= 2 then
    error "wrong answer"
  end
end

local function cancelling()
  return aio.group({}, function(g)
    local t = g:spawn(aio.sleep, 1000)
    g:spawn(aio.sleep, 1000)
    aio.yield()
    t:cancel()
    g:cancel "enough"
    return "values"
  end)
end

local function heard()
  local n = 0
  local errors = {}
  do
    local g <close> = aio.group { on_failure = function(_, e)
      n = n + 1
      errors[n] = e
    end }
    g:spawn(error, failure)
    g:spawn(child)
  end
  for _, e in ipairs(errors) do
    expect(failure, false, e)
  end
  if n ~= 1 then
    error "not told"
  end
end

aio.run(function()
  ending()
  expect(failure, pcall(failing))
  serving()
  if cancelling() ~= "values" then
    error "wrong value"
  end
  heard()
end)

return true
