-- tcp.connect to a name returned two nils behind the transport.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

if os.getenv "PERILUNE_NO_UV" then return end

describe("connect", function()
  for _, host in ipairs { "127.0.0.1", "localhost" } do
    it("to " .. host .. " returns the transport and nothing else", helper.real(function()
      local server <close> = assert(aio.tcp.listen("127.0.0.1", 0))
      local _, port = server:sockname()
      local values = table.pack(aio.tcp.connect(host, port))
      local _ <close> = assert(values[1])
      assert.equal(1, values.n)
    end))
  end
end)
