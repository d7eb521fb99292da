-- Without the patch of `coroutine`, a task that had yielded, and was resumed by
-- another one, ended inside that: the outcome was that of the wrong task.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local values = helper.values
local NO_PATCH = { patch = false }

-- Calls `fn` in a task that yields by Lua's own means, which another one
-- resumes. Returns both tasks.
local function resumed_by_another(fn)
  local co
  local first = aio.spawn(function()
    co = coroutine.running()
    return fn(coroutine.yield())
  end)
  local second = aio.spawn(function()
    values({ false, "cannot resume a task from outside the loop" },
      select(2, coroutine.resume(co, "stray")))
    aio.yield()
    return "second"
  end)
  return first, second
end

describe("a task that another one resumed", function()
  it("ends by itself", function()
    testing.run(function()
      local first, second = resumed_by_another(function(v) return v, nil, 3 end)
      values({ "stray", nil, 3 }, first:await())
      assert.equal("second", second:await())
    end, NO_PATCH)
  end)

  it("fails by itself", function()
    testing.run(function()
      local first, second = resumed_by_another(function() error("mine", 0) end)
      values({ false, "mine" }, first:join())
      assert.equal("second", second:await())
    end, NO_PATCH)
  end)

  it("can be resumed again and again", function()
    testing.run(function()
      local co
      local first = aio.spawn(function()
        co = coroutine.running()
        coroutine.yield()
        return "first"
      end)
      local second = aio.spawn(function()
        for i = 1, 3 do
          values({ true, false, "cannot resume a task from outside the loop" },
            coroutine.resume(co, i, i))
        end
      end)
      second:await()
      values({ "first" }, first:await())
    end, NO_PATCH)
  end)
end)
