-- The main chunk is given values by way of the stash, where those of its last
-- put were still lying.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local bare, values = helper.bare, helper.values

describe("get in the main chunk", function()
  it("gives nil if the channel is closed meanwhile", bare(function()
    local ch = aio.channel()
    local t = aio.spawn(function() return ch:get() end)
    ch:put("old", "values")
    t:await()
    aio.spawn(function() ch:close() end)
    values({ nil, n = 1 }, ch:get())
  end))
end)
