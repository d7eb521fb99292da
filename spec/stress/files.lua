-- Files: read, written, replaced, not there.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if not aio.fs then
  return true
end

local fs = aio.fs
local dir = os.tmpname()
os.remove(dir)
local old, new = ("x"):rep(5000), ("z"):rep(5000)

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

local function work()
  ensure(fs.mkdir(dir))
  ensure(fs.write_file(dir .. "/a", old))
  ensure(fs.append_file(dir .. "/a", "y"))
  ensure(fs.write_file(dir .. "/a", new, { atomic = true }))
  if #ensure(fs.read_file(dir .. "/a")) ~= 5000 then
    error "not what was written"
  end
  ensure(fs.rename(dir .. "/a", dir .. "/b"))
  if ensure(fs.stat(dir .. "/b")).type ~= "file" then
    error "no file"
  end
  for entry in fs.scandir(dir) do
    if entry.name ~= "b" then
      error "not what is there"
    end
  end
  local listing <close> = fs.scandir(dir)
  listing()
  fs.stat(dir .. "/a")
  local task = aio.spawn(fs.realpath, dir)
  aio.yield()
  task:cancel()
  task:join()
end

local ok, e = pcall(aio.run, work)
for _, name in ipairs { "/a", "/b", "" } do
  os.remove(dir .. name)
end
if not ok then
  error(e, 0)
end
return true
