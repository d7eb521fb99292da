-- libuv left SIG_DFL for SIGCHLD when the last child had ended, where the program
-- had had a handler of its own.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

if not aio.process then
  return
end

describe("a handler for SIGCHLD", function()
  it("is put back when no child runs any more", function()
    assert.equal("false\ntrue\ntrue\n", helper.program [[
      local aio = require "perilune"
      local host = assert(package.loadlib("build/host/process.so", "luaopen_process"))()
      host.handle(host.CHLD)
      aio.run(function()
        local p = aio.process.spawn { "cat", stdin = "pipe" }
        assert(aio.process.run { "true" })
        print(host.handles(host.CHLD))
        p.stdin:close()
        p:wait()
        aio.sleep(0) -- it is closed in the next turn
      end)
      print(host.handles(host.CHLD))
      aio.process.spawn { "no-such-program" }
      aio.sleep(0)
      print(host.handles(host.CHLD))]])
  end)
end)
