-- A generator that was resumed below a function of C, as a comparator of
-- table.sort does, took a wait for one that the task could be suspended in: the
-- task ran on while it was woken, and the program crashed.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local function refused(name, call)
  local ok, e = pcall(call, function()
    local generator = aio.coroutine.wrap(function()
      aio.sleep(0)
      coroutine.yield "waited"
    end)
    return generator() == "waited"
  end)
  assert.is_false(ok)
  assert.equal("EPERM", e.code)
  assert.is_truthy(tostring(e):find(name, 1, true))
end

describe("a wait in a generator below a function of C", function()
  it("is refused, and names the function", helper.real(function()
    refused("table.sort", function(try) table.sort({ 1, 2, 3 }, try) end)
    refused("string.gsub", function(try) string.gsub("abc", ".", try) end)
    aio.sleep(0)
  end))

  it("is refused in generators inside it", helper.real(function()
    refused("table.sort", function(try)
      table.sort({ 1, 2, 3 }, function()
        return aio.coroutine.wrap(try)()
      end)
    end)
  end))

  it("leaves a generator that goes on elsewhere", helper.real(function()
    local generator = aio.coroutine.wrap(function()
      coroutine.yield(true)
      aio.sleep(0)
      return "waited"
    end)
    table.sort({ 1, 2 }, function() return not generator() end)
    assert.equal("waited", generator())
  end))
end)
