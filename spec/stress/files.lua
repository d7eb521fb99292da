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

-- The same with open files.
local function pieces()
  local file <close> = ensure(fs.open(dir .. "/c", "w+"))
  for _ = 1, 4 do
    ensure(file:write(old, 12, "\n", new, "\n"))
  end
  ensure(file:seek("set", 1))
  local n = 1
  for line in file:lines() do
    n = n + #line + 1
  end
  if n ~= ensure(file:stat()).size or ensure(file:seek()) ~= n then
    error "not what was written"
  end
  ensure(file:truncate(10000))
  ensure(file:seek "set")
  local task = aio.spawn(file.sync, file)
  aio.yield()
  task:cancel()
  task:join()
  if #ensure(file:read_until("\n", { keep = true })) ~= 5003 then
    error "something was lost"
  end
  ensure(ensure(file:write "x"):flush())
  ensure(file:close())
  local other <close> = ensure(fs.open "/proc/self/stat")
  task = aio.spawn(other.read, other, "a")
  aio.yield()
  task:cancel()
  task:join()
  if not ensure(other:read "l"):find "^%d+ " then
    error "something was lost"
  end
end

local ok, e = pcall(aio.run, function()
  work()
  pieces()
end)
for _, name in ipairs { "/a", "/b", "/c", "" } do
  os.remove(dir .. name)
end
if not ok then
  error(e, 0)
end
return true
