--- Examples as programs: run to their end, talked to, interrupted.
--
-- SPDX-License-Identifier: MIT

local Child = require "spec.child"
local helper = require "spec.helper"

local program = {}

--- Runs an example to its end; what it printed, and its status.
function program.run(words)
  local child <close> = Child.start("examples/" .. words)
  return child:finish()
end

--- Starts an example that serves; the child and the port it printed.
function program.serve(words)
  local child = Child.start("examples/" .. words)
  local line = assert(child:line(), "it said nothing")
  return child, assert(tonumber(line:match "port (%d+)"), line)
end

--- Ends it as its user would.
function program.interrupt(child)
  child:signal "INT"
  local rest, status = child:finish()
  helper.has("EINTR", rest)
  assert(status == 1)
end

return program
