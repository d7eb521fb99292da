--- Pipeline: runs programs so that each reads what the one before it writes, and
-- shows what comes out of the last one, as it comes.
--
--   lua5.4 examples/pipeline.lua "git log --format=%an" sort "uniq -c"
--
-- Words are separated by blanks; there are no quotes. A program that ends by SIGPIPE,
-- as nobody reads on, has not failed. The exit status is that of the last one.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

local function words(text)
  local list = {}
  for word in text:gmatch "%S+" do
    list[#list + 1] = word
  end
  return list
end

-- Starts all; the output of one is handed over to the next.
local function start(commands)
  local all, output = {}, "null"
  for i, text in ipairs(commands) do
    local command = words(text)
    command.stdin, command.stdout = output, "pipe"
    all[i] = assert(aio.process.spawn(command))
    output = all[i].stdout
  end
  return all, output
end

local function main()
  local all, output = start(arg)
  local _ <close> = output
  for line in output:lines() do
    print(line)
  end
  output:close()
  local code, signal
  for i, process in ipairs(all) do
    code, signal = process:wait()
    if code ~= 0 and signal ~= "PIPE" then
      io.stderr:write(("%s: %s\n"):format(arg[i], signal or code))
    end
  end
  return code
end

if #arg == 0 then
  io.stderr:write "usage: pipeline.lua command...\n"
  os.exit(2)
end

io.stdout:setvbuf "line"
local ok, result = pcall(aio.run, main)
if not ok then
  io.stderr:write(tostring(result), "\n")
end
os.exit(ok and result, true)
