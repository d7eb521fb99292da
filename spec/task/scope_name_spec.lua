-- Names of scopes: in what they return, and in what they raise.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local case, failed, has, raised = helper.case, helper.failed, helper.has,
  helper.raised

local function named(opts)
  opts.name = "look-up"
  return opts
end

describe("the name of a scope", function()
  it("is in the message of its timeout", case(function()
    local _, message, code = aio.scope(named { timeout = 2 }, function()
      aio.sleep(9)
    end)
    assert.equal("ETIMEDOUT", code)
    assert.equal('ETIMEDOUT: the scope "look-up" timed out after 2.0 s', message)
  end))

  it("is in the message of its cancellation", case(function()
    local _, message = aio.scope(named {}, function(scope)
      scope:cancel()
      aio.sleep(9)
    end)
    assert.equal('ECANCELED: the scope "look-up" was cancelled', message)
  end))

  it("is in what the block form raises, with the line", case(function()
    local here
    local e = raised(function()
      here = helper.here() local _ <close> = aio.scope(named { timeout = 2 })
      aio.sleep(9)
    end)
    has(('the scope "look-up" opened at %s timed out after 2'):format(here),
      e.message)
  end))

  it("is in what the block form raises when cancelled", case(function()
    local e = raised(function()
      local scope <close> = aio.scope(named {})
      scope:cancel "enough"
      aio.sleep(9)
    end)
    has('the scope "look-up" opened at ', e.message)
    assert.equal("enough", e.reason)
  end))

  it("is in the message of a deadline that was set later", case(function()
    local _, message = aio.scope(named {}, function(scope)
      scope:expires(aio.now() + 1)
      aio.sleep(9)
    end)
    has('the scope "look-up"', message)
  end))

  it("is in the error when it is left open", case(function()
    local ok, e = aio.spawn(function() aio.scope(named {}) end):join()
    assert.is_false(ok)
    has('the scope "look-up" opened at ', e.message)
    has("was left open", e.message)
  end))

  it("must be a string", case(function()
    has("option 'name'", raised(aio.scope, { name = 5 }))
    has("bad argument #1", raised(aio.scope, { name = {} }, print))
    assert.is_true(aio.scope({ name = nil }, function() end))
  end))
end)

describe("a scope without a name", function()
  it("is not called anything", case(function()
    local _, message = aio.scope(1, function() aio.sleep(9) end)
    assert.equal("ETIMEDOUT: timed out after 1.0 s", message)
    failed("ETIMEDOUT", aio.timeout(1, aio.sleep, 9))
  end))
end)
