-- Datagrams that go back and forth, in both styles.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if not aio.udp then
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

local function ask(port)
  local b <close> = ensure(aio.udp.connect("127.0.0.1", port))
  ensure(b:send "question")
  if ensure(b:recv()) ~= "QUESTION" then
    error "garbled"
  end
  aio.timeout(1e-5, b.recv, b)
end

local function answer(a)
  local data, host, port = ensure(a:recv(100))
  ensure(a:send(data:upper(), host, port))
end

local function protocols()
  local lost = aio.future()
  local b = ensure(aio.udp.bind("127.0.0.1", 0, { protocol = {
    connection_made = function(p, udp) p.udp = udp end,
    datagram_received = function(p) p.udp:close() end,
    connection_lost = function() lost:resolve() end,
  } }))
  ensure(b:send("x", b:sockname()))
  ensure(aio.timeout(10, lost.await, lost))
end

local failed
aio.run({ on_error = function(err) failed = err end }, function()
  local a <close> = ensure(aio.udp.bind("127.0.0.1"))
  local _, port = a:sockname()
  do
    local g <close> = aio.group()
    g:spawn(aio.timeout, 10, ask, port)
    g:spawn(aio.timeout, 10, answer, a)
  end
  a:close()
  aio.timeout(1, protocols)
  ensure(aio.udp.bind("127.0.0.1")) -- left to the collector
end)
if failed and not tostring(failed):find "memory" then
  error(failed, 0)
end

return true
