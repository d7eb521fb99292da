-- libuv aborts if there are no descriptors for what it makes but once for each
-- process, with the first loop.
--
-- SPDX-License-Identifier: MIT

local Child = require "spec.child"
local aio = require "perilune"

if not aio.tcp then
  return
end

describe("without descriptors for a loop", function()
  it("there is none, and the next try makes one", function()
    for left = 1, 3 do
      local child <close> = Child.code(([[
        local files = {}
        for i = 1, 100 do files[i] = io.open "/dev/null" end
        for _ = 1, %d do table.remove(files):close() end -- for the modules
        local ok, e = pcall(require, "perilune")
        print(ok, e:match "EMFILE: [%%a ]+%%a")
        for _, file in ipairs(files) do file:close() end
        print(pcall(require("perilune").sleep, 0))]]):format(left), "ulimit -n 40")
      assert.equal("false\tEMFILE: cannot make an event loop\ntrue\ttrue\n",
        (child:finish()))
    end
  end)
end)
