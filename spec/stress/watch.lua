-- What is watched: waited for, given up, more than is kept, closed.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if not aio.fs then
  return true
end

local dir = os.tmpname()
os.remove(dir)
assert(os.execute("mkdir " .. dir))

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

local function touch(name)
  ensure(io.open(dir .. "/" .. name, "w")):close()
end

local function work()
  local watch <close> = ensure(aio.fs.watch(dir))
  local few = ensure(aio.fs.watch(dir, { limit = 1 }))
  touch "a"
  local event = watch()
  -- An event that there is no memory for is one that is lost.
  if event.name ~= "a" and event.kind ~= "overflow" then
    error "another event"
  end
  touch "b"
  aio.timeout(1e-5, watch)
  local task = aio.spawn(watch)
  aio.yield()
  task:cancel()
  task:join()
  few() -- another one may be lost already, and told then
  few:close()
  ensure(aio.fs.watch(dir)) -- left to the collector
end

local ok, e = pcall(aio.run, work)
for _, name in ipairs { "/a", "/b", "" } do
  os.remove(dir .. name)
end
if not ok then
  error(e, 0)
end
return true
