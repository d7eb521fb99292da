-- aio.tree: who is alive, and what each waits for.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local has, case = helper.has, helper.case

-- The node of a task, wherever it is in the tree, and its parent's node.
local function find(task, nodes, parent)
  for _, node in ipairs(nodes or aio.tree()) do
    if node.task == task then
      return node, parent
    end
    local found, above = find(task, node.children, node)
    if found then
      return found, above
    end
  end
end

describe("the tree", function()
  it("has the running task", case(function()
    assert.is_not_nil(find(aio.task()))
  end))

  it("tells what each waits for, and since when", case(function()
    local t = aio.spawn(aio.sleep, 9)
    t:name "sleeper"
    aio.sleep(2)
    local node = find(t)
    assert.equal("sleeper", node.name)
    has("sleep", node.waiting_on)
    assert.is_true(math.abs(aio.now() - node.since - 2) < 0.1)
    t:cancel()
  end))

  it("tells waits apart", case(function()
    local g <close> = aio.group()
    local on = {}
    for name, wait in pairs {
      future = function() aio.future():await() end,
      event = function() aio.event():wait() end,
      channel = function() aio.channel():get() end,
      sleep = function() aio.sleep(9) end,
    } do
      on[name] = g:spawn(wait)
    end
    testing.settle()
    local seen = {}
    for _, task in pairs(on) do
      local text = find(task).waiting_on
      assert.equal("string", type(text))
      assert.is_nil(seen[text])
      seen[text] = true
    end
    g:cancel()
  end))

  it("has children below their parents", case(function()
    local me = aio.task()
    local g <close> = aio.group()
    local inner
    local child = g:spawn(function()
      local h <close> = aio.group()
      inner = h:spawn(aio.sleep, 9)
    end)
    testing.settle()
    local _, parent = find(child)
    assert.equal(me, parent.task)
    _, parent = find(inner)
    assert.equal(child, parent.task)
    g:cancel()
  end))

  it("has the older ones first", case(function()
    local first = aio.spawn(aio.sleep, 1)
    local second = aio.spawn(aio.sleep, 9)
    first:await() -- the next task takes its place
    local third = aio.spawn(aio.sleep, 9)
    local order = {}
    for i, node in ipairs(aio.tree()) do
      order[i] = node.task
    end
    assert.same({ aio.task(), second, third }, order)
    second:cancel()
    third:cancel()
  end))

  it("has background tasks", case(function()
    local t
    aio.spawn(function() t = aio.spawn(aio.sleep, 9) end)
    testing.settle()
    assert.is_not_nil(find(t))
    t:cancel()
  end))

  it("lets go of those that have ended", case(function()
    local t = aio.spawn(function() end)
    assert.is_not_nil(find(t))
    t:await()
    assert.is_nil(find(t))
  end))

  it("can be had in a callback and at top level", helper.bare(function()
    local t = aio.spawn(aio.sleep, 1)
    assert.is_not_nil(find(t))
    assert.is_not_nil(aio.loop():call_soon(find, t):await())
    t:await()
    assert.equal(0, #aio.tree())
  end))

  it("does not keep tasks alive", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local t = aio.spawn(aio.sleep, 1)
      weak[t] = true
      testing.settle()
      find(t)
      t:await()
    end
    aio.yield()
    helper.gone(weak)
  end))
end)
