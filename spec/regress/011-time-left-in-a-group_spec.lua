-- A group had the deadline of the first timer.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

describe("time_left in a group", function()
  it("is without limit", helper.case(function()
    aio.loop():call_later(1, print):cancel()
    local late = aio.loop():call_later(7, print)
    local g <close> = aio.group()
    helper.has("inf", aio.timeout(nil, aio.time_left))
    assert.is_true(g:wait())
    late:cancel()
  end, { deadline = false }))
end)
