-- Logical contexts, in any order and wherever somebody is cancelled.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local context, explore = aio.context, helper.explore
local user = context.var("user", "nobody")

-- Notes in `s` if who runs is not the request `name` with this key.
local function look(s, name, key)
  if user:get() ~= name or context.key() ~= key then
    s.mixed = s.mixed + 1
  end
end

-- A request: changes, waits, and has others work for it.
local function request(s, name)
  user:set(name)
  local key = context.key()
  context.on_close(function()
    look(s, name, key)
    s.closed = s.closed + 1
    s.early = s.early + s.running[key]
  end)
  s.opened = s.opened + 1
  s.running[key] = 1
  local _ <close> = setmetatable({}, { __close = function()
    look(s, name, key)
    s.running[key] = s.running[key] - 1
  end })
  local g <close> = aio.group()
  g:spawn(function()
    aio.yield()
    look(s, name, key)
  end)
  user:with(name, function()
    s.gen()
    look(s, name, key)
  end)
  aio.loop():call_soon(look, s, name, key)
  s.bound()
  look(s, name, key)
end

describe("logical contexts", function()
  explore("are not mixed up, and end once, after all in them", {
    cancel = "both",
    scenario = function(s)
      s.mixed, s.opened, s.closed, s.early, s.running = 0, 0, 0, 0, {}
      user:with("shared", function()
        s.bound = context.bind(aio.yield)
        s.gen = aio.coroutine.wrap(function()
          while true do
            user:set "generator"
            coroutine.yield()
          end
        end)
      end)
      aio.group(nil, function(g)
        for i = 1, 3 do
          g:spawn(context.run, request, s, "request " .. i)
        end
      end)
    end,
    invariant = function(s, run)
      assert(run.cancelled or s.opened == 3)
      assert.equal(0, s.mixed)
      assert.equal(0, s.early)
      assert.equal(s.opened, s.closed)
    end,
  })
end)
