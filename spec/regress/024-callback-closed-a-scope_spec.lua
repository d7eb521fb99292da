-- A callback closed a scope of the main chunk and left one of its own open: then
-- nobody closed that, and it cancelled whatever the main chunk waited for.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local bare, raised, has = helper.bare, helper.raised, helper.has

local function close(x)
  getmetatable(x).__close(x)
end

describe("a callback", function()
  it("cannot close a scope of the main chunk", bare(function()
    do
      local s <close> = aio.scope(100)
      local callback = aio.loop():call_soon(function()
        has("EINVAL", raised(close, s))
        aio.scope(1)
      end)
      local ok, e = callback:join()
      assert.is_false(ok)
      has("was left open", e)
      assert.is_true(aio.time_left() > 99)
      assert.is_true(aio.sleep(2))
    end
    assert.equal(math.huge, aio.time_left())
  end))

  it("cannot close a group of the main chunk", bare(function()
    local g <close> = aio.group()
    aio.loop():call_soon(function() has("EINVAL", raised(close, g)) end):await()
    assert.is_true(g:spawn(aio.sleep, 1):await())
  end))

  it("may close its own, also inside another callback's", bare(function()
    local loop, hook = aio.loop(), nil
    loop:on_error(function()
      local s = aio.scope(1)
      hook = pcall(close, s)
    end)
    loop:call_soon(function()
      local _ <close> = aio.scope(1)
      local _ <close> = aio.scope(2)
    end):await()
    loop:call_soon(error, "heard")
    aio.sleep(1)
    loop:on_error(nil)
    assert.is_true(hook)
  end))
end)
