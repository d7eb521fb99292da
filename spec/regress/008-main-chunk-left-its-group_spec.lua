-- The main chunk gave up waiting for its group, in a deadlock, but stayed in
-- the group's list of waiters and inside its scope.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local bare, raised = helper.bare, helper.raised

describe("a deadlock while the main chunk leaves a group", function()
  it("ends the group by itself", bare(function()
    local log, f = helper.log(), aio.future()
    local e = raised(function()
      local g <close> = aio.group()
      g:spawn(function()
        aio.shield(math.huge, f.await, f)
        log "child"
      end)
    end)
    assert.equal("EDEADLK", e.code)
    aio.loop():call_soon(function() f:resolve() end)
    assert.is_true(aio.sleep(1))
    assert.equal("child", log:text())
  end))
end)
