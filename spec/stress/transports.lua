-- What transports and servers do besides: protocols, read-ahead, big writes.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if not aio.tcp then
  return true
end

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

-- Two read ahead: each wants the buffer that the other one has.
local function read_ahead()
  local c <close>, d = ensure(aio.unix.pair())
  local _ <close> = d
  ensure(c:write("1\n2\n"))
  ensure(d:read())
  local a <close>, b = ensure(aio.unix.pair())
  local _ <close> = b
  ensure(a:write("3\n4\n"))
  ensure(b:read())
  if ensure(d:read()) ~= "2" or ensure(b:read()) ~= "4" then
    error "mixed up"
  end
end

local function big_writes()
  local a <close>, b = ensure(aio.unix.pair())
  local _ <close> = b
  local block = "z"
  while #block < 300000 do -- string.rep does not ask a second time
    block = block .. block
  end
  local all <close> = aio.group()
  all:spawn(function()
    ensure(a:write(block))
    ensure(a:write("tail"))
    a:close()
  end)
  if #ensure(b:read "a") ~= #block + 4 then
    error "lost bytes"
  end
end

local function protocols()
  local path = os.tmpname()
  os.remove(path)
  local server <close> = ensure(aio.unix.listen(path, { protocol = function(conn)
    return {
      data_received = function(_, data) conn:write(data) end,
    }
  end }))
  local lost = aio.future()
  local conn = ensure(aio.unix.connect(path, { protocol = {
    data_received = function(p) p.conn:close() end,
    connection_made = function(p, c) p.conn = c end,
    connection_lost = function() lost:resolve() end,
  } }))
  ensure(conn:write "x")
  ensure(aio.timeout(10, lost.await, lost))
  ensure(server:sockname())
end

local failed
aio.run({ on_error = function(err) failed = err end }, function()
  read_ahead()
  big_writes()
  aio.timeout(1, protocols)
end)
if failed and not tostring(failed):find "memory" then
  error(failed, 0)
end

return true
