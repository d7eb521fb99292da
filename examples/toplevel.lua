--- TCP without a task in sight: the same calls, from an ordinary script.
--
--   lua5.4 examples/toplevel.lua
--
-- There is no `aio.run` here. Outside of tasks a call that has to wait drives
-- the loop until it is done, and whatever else was started makes progress
-- meanwhile: here, a server.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

local function shout(conn)
  for line in conn:lines() do
    conn:write(line:upper(), "\n")
  end
end

local server = assert(aio.tcp.listen("127.0.0.1", 0))
local serving = aio.spawn(server.serve, server, shout)
local _, port = server:sockname()

do
  local conn <close> = assert(aio.tcp.connect("127.0.0.1", port))
  for _, word in ipairs { "functions", "have", "no", "colour" } do
    conn:write(word, "\n")
    print(conn:read "l")
  end
end

-- Nobody listens there any more: an answer, not an exception.
server:close()
serving:await()
local conn, _, code = aio.tcp.connect("127.0.0.1", port)
print(conn, code)
