--- Hasher: the CRC-32 of each file below a directory, many at once.
--
--   lua5.4 examples/hash.lua [-j at_once] directory
--
-- One task walks the tree, `at_once` (16) others read files and reckon: the channel
-- between them is what bounds how much is in memory, however large the tree is. Links
-- are not followed. Shows the sums in the order of the names, as CRC-32 of zip and
-- gzip, and what could not be read on stderr. Exit status: 0 if all was read, 1 if
-- not, 2 if the arguments are wrong.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

local at_once = 16
if arg[1] == "-j" then
  at_once = math.tointeger(tonumber(arg[2]))
  table.remove(arg, 1)
  table.remove(arg, 1)
end
local root = arg[1]
if not root or not at_once or at_once < 1 then
  io.stderr:write "usage: hash.lua [-j at_once] directory\n"
  os.exit(2)
end

local TABLE = {}
for i = 0, 255 do
  local c = i
  for _ = 1, 8 do
    c = c & 1 == 1 and 0xEDB88320 ~ (c >> 1) or c >> 1
  end
  TABLE[i] = c
end

-- The sum of what came before and of `data`.
local function crc32(data, sum)
  local c = ~sum & 0xFFFFFFFF
  for at = 1, #data, 64 do
    for _, byte in ipairs { data:byte(at, at + 63) } do
      c = TABLE[(c ~ byte) & 0xFF] ~ (c >> 8)
    end
  end
  return ~c & 0xFFFFFFFF
end

local function sum_of(path)
  local file <close> = assert(aio.fs.open(path))
  local sum = 0
  local data, message = file:read_some()
  while data do
    sum = crc32(data, sum)
    aio.yield() -- reckoning keeps everybody else from running
    data, message = file:read_some()
  end
  assert(not message, message)
  return sum
end

-- What fails is counted; the others go on.
local sums, names, failures = {}, {}, 0

local function try(fn, ...)
  local ok, result = aio.pcall(fn, ...)
  if ok then return result end
  io.stderr:write(tostring(result), "\n")
  failures = failures + 1
  return false
end

-- A listing goes on after a directory that cannot be read.
local function walk(paths)
  local listing <close> = aio.fs.scandir(root, { recursive = true })
  repeat
    local entry = try(listing)
    if entry and entry.type == "file" then paths:put(entry.path) end
  until entry == nil
end

local function hash(paths)
  for path in paths do
    sums[path] = try(sum_of, path) or nil
    names[#names + 1] = sums[path] and path
  end
end

local function main()
  local paths = aio.channel(at_once)
  aio.group(nil, function(g)
    for _ = 1, at_once do g:spawn(hash, paths) end
    walk(paths)
    paths:close()
  end)
  table.sort(names)
  for _, path in ipairs(names) do
    print(("%08x  %s"):format(sums[path], path))
  end
end

local ok, e = pcall(aio.run, main)
if not ok then
  io.stderr:write(tostring(e), "\n")
end
os.exit(ok and failures == 0, true)
