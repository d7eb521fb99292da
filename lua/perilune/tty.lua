--- The terminal that a program was started in.
--
-- SPDX-License-Identifier: MIT

local core = require "perilune.core"

local tty = {}

--- Tells how large the terminal is that stdout, or else stderr or stdin, leads to.
-- Never waits.
-- @return columns, rows; or nil, message, code: ENOTTY if there is none
function tty.size()
  return core.tty.size()
end

--- Makes the terminal raw that stdin comes from: keys are read as they are typed, and
-- not shown; Ctrl-C is a key, "\3", like others. The mode is put back when what is
-- returned is closed, and else when the program ends: by an error, by `os.exit`, by a
-- signal that it does not handle. While it is stopped by SIGTSTP the terminal is as it
-- was. Never waits.
-- @return object to be closed; or nil, message, code: ENOTTY if stdin is no terminal
function tty.raw()
  return core.tty.raw()
end

return tty
