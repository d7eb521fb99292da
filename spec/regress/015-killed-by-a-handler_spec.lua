-- The handlers of tasks that are ended by force wrote while SIGPIPE was not
-- ignored: a peer that had gone ended the process.
--
-- SPDX-License-Identifier: MIT

local helper = require "spec.helper"

if os.getenv "PERILUNE_NO_UV" then return end

describe("a handler of a task that is ended by force", function()
  it("may write to a peer that has gone", function()
    local out, _, status = helper.script [[
      local aio = require "perilune"
      pcall(aio.run, { grace = 0 }, function()
        local server <close> = aio.tcp.listen("127.0.0.1", 0)
        local conn = aio.tcp.connect("127.0.0.1", select(2, server:sockname()))
        conn:setvbuf "no"
        server:accept():abort()
        aio.spawn(function()
          local _ <close> = setmetatable({}, { __close = function()
            conn:write "to nobody" -- outside of any wait
            conn:write "again"
            print "closed"
          end })
          aio.shield(math.huge, aio.sleep, math.huge)
        end)
        aio.sleep(0.05)
      end)
      print "ended"
    ]]
    assert.equal("closed\nended\n", out)
    assert.equal(0, status)
  end)
end)
