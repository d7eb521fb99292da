--- Pipeline: runs programs so that each reads what the one before it writes, and
-- shows what comes out of the last one, as it comes.
--
--   lua5.4 examples/pipeline.lua "ls /usr/bin" "sort -r" "head -n 3"
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
  for i, process in ipairs(all) do
    local code, signal = process:wait()
    if code ~= 0 then
      io.stderr:write(("%s: %s\n"):format(arg[i], signal or code))
    end
  end
end

if #arg == 0 then
  io.stderr:write "usage: pipeline.lua command...\n"
  os.exit(2)
end
aio.run(main)
