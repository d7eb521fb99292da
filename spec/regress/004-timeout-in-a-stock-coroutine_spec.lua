-- A stock coroutine may yield with a timeout open and come back when another
-- one has been closed around it.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local bare, raised, has = helper.bare, helper.raised, helper.has
local stock = helper.stock

local function yielding()
  return stock.wrap(function()
    return aio.timeout(5, function()
      stock.yield "first"
      return "last"
    end)
  end)
end

describe("a timeout in a stock coroutine", function()
  it("of the main chunk may end out of order", bare(function()
    local a, b = yielding(), yielding()
    a()
    b()
    has("was left open", raised(a))
    aio.timeout(1, function()
      aio.timeout(2, function() assert.equal("last", b()) end)
      assert.equal(1, aio.time_left() // 0.9)
    end)
    assert.equal(math.huge, aio.time_left())
  end))

  it("so may a scope that nobody holds", bare(function()
    local function scoped()
      return stock.wrap(function()
        return aio.scope(5, function()
          stock.yield "first"
          return "last"
        end)
      end)
    end
    local a, b = scoped(), scoped()
    a()
    b()
    raised(a)
    collectgarbage()
    collectgarbage()
    assert.equal("last", b())
  end))

  it("is refused in a task", helper.case(function()
    has("EPERM", raised(yielding()))
  end, { patch = false }))
end)
