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

local function crc32(data)
  local c = 0xFFFFFFFF
  for at = 1, #data, 64 do
    for _, byte in ipairs { data:byte(at, at + 63) } do
      c = TABLE[(c ~ byte) & 0xFF] ~ (c >> 8)
    end
  end
  return c ~ 0xFFFFFFFF
end

-- Failures of single files or directories are counted; the others go on.
local sums, names, failures = {}, {}, 0

local function failed(message)
  io.stderr:write(message, "\n")
  failures = failures + 1
end

local function walk(dir, paths)
  for entry in aio.fs.scandir(dir) do
    local path = dir .. "/" .. entry.name
    if entry.type == "directory" then
      local ok, e = aio.pcall(walk, path, paths)
      if not ok then failed(tostring(e)) end
    elseif entry.type == "file" then
      paths:put(path)
    end
  end
end

local function hash(paths)
  for path in paths do
    local data, message = aio.fs.read_file(path)
    if data then
      names[#names + 1], sums[path] = path, crc32(data)
    else
      failed(message)
    end
  end
end

local function main()
  local paths = aio.channel(at_once)
  aio.group(nil, function(g)
    for _ = 1, at_once do g:spawn(hash, paths) end
    walk(root, paths)
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
