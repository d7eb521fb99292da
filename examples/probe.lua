--- Probe: asks several hosts at once whether they answer, as ping does, by UDP.
--
--   lua5.4 examples/probe.lua [-c count] [-i interval] [-t timeout] host[:port]...
--
-- Each host is sent `count` (3) numbered datagrams, `interval` (0.2) seconds apart,
-- and has `timeout` (1) seconds to send one back as it is: an echo service does, at
-- port 7 if none is given, or `socat UDP-LISTEN:7777,fork EXEC:cat`. Exit status: 0 if
-- all have answered, 1 if one has not, 2 if the arguments are wrong.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

local opts, hosts = { c = 3, i = 0.2, t = 1 }, {}
local at = 1
while arg[at] do
  local name = arg[at]:match "^%-([cit])$"
  if name then
    at = at + 1
    opts[name] = tonumber(arg[at])
  end
  hosts[#hosts + 1] = not name and arg[at] or nil
  at = at + 1
end

if #hosts == 0 or not (opts.c and opts.i and opts.t) then
  io.stderr:write "usage: probe.lua [-c count] [-i interval] [-t timeout] host[:port]...\n"
  os.exit(2)
end

-- Answers to this datagram; those to earlier ones come too late to count. An error
-- that the system reports of an earlier datagram is an answer too, of a kind.
local function answer(socket, sent)
  repeat
    local data, message, code = socket:recv()
    if not data then return nil, message, code end
  until data == sent
  aio.yield() -- the clock stands still while a task runs
  return aio.now()
end

local function probe_once(socket, name, n)
  local text = ("probe %d of %s"):format(n, name)
  local begun = aio.now()
  local ended, _, code = socket:send(text)
  if ended then
    ended, _, code = aio.timeout(opts.t, answer, socket, text)
  end
  local seconds = ended and ended - begun
  print(("%s: %d: %s"):format(name, n, seconds and ("%.3f ms"):format(seconds * 1e3) or code))
  return seconds
end

-- One host: the time of each answer.
local function probe(name)
  local host, port = name:match "^(.*):(%d+)$"
  local times = {}
  local socket <close>, message = aio.udp.connect(host or name, tonumber(port or 7))
  if not socket then
    print(("%s: %s"):format(name, message))
    return times
  end
  local n = 0
  for _ in aio.every(opts.i) do -- whose own numbers leave out the ticks that were missed
    n = n + 1
    times[#times + 1] = probe_once(socket, name, n)
    if n >= opts.c then break end
  end
  return times
end

local function summary(name, times)
  table.sort(times)
  local range = #times > 0 and (", %.3f to %.3f ms"):format(times[1] * 1e3, times[#times] * 1e3)
  print(("%s: %d of %d answered%s"):format(name, #times, opts.c, range or ""))
  return #times > 0
end

local function main()
  local all = true
  for i, times in ipairs(aio.map(hosts, probe)) do
    all = summary(hosts[i], times) and all
  end
  return all
end

io.stdout:setvbuf "line"
local ok, result = pcall(aio.run, main)
if not ok then
  io.stderr:write(tostring(result), "\n")
end
os.exit(ok and result, true)
