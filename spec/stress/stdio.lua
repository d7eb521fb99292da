-- Standard streams: a pipe to be read from, and one that is full at first.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local core = require "perilune.core"

local library = package.loadlib("build/host/process.so", "luaopen_process")
if not core.stdio or not library then
  return true
end
local host = library()

-- Descriptors, to be closed at the end.
local held <close> = setmetatable({ false, false, false }, { __close = function(self)
  for i = 1, 3 do
    local fd = self[i]
    self[i] = false
    if fd then host.close(fd) end
  end
end })

-- Put in the place of our own for a moment.
local function standard(n, i)
  held[3] = host.replace(held[i], n)
  local ok, conn = pcall(core.stdio.open, n)
  host.close(host.replace(held[3], n))
  if not ok then
    error(conn, 0)
  end
  host.close(held[3])
  host.close(held[i])
  held[3], held[i] = false, false
  return conn
end

-- The world says no where memory is short; that is an error here.
local function ensure(value, message, ...)
  if value == nil then
    error(message, 0)
  end
  return value, message, ...
end

held[1], held[2] = host.pipe()

if stress_ready then
  stress_ready()
end

aio.run(function()
  local stdout <close> = standard(1, 2)
  local stdin <close> = standard(0, 1)
  local g <close> = aio.group()
  local block = "z"
  while #block < 150000 do
    block = block .. block
  end
  g:spawn(function()
    ensure(stdout:write("line\n"))
    ensure(stdout:write(block))
    ensure(stdout:write("tail"))
    stdout:close()
  end)
  if ensure(stdin:read()) ~= "line" or #ensure(stdin:read "a") ~= #block + 4 then
    error "lost bytes"
  end
end)

return true
