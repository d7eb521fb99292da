-- Whose the coroutine library is, and when.
--
-- luacheck: globals coroutine
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local bare = helper.bare
local NAMES = { "create", "resume", "wrap", "close", "status" }

-- What is in the global table: "ours", "stock", or "mixed".
local function whose()
  local ours, stock = 0, 0
  for _, name in ipairs(NAMES) do
    ours = ours + (coroutine[name] == aio.coroutine[name] and 1 or 0)
    stock = stock + (coroutine[name] == helper.stock[name] and 1 or 0)
  end
  return ours == #NAMES and "ours" or stock == #NAMES and "stock" or "mixed"
end

describe("the coroutine library", function()
  after_each(function()
    for name, fn in pairs(helper.stock) do
      coroutine[name] = fn
    end
  end)

  it("is untouched by require", function()
    assert.equal("true\n", helper.program [[
      local before, globals = {}, {}
      for k, v in pairs(coroutine) do before[k] = v end
      for k in pairs(_G) do globals[k] = true end
      require "perilune"
      local same = true
      for k, v in pairs(coroutine) do same = same and before[k] == v end
      for k in pairs(_G) do same = same and globals[k] end
      print(same)
    ]])
  end)

  it("is ours during a run, and stock again after it", bare(function()
    assert.equal("stock", whose())
    assert.equal("ours", aio.run(whose))
    assert.equal("stock", whose())
  end))

  it("is stock again after a run that failed", bare(function()
    pcall(aio.run, error)
    assert.equal("stock", whose())
  end))

  it("stays stock with patch = false", bare(function()
    assert.equal("stock", aio.run({ patch = false }, whose))
  end))

  it("stays stock while a wait at top level drives", bare(function()
    assert.equal("stock", aio.spawn(whose):await())
  end))

  it("is ours after patch(), until patch(false)", bare(function()
    aio.patch()
    assert.equal("ours", whose())
    aio.patch(false)
    assert.equal("stock", whose())
  end))

  it("may be patched twice", bare(function()
    aio.patch()
    aio.patch()
    aio.patch(false)
    assert.equal("stock", whose())
    aio.patch(false)
    assert.equal("stock", whose())
  end))

  it("stays ours after a run if it was patched by hand", bare(function()
    aio.patch()
    aio.run(function() end)
    assert.equal("ours", whose())
    aio.patch(false)
    assert.equal("stock", whose())
  end))

  it("is left to who replaced it before", bare(function()
    local function mine(...) return helper.stock.create(...) end
    coroutine.create = mine
    local during = aio.run(function() return coroutine.create end)
    assert.equal(mine, during)
    assert.equal(mine, coroutine.create)
  end))

  it("is left to who replaced it meanwhile", bare(function()
    local function mine(...) return helper.stock.create(...) end
    aio.run(function() coroutine.create = mine end)
    assert.equal(mine, coroutine.create)
    assert.equal(helper.stock.resume, coroutine.resume)
  end))

  it("patched, lets generators wait", bare(function()
    local got = aio.run(function()
      local co = coroutine.wrap(function()
        aio.sleep(1)
        coroutine.yield "a"
      end)
      return co()
    end)
    assert.equal("a", got)
  end))

  it("patched, works for coroutines outside of any task", bare(function()
    aio.patch()
    local co = coroutine.create(function(a)
      local b = coroutine.yield(a + 1)
      return b + 1
    end)
    assert.same({ true, 2 }, { coroutine.resume(co, 1) })
    assert.equal("suspended", coroutine.status(co))
    assert.same({ true, 11 }, { coroutine.resume(co, 10) })
    assert.equal("dead", coroutine.status(co))
    aio.patch(false)
  end))
end)
