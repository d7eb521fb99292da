-- Context: captured, changed, bound, suppressed.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if stress_ready then
  stress_ready()
end

local user = aio.context.var("user", "nobody")
local other = aio.context.var "other"

local function check(expected, got)
  if expected ~= got then
    error(("%s expected, got %s"):format(expected, tostring(got)))
  end
end

local function in_context(name)
  user:set(name)
  other:set {}
  aio.yield()
  check(name, user:get())
  check(name, aio.spawn(user.get, user):await())
  check(name, aio.loop():call_soon(user.get, user):await())
  do
    local _ <close> = user:let "inside"
    aio.yield()
    check("inside", user:get())
  end
  check("with", user:with("with", function()
    aio.yield()
    return user:get()
  end))
  local gen = aio.coroutine.wrap(function()
    user:set "generator"
    aio.yield()
    coroutine.yield(user:get())
  end)
  check("generator", gen())
  check(name, user:get())
  local bound = aio.context.bind(function()
    user:set "bound"
    aio.yield()
    return user:get()
  end)
  check("bound", bound())
  check(name, aio.context.run(function()
    local was = user:get()
    user:set "another"
    return was
  end))
  check("nobody", aio.context.suppress(aio.spawn, user.get, user):await())
  check(name, user:get())
end

-- Keys and hooks: each hook that was accepted is called, once.
local accepted, called = 0, 0

local function hook(name, key)
  if user:get() ~= name or aio.context.key() ~= key then
    error "a hook is called elsewhere"
  end
  called = called + 1
  aio.yield()
end

local function accept(name)
  local key = aio.context.key()
  aio.context.on_close(function() hook(name, key) end)
  accepted = accepted + 1
  return key
end

local function logical(name)
  user:set(name)
  local key = accept(name)
  local loop = aio.loop()
  check(key, loop:call_soon(aio.context.key):await())
  check(key, aio.coroutine.wrap(aio.context.key)())
  check(key, aio.spawn(aio.context.bind(aio.context.key)):await())
  local inside = aio.context.run(function()
    loop:call_later(0, user.get, user)
    return accept(name)
  end)
  assert(inside ~= key and aio.context.key() == key)
  aio.spawn(accept, name):await()
  local g <close> = aio.group { on_failure = print }
  check(key, g:spawn(aio.context.key):await())
end

aio.run(function()
  local g <close> = aio.group()
  g:spawn(in_context, "ann")
  g:spawn(in_context, "bob")
  g:wait()
  check("nobody", user:get())
end)

local failure -- of the callback that is to call a hook, say
local ok, e = pcall(aio.run, { on_error = function(e) failure = e end }, function()
  aio.spawn(logical, "ann"):await()
  aio.spawn(logical, "bob"):await()
end)
if ok and failure then
  error(failure, 0)
end
assert(ok, e)
-- A hook that there was no memory for is called when the state is closed.
if called < accepted - 1 then
  error(("%d hooks expected, %d called"):format(accepted, called))
end

return true
