-- conn:shutdown() on a transport that was closed said "(flush)".
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

if os.getenv "PERILUNE_NO_UV" then return end

local ends = require "spec.net.ends"

local has, real = helper.has, helper.real

describe("shutdown", function()
  it("is what the error of a closed transport names", real(function()
    local a, b = ends.tcp()
    local _ <close> = ends.held(a, b)
    a:close()
    local _, message = a:shutdown()
    has("(shutdown", message)
  end))

  it("is what the error names when it is closed meanwhile", real(function()
    local a, b = ends.tcp()
    local _ <close> = ends.held(a, b)
    ends.fill(a)
    local message
    local task = ends.parked(function() message = select(2, a:shutdown()) end)
    a:abort()
    task:await()
    has("(shutdown", message)
  end))

  it("leaves its name to flush", real(function()
    local a, b = ends.tcp()
    local _ <close> = ends.held(a, b)
    a:close()
    local _, message = a:flush()
    has("(flush", message)
  end))

  it("is what the task is seen to wait for", real(function()
    local a, b = ends.tcp()
    local _ <close> = ends.held(a, b)
    aio.timeout(0.02, function()
      while true do a:write(("x"):rep(65536)) end
    end)
    local task = ends.parked(a.shutdown, a)
    has("shutdown", task:info().waiting_on)
    task:cancel()
    task:join()
  end))
end)
