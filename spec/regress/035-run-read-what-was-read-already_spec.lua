-- A program that was cancelled as it began was read by two tasks, if the one that
-- was cancelled came late: that was an error, in place of the cancellation.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

if not aio.process then
  return
end

describe("a program that is ended as it begins", function()
  it("is over its time, in any order", helper.real(function()
    local _ <close> = setmetatable({}, { __close = function()
      testing.shuffle(nil)
    end })
    for seed = 1, 8 do
      testing.shuffle(seed)
      helper.failed("ETIMEDOUT", aio.process.run { "sleep", 5, timeout = 0 })
    end
  end))
end)
