--- Job runner: has a shell run commands, several at once, each within a time limit.
--
--   lua5.4 examples/jobs.lua [-j at_once] [-t seconds] [file]
--
-- Reads the commands from the file, or else from its input, one a line; empty lines
-- and those that begin with "#" are left out. `at_once` (4) run at a time, for at most
-- `seconds` (60) each, and what one writes is shown as a whole when it has ended.
-- Exit status: 0 if all have ended well, 1 if not, 2 if the arguments are wrong.
-- Ctrl-C ends those that run.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

local opts = { j = 4, t = 60 }
while arg[1] and arg[1]:find "^%-[jt]$" do
  opts[arg[1]:sub(2)] = tonumber(arg[2])
  table.remove(arg, 1)
  table.remove(arg, 1)
end
if not (opts.j and opts.j >= 1 and opts.t) or arg[2] then
  io.stderr:write "usage: jobs.lua [-j at_once] [-t seconds] [file]\n"
  os.exit(2)
end

-- How it ended, in a word, and what it has written up to then.
local function outcome(result, message, code, partial)
  if code == "ETIMEDOUT" then
    return "timed out", partial and partial.stdout or ""
  elseif not result then
    return "not run", message .. "\n"
  elseif result.code == 0 then
    return "ok", result.stdout
  end
  return result.signal or "status " .. result.code, result.stdout
end

-- A time limit first ends the shell with TERM; what it has started may go on.
local function run(command)
  local begun = aio.now()
  local how, text = outcome(aio.process.run {
    "sh", "-c", command, stdin = "null", stderr = "stdout", timeout = opts.t, grace = 1,
  })
  print(("[%s] %.1f s: %s"):format(how, aio.now() - begun, command))
  io.stdout:write(text, text:find "[^\n]$" and "\n" or "")
  io.stdout:flush()
  return how == "ok"
end

local function main()
  local input <close> = arg[1] and assert(aio.fs.open(arg[1])) or aio.stdin
  local commands = {}
  for line in input:lines() do
    if line:find "^%s*[^%s#]" then
      commands[#commands + 1] = line
    end
  end
  local good = 0
  for _, ok in ipairs(aio.map(commands, run, opts.j)) do
    good = good + (ok and 1 or 0)
  end
  print(("%d of %d ended well"):format(good, #commands))
  return good == #commands
end

local ok, result = pcall(aio.run, main)
if not ok then
  io.stderr:write(tostring(result), "\n")
end
os.exit(ok and result, true)
