-- The handlers of a task that is ended by force drove the loop, in the context
-- of the main chunk; those of its generators were not called.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local bare, has = helper.bare, helper.has

local function closing(fn)
  return setmetatable({}, { __close = fn })
end

local function stubborn()
  while true do
    pcall(aio.shield, math.huge, aio.sleep, 100)
  end
end

local function run(fn)
  helper.written(function()
    pcall(aio.run, { grace = 1 }, function()
      aio.spawn(fn)
      aio.sleep(0.1)
    end)
  end)
end

describe("a task that is ended by force", function()
  it("cannot wait in its handlers", bare(function()
    local ok, e
    run(function()
      local _ <close> = closing(function() ok, e = pcall(aio.sleep, 10) end)
      stubborn()
    end)
    assert.is_false(ok)
    has("EPERM", e)
  end))

  it("puts back variables in its own context", bare(function()
    local user = aio.context.var("user", "default")
    local inside
    local before = user:let "main"
    run(function()
      local _ <close> = closing(function() inside = user:get() end)
      local _ <close> = user:let "task"
      stubborn()
    end)
    assert.equal("main", inside)
    assert.equal("main", user:get())
    getmetatable(before).__close(before)
  end))

  it("has its generators closed", bare(function()
    local closed = false
    run(function()
      aio.coroutine.wrap(function()
        local _ <close> = closing(function() closed = true end)
        stubborn()
      end)()
    end)
    assert.is_true(closed)
  end))

  it("does not wait for a group in a scope", bare(function()
    run(function()
      local _ <close> = aio.scope(1000)
      aio.group():spawn(stubborn)
      stubborn()
    end)
    assert.equal(0, aio.loop():stats().tasks)
  end))
end)
