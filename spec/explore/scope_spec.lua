-- Timeouts in timeouts, shields, in any order and wherever they are cancelled.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local explore = helper.explore

-- How long `fn` took.
local function clocked(fn, ...)
  local start = aio.now()
  local results = table.pack(fn(...))
  return aio.now() - start, table.unpack(results, 1, results.n)
end

local function near(a, b)
  assert(math.abs(a - b) < 1e-6, ("%g s expected, got %g"):format(b, a))
end

describe("timeouts", function()
  explore("report their own deadline only", {
    scenario = function(s)
      local took, _, _, code = clocked(aio.timeout, 3, function()
        local inner, _, _, inside = clocked(aio.timeout, 1, aio.sleep, 10)
        near(inner, 1)
        assert(inside == "ETIMEDOUT")
        s.inner = true
        local _, _, second = aio.timeout(9, aio.sleep, 10)
        s.wrong = second
      end)
      near(took, 3)
      s.code = code
    end,
    invariant = function(s, run)
      assert.is_nil(s.wrong)
      assert(s.code == "ETIMEDOUT" or run.cancelled)
      assert(run.cancelled or s.inner)
    end,
  })

  explore("of equal length fire from the outside in", {
    cancel = "both",
    scenario = function(s)
      s.codes = {}
      aio.group(nil, function(g)
        for i = 1, 3 do
          g:spawn(function()
            local _, _, code = aio.timeout(1, function()
              local _, _, inner = aio.timeout(1, aio.sleep, 2)
              s.inner = inner or s.inner
            end)
            s.codes[i] = code
          end)
        end
      end)
    end,
    invariant = function(s, run)
      assert.is_nil(s.inner)
      for i = 1, 3 do
        assert(s.codes[i] == "ETIMEDOUT" or run.cancelled)
      end
    end,
  })

  explore("keep what was completed in time", {
    cancel = "both",
    scenario = function(s)
      s.got = {}
      local f = aio.future()
      local cb = aio.loop():call_later(1, f.resolve, f, "value")
      local _ <close> = setmetatable({}, { __close = function() cb:cancel() end })
      aio.group(nil, function(g)
        for i = 1, 3 do
          g:spawn(function()
            local v, _, code = aio.timeout(i < 3 and 1 or 2, f.await, f)
            s.got[i] = v or code
          end)
        end
      end)
    end,
    invariant = function(s, run)
      for i = 1, 3 do
        local v = s.got[i]
        assert(v == "value" or (i < 3 and v == "ETIMEDOUT") or run.cancelled)
      end
    end,
  })
end)

describe("shields", function()
  explore("let nothing from outside in", {
    scenario = function(s)
      s.entered, s.ended = 0, 0
      aio.group(nil, function(g)
        for _ = 1, 2 do
          g:spawn(function()
            aio.yield()
            s.entered = s.entered + 1
            local took, ok = clocked(aio.shield, 5, function()
              aio.sleep(1)
              aio.sleep(1)
              s.ended = s.ended + 1
              return "ok"
            end)
            assert(ok == "ok")
            near(took, 2)
          end)
        end
        aio.yield()
      end)
    end,
    invariant = function(s, run)
      assert.equal(s.entered, s.ended)
      assert(run.cancelled or s.ended == 2)
    end,
  })

  explore("hold for children, and end in time", {
    scenario = function(s)
      s.inside = helper.presence()
      local took, _, _, code = clocked(aio.shield, 3, function()
        s.entered = true
        aio.group(nil, function(g)
          for i = 1, 3 do
            g:spawn(function()
              local _ <close> = s.inside()
              aio.sleep(i * 2)
              s.last = i
            end)
          end
        end)
      end)
      near(took, 3)
      assert(code == "ETIMEDOUT")
      s.over = true
    end,
    invariant = function(s)
      assert.equal(0, s.inside.now)
      assert.is_true(s.over)
      assert.equal(1, s.last)
    end,
  })

  explore("let clean-up wait", {
    cancel = "both",
    scenario = function(s)
      s.opened, s.closed = 0, 0
      aio.group(nil, function(g)
        for _ = 1, 3 do
          g:spawn(function()
            s.opened = s.opened + 1
            local _ <close> = setmetatable({}, { __close = function()
              aio.shield(1, function()
                aio.yield()
                s.closed = s.closed + 1
              end)
            end })
            aio.sleep(1)
          end)
        end
      end)
    end,
    invariant = function(s) assert.equal(s.opened, s.closed) end,
  })
end)

describe("scopes", function()
  explore("cancelled from elsewhere, end all that is inside", {
    cancel = "both",
    scenario = function(s)
      s.inside = helper.presence()
      local _, _, code = aio.scope(nil, function(scope)
        aio.group(nil, function(g)
          for _ = 1, 2 do
            g:spawn(function()
              local _ <close> = s.inside()
              aio.timeout(5, aio.sleep, 10)
              s.late = true
            end)
          end
          g:spawn(function()
            aio.sleep(1)
            scope:cancel "enough"
          end)
        end)
      end)
      s.code = code
    end,
    invariant = function(s, run)
      assert.equal(0, s.inside.now)
      assert(run.cancelled or (s.code == "ECANCELED" and not s.late))
    end,
  })
end)
