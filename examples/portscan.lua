--- Port scanner: tries many ports of a host, at most so many at a time.
--
--   lua5.4 examples/portscan.lua host first [last [at_once]]
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

local PATIENCE = 1 -- seconds until a port that says nothing counts as closed

local host = arg[1]
local first = tonumber(arg[2])
local last = tonumber(arg[3]) or first
local at_once = tonumber(arg[4]) or 100

if not host or not first then
  io.stderr:write "usage: portscan.lua host first [last [at_once]]\n"
  os.exit(2)
end

local function is_open(address, port)
  local conn <close> = aio.timeout(PATIENCE, aio.tcp.connect, address, port)
  return conn ~= nil
end

local function main()
  local address = assert(aio.dns.resolve(host))[1].address
  local ports = {}
  for port = first, last do
    ports[#ports + 1] = port
  end
  local found = 0
  local results = aio.map(ports, function(port)
    return is_open(address, port)
  end, at_once)
  for i, open in ipairs(results) do
    if open then
      print(("%d open"):format(ports[i]))
      found = found + 1
    end
  end
  print(("%d of %d ports of %s are open"):format(found, #ports, host))
end

aio.run(main)
