-- What was set in one place was seen, or changed, in another: by finalizers; by
-- who resumed a stock coroutine that had yielded inside a bound function; by
-- handlers that ran when a task was ended by force, which all saw what the
-- innermost call had set; by hooks of the Lua state after os.exit in a task. And
-- a `let` put back its value wherever it was closed, and stock coroutines of the
-- main chunk changed what was not theirs.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local case, bare, raised = helper.case, helper.bare, helper.raised
local user = aio.context.var("user", "nobody")

describe("what was set in one place", function()
  it("is not seen by finalizers", case(function()
    local seen
    user:set "task"
    setmetatable({}, { __gc = function() seen = user:get() end })
    collectgarbage()
    assert.equal("nobody", seen)
  end))

  it("is not left behind by a stock coroutine", case(function()
    local bound = user:with("bound", aio.context.bind, helper.stock.yield)
    pcall(helper.stock.wrap(bound))
    assert.equal("nobody", user:get())
  end))

  it("is not seen by outer handlers when it ends by force", bare(function()
    local seen
    aio.run({ grace = 0, on_error = function() end }, function()
      aio.spawn(function()
        local _ <close> = setmetatable({}, {
          __close = function() seen = user:get() end,
        })
        user:with("inner", function()
          while true do pcall(aio.sleep, 100) end
        end)
      end)
      aio.yield()
    end)
    assert.equal("nobody", seen)
  end))

  it("is not seen by hooks of the Lua state", function()
    assert.equal("nobody\n", (helper.script [[
      local aio = require "perilune"
      local user = aio.context.var("user", "nobody")
      aio.on_close(function() print(user:get()) end)
      aio.spawn(function() user:set "task"; os.exit(0, true) end)
      aio.yield()
    ]]))
  end)

  it("is not put back in another task", case(function()
    local let = aio.spawn(user.let, user, "let"):await()
    user:set "mine"
    do
      local _ <close> = let
    end
    assert.equal("mine", user:get())
  end))

  it("is not set in a stock coroutine of the main chunk", bare(function()
    raised(helper.stock.wrap(user.set), user, "x")
    assert.equal("nobody", user:get())
  end))
end)
