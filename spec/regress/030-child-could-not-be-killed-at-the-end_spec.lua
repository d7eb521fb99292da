-- A child was out of reach of those who were unwound while the Lua state was
-- closed: its userdata had been finalized before.
--
-- SPDX-License-Identifier: MIT

local Child = require "spec.child"
local aio = require "perilune"

if not aio.process then
  return
end

describe("a child", function()
  it("can be killed while the Lua state is closed", function()
    local child <close> = Child.code [[
      local aio = require "perilune"
      aio.spawn(function()
        local p = aio.process.spawn { "sleep", 2 }
        local _ <close> = setmetatable({}, { __close = function()
          print(p:kill "KILL")
          print(pcall(p.wait, p))
        end })
        p:wait()
      end)
      aio.sleep(0)
      os.exit(0, true)]]
    assert.equal("true\n", child:line() .. "\n")
    assert.equal("false", child:line():match "^%a+")
  end)
end)
