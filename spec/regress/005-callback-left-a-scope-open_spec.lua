-- It went on to cancel whatever the main chunk waited for.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local bare = helper.bare

describe("a scope left open by a callback", function()
  it("ends with it, which is a failure", bare(function()
    local callback = aio.loop():call_soon(function() aio.scope(1) end)
    local ok, e = callback:join()
    assert.is_false(ok)
    helper.has("was left open", e)
    assert.equal(math.huge, aio.time_left())
    assert.is_true(aio.sleep(2))
  end))
end)
