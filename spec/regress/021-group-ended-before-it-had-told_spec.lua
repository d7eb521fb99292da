-- A failure of a group's last child came to `on_failure` when the group was
-- gone, or not at all, where the body ran first: the order in which they become
-- ready is no promise. And `group:wait` returned as soon as the last service had
-- ended, although children ran.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

describe("a group", function()
  it("tells of all failures before it ends, in any order", helper.case(function()
    for seed = 1, 20 do
      testing.shuffle(seed)
      local told = 0
      aio.group({ on_failure = function() told = told + 1 end }, function(g)
        g:spawn(error, "one")
        g:spawn(error, "two")
      end)
      assert.equal(2, told)
    end
    testing.shuffle(nil)
  end))

  it("tells of a service's failure as well", helper.case(function()
    for seed = 1, 20 do
      testing.shuffle(seed)
      local told
      aio.group({ on_failure = function(_, e) told = e end }, function(g)
        g:service(function()
          local _ <close> = setmetatable({}, { __close = function() error("late", 0) end })
          aio.sleep(10)
        end)
        aio.yield()
        aio.yield()
      end)
      assert.equal("late", told)
    end
    testing.shuffle(nil)
  end))

  it("waits for its children, though a service ends", helper.case(function()
    aio.group(nil, function(g)
      local child = g:spawn(aio.sleep, 5)
      g:service(aio.sleep, 1)
      g:wait()
      assert.equal("ok", (child:peek()))
    end)
  end))

  it("has told of all failures when group:wait returns", helper.case(function()
    local told = helper.log()
    aio.group({ on_failure = function(_, e) told(e) end }, function(g)
      g:spawn(error, "one", 0)
      g:wait()
      assert.equal("one", told:text())
    end)
  end))
end)
