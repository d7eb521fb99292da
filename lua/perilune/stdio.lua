--- The streams that a program was started with.
--
-- SPDX-License-Identifier: MIT

local core = require "perilune.core"

local open = {}

--- The standard input: a transport, made when it is first used. The descriptor stays
-- as it is, and open, for others who use it: `io.stdin`, child processes, the shell.
-- What was read ahead they do not get. A descriptor that is closed is an error of
-- reading, `"EBADF"`. Never waits.
-- @field
function open.stdin()
  return core.stdio.open(0)
end

--- The standard output: a transport, made when it is first used. Each write leaves at
-- once, behind what `print` and `io.write` have written, until `setvbuf "full"` has it
-- gather. At the end of a run it is waited for until all has gone out, however long that
-- takes; Ctrl-C ends that. In the main chunk a write waits until all has. A reader that
-- has gone is an error of writing, `"EPIPE"`. Never waits.
-- @field
function open.stdout()
  return core.stdio.open(1)
end

--- The standard error: the same. Never waits.
-- @field
function open.stderr()
  return core.stdio.open(2)
end

return setmetatable({}, {
  __index = function(_, name)
    return open[name] and open[name]()
  end,
})
