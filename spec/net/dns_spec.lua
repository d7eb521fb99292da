-- Look-ups of names and addresses, also by name servers that do not answer.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local core = require "perilune.core"
local ends = require "spec.net.ends"
local helper = require "spec.helper"

local failed, has, raised, real = helper.failed, helper.has, helper.raised,
  helper.real
local getaddrinfo = core.dns.getaddrinfo

local function requests()
  return aio.loop():stats().requests or 0
end

describe("getaddrinfo", function()
  it("answers for an address at once", real(function()
    local other = false
    aio.spawn(function() other = true end)
    assert.same({ { address = "127.0.0.1", family = "inet" } },
      getaddrinfo "127.0.0.1")
    assert.same({ { address = "::1", family = "inet6" } }, getaddrinfo "::1")
    assert.is_false(other)
  end))

  it("shortens an IPv6 address", real(function()
    assert.equal("2001:db8::1",
      getaddrinfo("2001:0db8:0:0:0:0:0:1")[1].address)
  end))

  it("fails for an address of the other family", real(function()
    failed("EAI_ADDRFAMILY", getaddrinfo("127.0.0.1", "inet6"))
    failed("EAI_ADDRFAMILY", getaddrinfo("::1", "inet"))
  end))

  it("finds localhost, without duplicates", real(function()
    local seen = {}
    local list = assert(getaddrinfo "localhost")
    assert.is_true(#list > 0)
    for _, entry in ipairs(list) do
      assert.is_nil(seen[entry.address])
      seen[entry.address] = entry.family
    end
    assert.is_true(seen["127.0.0.1"] == "inet" or seen["::1"] == "inet6")
  end))

  it("finds the family that is asked for", real(function()
    for _, entry in ipairs(assert(getaddrinfo("localhost", "inet"))) do
      assert.equal("inet", entry.family)
      has(".", entry.address)
    end
  end))

  it("says which name it did not find", real(function()
    local list, message, code = getaddrinfo "no-such-host.invalid"
    assert.is_nil(list)
    has("EAI_", code)
    has("no-such-host.invalid", message)
    assert.equal(code, message:match "^[%w_]+")
  end))

  it("fails for what is no name", real(function()
    for _, host in ipairs { "", ("x"):rep(300), "a b", "\xff\xfe" } do
      local list, message, code = getaddrinfo(host)
      assert.is_nil(list)
      assert.equal(code, message:match "^[%w_]+")
    end
  end))

  it("refuses wrong arguments", function()
    has("bad argument #1", raised(getaddrinfo))
    has("bad argument #1", raised(getaddrinfo, {}))
    has("bad argument #1", raised(getaddrinfo, "local\0host"))
    has("bad argument #2", raised(getaddrinfo, "localhost", "unix"))
  end)

  it("works at top level", helper.bare(function()
    assert.is_true(#assert(getaddrinfo "localhost") > 0)
  end))

  it("many at once", real(function()
    aio.group(nil, function(g)
      for _ = 1, 50 do
        g:spawn(function() assert(getaddrinfo "localhost") end)
      end
    end)
  end))

  it("refuses to wait in a callback", real(function()
    local e
    aio.loop():call_soon(function() e = raised(getaddrinfo, "localhost") end)
      :await()
    has("callback", e)
  end))

  it("is not begun where the task is cancelled", real(function()
    local before = requests()
    local _, _, code = aio.timeout(0, getaddrinfo, "localhost")
    assert.equal("ETIMEDOUT", code)
    assert.equal(before, requests())
  end))

  it("a cancelled one goes on alone, and is forgotten", real(function()
    local before = requests()
    local tasks = {}
    for i = 1, 10 do
      tasks[i] = aio.spawn(getaddrinfo, "localhost")
    end
    aio.yield()
    for i = 1, 10 do
      tasks[i]:cancel()
    end
    for i = 1, 10 do
      tasks[i]:join()
      assert.equal("cancelled", (tasks[i]:peek()))
    end
    assert.equal(before, requests())
  end))
end)

describe("dns.resolve", function()
  it("answers for an address, and a port, at once", real(function()
    local other = false
    aio.spawn(function() other = true end)
    assert.same({ { address = "127.0.0.1", family = "inet" } },
      aio.dns.resolve "127.0.0.1")
    assert.same({ { address = "::1", family = "inet6", port = 53 },
      canonical = "::1" }, aio.dns.resolve("::1", { service = 53,
      canonical = true }))
    assert.is_false(other)
  end))

  it("finds the port of a service", real(function()
    local list = assert(aio.dns.resolve("localhost", { service = "http" }))
    assert.equal(80, list[1].port)
    list = assert(aio.dns.resolve("127.0.0.1", { service = "https" }))
    assert.same({ { address = "127.0.0.1", family = "inet", port = 443 } },
      list)
    failed("EAI_SERVICE", aio.dns.resolve("localhost", { service = "nosuch" }))
    has("look-up of localhost, service nosuch)",
      select(2, aio.dns.resolve("localhost", { service = "nosuch" })))
  end))

  it("finds the proper name", real(function()
    local list = assert(aio.dns.resolve("localhost", { canonical = true,
      family = "inet" }))
    assert.equal("string", type(list.canonical))
    assert.equal("127.0.0.1", list[1].address)
    assert.is_nil(assert(aio.dns.resolve "localhost").canonical)
  end))

  it("keeps the result when cancelled after it came", real(function()
    local task = ends.parked(aio.dns.resolve, "localhost")
    ends.woken(task):cancel()
    assert.is_true(#task:await() > 0)
  end))

  it("refuses wrong arguments", function()
    has("bad argument #1 to 'resolve'", raised(aio.dns.resolve))
    has("bad argument #1 to 'resolve'", raised(aio.dns.resolve, "a\0b"))
    has("unknown option 'port'", raised(aio.dns.resolve, "x", { port = 1 }))
    has("option 'family' must be", raised(aio.dns.resolve, "x",
      { family = "unix" }))
    has("option 'service' must be", raised(aio.dns.resolve, "x",
      { service = 70000 }))
  end)

  it("outlives the Lua state that has asked", function()
    helper.program [[
      local aio = require "perilune"
      for i = 1, 50 do aio.spawn(aio.dns.resolve, "localhost") end
      aio.sleep(0)
      os.exit(0, true)]]
  end)
end)

describe("dns.reverse", function()
  it("finds the name of an address", real(function()
    local name = assert(aio.dns.reverse "127.0.0.1")
    assert.is_true(#name > 0)
    assert.is_nil(name:find "^[%d.]+$")
  end))

  it("says which one has none", real(function()
    local name, message, code = aio.dns.reverse "192.0.2.1"
    assert.is_nil(name)
    has("EAI_", code)
    has("192.0.2.1", message)
  end))

  it("that is cancelled is forgotten", real(function()
    local before = requests()
    local task = ends.parked(aio.dns.reverse, "192.0.2.1")
    task:cancel()
    task:join()
    assert.equal("cancelled", (task:peek()))
    assert.equal(before, requests())
    failed("ETIMEDOUT", aio.timeout(0, aio.dns.reverse, "192.0.2.1"))
  end))

  it("refuses what is no address", function()
    has("numeric address expected", raised(aio.dns.reverse, "localhost"))
    has("bad argument #1 to 'reverse'", raised(aio.dns.reverse, 1))
  end)
end)

describe("a name server that does not answer", function()
  local RESOLV = "echo nameserver 127.0.0.1 >/tmp/resolv.$$ && "
    .. "mount --bind /tmp/resolv.$$ /etc/resolv.conf && rm /tmp/resolv.$$"

  local function cut_off(code)
    local began = aio.now()
    local out, why = ends.namespace(RESOLV, [[
      aio.run(function()
        local server <close> = assert(aio.udp.bind("127.0.0.1", 53))
        local tasks = {}
        local function ask(n)
          for i = 1, n do
            tasks[i] = aio.spawn(aio.dns.resolve, i .. ".example")
          end
          aio.yield()
          assert(server:recv())
        end
        local function requests() return aio.loop():stats().requests end
        ]] .. code .. [[
      end)
      print "end"]])
    if not out then
      pending(why)
    end
    return out, aio.now() - began
  end

  it("holds up nobody who gives up, nor the end of the program", function()
    local out, seconds = cut_off [[
      ask(40)
      for _, task in ipairs(tasks) do task:cancel() end
      for _, task in ipairs(tasks) do task:join() end
      print(requests())
      print(aio.dns.resolve("127.0.0.1")[1].address)
    ]]
    if out then
      assert.equal("0\n127.0.0.1\nend\n", out)
      assert.is_true(seconds < 4 * helper.slow)
    end
  end)

  it("holds up no other look-up, as long as there is a thread", function()
    local out = cut_off [[
      ask(15)
      print(aio.dns.resolve("localhost")[1] ~= nil)
      ask(1)
      print(select(3, aio.timeout(0.05, aio.dns.resolve, "localhost")))
    ]]
    if out then
      assert.equal("true\nETIMEDOUT\nend\n", out)
    end
  end)
end)
