-- A program that was started with its stdin closed was aborted by libuv when a
-- connection, or the loop itself, had got that descriptor and was closed.
--
-- SPDX-License-Identifier: MIT

local streams = require "spec.stdio.streams"

local CODE = [[
aio.run(function()
  local a, b = aio.unix.pair()
  a:write "x"
  io.stderr:write(b:read_some(), "\n")
  a:close()
  b:close()
end)
]]

describe("a program that was started without standard descriptors", function()
  it("goes on to its end", function()
    assert.equal("x\n", streams.shell("prog <&-", CODE))
    assert.equal("x\n", streams.shell("prog <&- >&-", CODE))
  end)
end)
