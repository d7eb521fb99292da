-- error(nil) in the body of a group looked like its end: the children were
-- waited for, and not cancelled.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local bare, case = helper.bare, helper.case

-- Spawns a child that sleeps; its end goes to the log.
local function sleeper(g, log)
  g:spawn(function()
    log((pcall(aio.sleep, 9)))
  end)
  aio.yield()
end

describe("a nil error in the body of a group", function()
  for _, how in ipairs { "case", "bare" } do
    it("cancels the children, in a " .. how, helper[how](function()
      local log = helper.log()
      helper.values({ false, nil, n = 2 }, pcall(function()
        local g <close> = aio.group()
        sleeper(g, log)
        error(nil)
      end))
      assert.equal("false", log:text())
    end))
  end

  it("cancels the children of the function form", case(function()
    local log = helper.log()
    helper.values({ false, nil, n = 2 }, pcall(aio.group, nil, function(g)
      sleeper(g, log)
      error(nil)
    end))
    assert.equal("false", log:text())
  end))

  it("fails the task, through a generator", case(function()
    local log = helper.log()
    local t = aio.spawn(function()
      aio.coroutine.wrap(function()
        local g <close> = aio.group()
        sleeper(g, log)
        error(nil)
      end)()
    end)
    helper.values({ false, nil, n = 2 }, t:join())
    assert.equal("false", log:text())
  end))
end)

describe("leaving a group without an error", function()
  local ways = {
    ["at its end"] = function(log)
      local g <close> = aio.group()
      sleeper(g, log)
    end,
    ["by break"] = function(log)
      for i = 1, 2 do
        local g <close> = aio.group()
        sleeper(g, log)
        if i == 1 then break end
      end
    end,
    ["by return"] = function(log)
      local g <close> = aio.group()
      sleeper(g, log)
      return nil
    end,
    ["by goto"] = function(log)
      do
        local g <close> = aio.group()
        sleeper(g, log)
        goto out
      end
      ::out::
    end,
  }
  for name, leave in pairs(ways) do
    it(name .. " waits for the children", bare(function()
      local log = helper.log()
      leave(log)
      aio.run(leave, log)
      assert.equal("true true", log:text())
    end))
  end
end)
