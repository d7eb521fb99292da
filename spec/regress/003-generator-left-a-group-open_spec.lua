-- A generator that yields a value with a group open: its children were not
-- waited for, and the task was left in the group's list of waiters.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local case, has = helper.case, helper.has
local co = aio.coroutine

local function leaving_open(log)
  return co.create(function()
    local g = aio.group()
    g:spawn(function()
      pcall(aio.sleep, 10)
      aio.shield(nil, aio.sleep, 1)
      log "child"
    end)
    coroutine.yield()
  end)
end

describe("a group left open in a generator", function()
  it("is waited for", case(function()
    local log = helper.log()
    local gen = leaving_open(log)
    local ok, e = co.resume(gen)
    assert.is_false(ok)
    has("was left open", e)
    assert.equal("child", log:text())
    aio.sleep(1)
    assert.equal("dead", co.status(gen))
  end))

  it("ends by itself where one cannot wait", case(function()
    local log = helper.log()
    local ok, e
    string.gsub("x", ".", function() ok, e = co.resume(leaving_open(log)) end)
    assert.is_false(ok)
    has("was left open", e)
    aio.sleep(20)
    aio.yield()
  end))

  it("as in a timeout where one cannot wait", case(function()
    string.gsub("x", ".", function()
      local e = helper.raised(aio.timeout, 5, function()
        aio.group():spawn(aio.sleep, 10)
      end)
      has("was left open", e)
    end)
    aio.sleep(20)
  end))
end)
