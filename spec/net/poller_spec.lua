-- The poller: waiting for time and for the outside, in real time.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local Child = require "spec.child"
local helper = require "spec.helper"

local real = helper.real

-- True if this process ignores SIGPIPE; nil where the system does not say.
local is_muted = [[
local function is_muted()
  local file = io.open "/proc/self/status"
  local mask = file and file:read "a":match "SigIgn:%s*(%x+)"
  return mask and tonumber(mask:sub(-8), 16) & 1 << 12 ~= 0
end
]]

describe("the poller", function()
  it("does not wake a sleeper early", real(function()
    for _, seconds in ipairs { 0.0001, 0.001, 0.0025, 0.02 } do
      local before = aio.loop():time()
      aio.sleep(seconds)
      assert.is_true(aio.loop():time() - before >= seconds)
    end
  end))

  it("is woken earlier by a timer that is armed later", real(function()
    local log = helper.log()
    aio.group(nil, function(g)
      for _, ms in ipairs { 40, 10, 20, 0.5, 30 } do
        g:spawn(function()
          aio.sleep(ms / 1000)
          log(ms)
        end)
      end
    end)
    assert.equal("0.5 10 20 30 40", log:text())
  end))

  it("waits for the second timer after the first", real(function()
    local before = aio.loop():time()
    aio.sleep(0.005)
    aio.sleep(0.02)
    assert.is_true(aio.loop():time() - before >= 0.025)
  end))

  it("does not block while something is ready", real(function()
    local sleeper = aio.spawn(aio.sleep, 1000)
    local turns = 0
    for _ = 1, 1000 do
      aio.yield()
      turns = turns + 1
    end
    sleeper:cancel()
    assert.equal(1000, turns)
  end))

  it("bears any length of time", real(function()
    for _, seconds in ipairs { 1e6, 1e9, 1e12, 1e300, math.huge } do
      local _, _, code = aio.timeout(0.001, aio.sleep, seconds)
      assert.equal("ETIMEDOUT", code)
    end
  end))

  it("goes on waiting after it was stopped and continued", function()
    local child <close> = Child.code [[
      local aio = require "perilune"
      io.stdout:setvbuf "no"
      local before = aio.now()
      print "ready"
      aio.sleep(0.2)
      print(aio.now() - before >= 0.2)]]
    assert.equal("ready", child:line())
    for _ = 1, 3 do
      child:signal "STOP"
      child:signal "CONT"
    end
    assert.equal("true", child:line())
    assert.equal(0, select(2, child:finish()))
  end)
end)

describe("SIGPIPE", function()
  it("is ignored while the loop is driven, and only then", function()
    local out = helper.program(is_muted .. [[
      local aio = require "perilune"
      print(is_muted())
      aio.run(function()
        print(is_muted())
        aio.sleep(0.001)
        print(is_muted())
      end)
      print(is_muted())
      aio.spawn(function() print(is_muted()) end):await()
      print(is_muted())]])
    assert.equal("false true true false true false",
      (out:gsub("\n", " "):gsub(" $", "")))
  end)

  it("stays ignored where it was before", function()
    local child <close> = Child.code(is_muted .. [[
      require "perilune".run(function() print(is_muted()) end)
      print(is_muted())]], [[trap "" PIPE]])
    assert.equal("true\ntrue\n", (child:finish()))
  end)
end)

describe("closing the state", function()
  it("does not wait for a timer", function()
    helper.program [[
      local aio = require "perilune"
      aio.spawn(aio.sleep, 1000)
      aio.yield()]]
  end)

  it("does not wait for a job in the pool", function()
    helper.program [[
      local aio = require "perilune"
      local dns = require "perilune.core".dns
      for i = 1, 8 do
        aio.spawn(dns.getaddrinfo, "host" .. i .. ".invalid")
      end
      aio.yield()]]
  end)
end)
