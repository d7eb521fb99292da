-- Whoever had got at the coroutine of a task that is over could resume it, by the
-- stock functions, when it was that of another task which had not started: they
-- ran that task's function, or were given its arguments.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local stock, values, has = helper.stock, helper.values, helper.has

-- The coroutine that the next task will have.
local function kept_thread()
  local thread
  aio.spawn(function() thread = stock.running() end):await()
  return thread
end

local case = function(fn)
  return helper.case(fn, { on_error = function() end })
end

describe("a task that has not started", function()
  it("is not run by who resumes its coroutine", case(function()
    for n = 0, 3 do
      local thread, ran = kept_thread(), false
      local task = aio.spawn(function() ran = true end)
      local extra = { "x", "y", "z" }
      local ok, e = stock.resume(thread, table.unpack(extra, 1, n))
      assert.is_false(ok)
      has("cannot resume a task from outside", e)
      assert.is_false((task:join()))
      assert.is_false(ran)
    end
  end))

  it("does not give away its arguments", case(function()
    local thread = kept_thread()
    local task = aio.spawn(function() end, print, "secret")
    local results = table.pack(stock.resume(thread))
    assert.equal(2, results.n)
    assert.is_false(results[1])
    assert.is_false((task:join()))
  end))

  it("starts with as many arguments as it was given", case(function()
    for n = 0, 40 do
      local list = {}
      for i = 1, n do list[i] = i end
      list.n = n
      values(list, aio.spawn(function(...) return ... end,
        table.unpack(list, 1, n)):await())
    end
  end))
end)
