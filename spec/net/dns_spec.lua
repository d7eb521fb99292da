-- Look-ups of names: core.dns.getaddrinfo.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local core = require "perilune.core"
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
