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

aio.run(function()
  local g <close> = aio.group()
  g:spawn(in_context, "ann")
  g:spawn(in_context, "bob")
  g:wait()
  check("nobody", user:get())
end)

return true
