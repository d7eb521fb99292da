-- A finalizer runs inside any allocation, also those of spawn, resolve and put,
-- and may call the same again.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

-- Has each allocation collect all garbage, until it is closed.
local eager = setmetatable({}, { __close = function()
  collectgarbage("incremental", 200, 100, 13)
end })

local function eagerly(fn)
  return helper.case(function()
    collectgarbage("incremental", 0, 1000, 20)
    collectgarbage("setpause", 0)
    collectgarbage() -- the new pause counts from here
    local _ <close> = eager
    fn()
  end)
end

-- Has `fn` called by a finalizer, in each of the next `n` collections.
local function finalize(n, fn)
  setmetatable({}, { __gc = function()
    fn()
    if n > 0 then finalize(n - 1, fn) end
  end })
end

describe("a finalizer", function()
  it("spawns while a task is being made", eagerly(function()
    local spawned, ran, over = 0, 0, false
    local function count() ran = ran + 1 end
    local function spawn()
      if over then return end
      spawned = spawned + 1
      aio.spawn(count)
    end
    finalize(40, spawn)
    for _ = 1, 20 do spawn() end
    over = true
    aio.sleep(1)
    assert.equal(spawned, ran)
  end))

  it("settles the future that is being resolved", eagerly(function()
    for _ = 1, 5 do
      local f = aio.future()
      finalize(2, function() f:fail "finalizer" end)
      f:resolve(1, 2)
      assert.not_equal("pending", (f:peek()))
    end
  end))

  it("uses the channel that is being put to", eagerly(function()
    local ch, all = aio.channel(3), true
    local g <close> = aio.group()
    g:service(function()
      for from, i in ch do
        all = all and (from == "task" or from == "finalizer")
          and type(i) == "number" and #ch <= 3
      end
    end)
    finalize(60, function()
      ch:try_put("finalizer", 1)
      ch:try_put("finalizer", 2)
      ch:try_get()
    end)
    for i = 1, 20 do ch:put("task", i) end
    assert.is_true(all)
  end))
end)
