-- A directory that could not be opened was tried again at each asking: a loop that
-- goes on after failures, as recursive listings let one, never ended.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local place = require "spec.fs.place"

if not aio.fs then
  return
end

describe("a listing of what is not there", function()
  for name, opts in pairs { plain = {}, recursive = { recursive = true } } do
    it("raises once, and ends: " .. name, place.inside(function(dir)
      local listing = aio.fs.scandir(dir .. "/none", opts)
      assert.equal("ENOENT", helper.raised(listing).code)
      assert.is_nil((listing()))
    end))
  end
end)
