-- Sockets, signals, names and descriptors, wherever somebody is cancelled: what
-- came from outside is had once, by somebody, in order.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

if not aio.tcp then
  return
end

local explore = helper.explore
local HERE = "127.0.0.1"

-- What there is to be taken by `take`, until there are `n`, whoever is cancelled.
local function collect(list, n, take)
  aio.shield(math.huge, function()
    while #list < n do
      list[#list + 1] = take()
    end
  end)
end

describe("datagrams", function()
  explore("are had once and in order", {
    cancel = "both",
    outside = true,
    scenario = function(s)
      local a <close> = assert(aio.udp.bind(HERE))
      local b <close> = assert(aio.udp.connect(HERE, (select(2, a:sockname()))))
      s.got, s.sent = {}, {}
      pcall(aio.group, nil, function(g)
        g:spawn(function()
          for i = 1, 3 do
            b:send(tostring(i))
            s.sent[#s.sent + 1] = tostring(i)
            aio.yield()
          end
        end)
        g:service(function()
          while true do
            s.got[#s.got + 1] = a:recv()
          end
        end)
      end)
      collect(s.got, #s.sent, function() return (a:recv()) end)
    end,
    invariant = function(s)
      assert.same(s.sent or {}, s.got or {})
    end,
  })
end)

describe("connections", function()
  explore("are served each once, and closed with their server", {
    cancel = "both",
    outside = true,
    scenario = function(s)
      local server = assert(aio.tcp.listen(HERE, 0))
      local _ <close> = server
      local _, port = server:sockname()
      s.answers, s.served = {}, helper.presence()
      aio.group(nil, function(g)
        g:service(function()
          local _ <close> = server
          server:serve(function(conn)
            local _ <close> = s.served()
            local line = conn:read()
            conn:write(line or "", "!\n")
          end)
        end)
        for i = 1, 2 do
          g:spawn(function()
            local conn <close> = aio.tcp.connect(HERE, port)
            if conn and conn:write("line ", i, "\n") then
              s.answers[i] = conn:read()
            end
          end)
        end
      end)
    end,
    invariant = function(s, r)
      for i = 1, 2 do
        local answer = s.answers and s.answers[i]
        assert(answer == ("line %d!"):format(i) or r.cancelled and not answer)
      end
      assert(not s.served or s.served.now == 0)
    end,
  })
end)

describe("signals", function()
  local host = assert(package.loadlib("build/host/process.so", "luaopen_process"))()

  explore("reach each who has subscribed", {
    cancel = "both",
    outside = true,
    scenario = function(s)
      local one <close> = aio.signals "USR1"
      local two <close> = aio.signals("USR1", "USR2")
      s.got = {}
      aio.group(nil, function(g)
        for i, signals in ipairs { one, two } do
          g:spawn(function() s.got[i] = signals() end)
        end
        aio.yield()
        host.raise(host.USR1)
      end)
    end,
    invariant = function(s, r)
      for i = 1, 2 do
        local got = s.got and s.got[i]
        assert(got == "USR1" or r.cancelled and not got)
      end
    end,
  })
end)

describe("names", function()
  explore("are found for all who ask", {
    cancel = "both",
    outside = true,
    scenario = function(s)
      s.found = {}
      aio.group(nil, function(g)
        for i, host in ipairs { "localhost", HERE, "localhost" } do
          g:spawn(function() s.found[i] = assert(aio.dns.resolve(host)) end)
        end
      end)
    end,
    invariant = function(s, r)
      for i = 1, 3 do
        assert(s.found and s.found[i] or r.cancelled)
      end
    end,
  })
end)

describe("descriptors", function()
  explore("are waited for in both directions", {
    cancel = "both",
    outside = true,
    scenario = function(s)
      local file <close> = assert(io.popen("exec 2>/dev/null; echo x", "r"))
      s.ready = {}
      aio.group(nil, function(g)
        for i = 1, 2 do
          g:spawn(function() s.ready[i] = aio.poll(file, "r") end)
        end
      end)
    end,
    invariant = function(s, r)
      for i = 1, 2 do
        local ready = s.ready and s.ready[i]
        assert(ready == "r" or r.cancelled and not ready, ready)
      end
    end,
  })
end)
