-- The text of a reason was made where it was told: one whose __tostring raises or
-- waits made join raise, and cancel, and came out of a task in place of Cancelled.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local raised, has = helper.raised, helper.has

local function object(show)
  return setmetatable({}, { __tostring = show })
end

local reasons = {
  ["raises"] = object(function() error "broken" end),
  ["waits"] = object(function() aio.sleep(1) end),
  ["gives no string"] = object(function() return {} end),
}

for what, reason in pairs(reasons) do
  describe("a reason whose __tostring " .. what, function()
    it("is that of a task", helper.case(function()
      local seen
      local t = aio.spawn(function()
        seen = raised(aio.sleep, 1)
        error(seen)
      end)
      aio.yield()
      assert.is_true(t:cancel(reason))
      local ok, e = t:join()
      assert.is_false(ok)
      has("ECANCELED", e)
      assert.equal(reason, e.reason)
      assert.is_true(aio.is_cancelled(seen))
      assert.equal(reason, seen.reason)
    end))

    it("is that of a future, a scope and a group", helper.case(function()
      local f = aio.future()
      f:cancel(reason)
      assert.equal(reason, raised(f.await, f).reason)
      local value, _, code = aio.scope({}, function(s)
        s:cancel(reason)
        aio.sleep(1)
      end)
      assert.is_nil(value)
      assert.equal("ECANCELED", code)
      aio.group(nil, function(g)
        local child = g:spawn(aio.sleep, 1)
        aio.yield()
        g:cancel(reason)
        assert.equal(reason, select(2, child:join()).reason)
      end)
    end))
  end)
end

describe("an error that cannot be shown", function()
  it("is reported all the same", helper.bare(function()
    for _, e in pairs(reasons) do
      local text = helper.written(function()
        assert.equal(e, raised(aio.run, function()
          aio.spawn(error, e)
          aio.sleep(1)
        end))
      end)
      has("cannot be shown", text)
    end
  end))

  it("of the error hook is named", function()
    local _, err = helper.script [[
      local aio = require "perilune"
      aio.run({ on_error = function()
        error(setmetatable({}, { __tostring = function() error "x" end }))
      end }, function()
        aio.spawn(error, "oops")
        aio.sleep(0)
        aio.sleep(0)
      end)
    ]]
    has("the error hook failed: object that cannot be shown", err)
  end)
end)
