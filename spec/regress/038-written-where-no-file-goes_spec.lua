-- A write at the last position that there is was added to that, which has no result;
-- and one of no bytes had a file that is appended to go by the end that a call
-- before it had found.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local place = require "spec.fs.place"

if not aio.fs then
  return
end

describe("a file", function()
  it("takes nothing beyond the last position", place.inside(function(dir)
    local file <close> = assert(aio.fs.open(dir .. "/f", "w"))
    assert.equal(math.maxinteger, file:seek("set", math.maxinteger))
    local _, _, code = file:write "text"
    assert.equal("EFBIG", code)
    assert.equal(0, file:seek "set")
    assert(file:write "text")
  end))

  it("stays where it is when nothing is written", place.inside(function(dir)
    place.write(dir .. "/f", "text")
    local file <close> = assert(aio.fs.open(dir .. "/f", "a+"))
    assert(file:stat())
    assert(file:write "")
    assert.equal("text", file:read "a")
  end))
end)
