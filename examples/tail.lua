--- Tail: shows the end of a file, and what is added to it, as it comes.
--
--   lua5.4 examples/tail.lua [-n lines] file
--
-- Begins with the last `lines` (10). It goes by the name, as tail -F does: a file
-- that is cut off is shown from its beginning, and so is the next one of that name,
-- as logs that are rotated need. Ctrl-C ends it.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

local count = 10
if arg[1] == "-n" then
  count = math.tointeger(tonumber(arg[2]))
  table.remove(arg, 1)
  table.remove(arg, 1)
end
local path = arg[1]
if not path or not count then
  io.stderr:write "usage: tail.lua [-n lines] file\n"
  os.exit(2)
end
local dir, base = path:match "^(.*/)([^/]+)$"
if not dir then
  dir, base = ".", path
end

local file -- what is shown, or nil while there is none

-- The place in the file from which on there are so many lines.
local function last_lines()
  local starts, n, at = { [0] = 0 }, 0, 0
  for line in file:lines "L" do
    n, at = n + 1, at + #line
    starts[n % (count + 1)] = at
  end
  return starts[math.max(0, n - count) % (count + 1)]
end

local function show()
  local piece = file:read_some()
  while piece do
    io.stdout:write(piece)
    piece = file:read_some()
  end
  io.stdout:flush()
end

local function look()
  local stat, own = aio.fs.stat(path), file and file:stat()
  if file then
    if own.size < file:seek() then file:seek "set" end
    show() -- also the rest of one that was replaced
  end
  if stat and not (own and own.ino == stat.ino) then
    if file then file:close() end
    file = aio.fs.open(path)
    if file then show() end
  end
end

local function main()
  -- Watched before it is read, so that nothing is missed in between.
  local watch <close> = assert(aio.fs.watch(dir))
  local message
  file, message = aio.fs.open(path)
  if file then
    file:seek("set", last_lines())
    show()
  else
    io.stderr:write(message, "\n")
  end
  for event in watch do
    if event.name == base or event.kind == "overflow" then look() end
  end
end

local ok, e = pcall(aio.run, main)
if not ok then
  io.stderr:write(tostring(e), "\n")
end
os.exit(ok, true)
