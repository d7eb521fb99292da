--- Prompt: reads a line, with a prompt, while a clock ticks beside it.
--
--   lua5.4 examples/prompt.lua [interval]
--
-- In a terminal keys are read one by one, so that the line can be drawn anew with
-- each tick; the terminal is as it was when the program ends, however it does. Else
-- a line is read as it comes. The exit status is 1 if there was none.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

local INTERVAL <const> = tonumber(arg and arg[1]) or 1

local line, ticks = "", 0

local function draw()
  local width = aio.tty.size() or 80
  local text = ("[%d] your name? %s"):format(ticks, line)
  aio.stdout:write("\r\27[K", text:sub(-width + 1))
end

local function tick()
  for n in aio.every(INTERVAL) do
    ticks = n
    draw()
  end
end

-- What keys do; the result is true when the line is complete, false if there is to be
-- none.
local KEYS = {
  ["\r"] = function() return true end,
  ["\n"] = function() return true end,
  ["\3"] = function() return false end,  -- Ctrl-C
  ["\4"] = function() return line ~= "" end, -- Ctrl-D
  ["\127"] = function() line = line:sub(1, (utf8.offset(line, -1) or 1) - 1) end,
}

local function edit()
  for key in aio.stdin:lines(1) do
    local action = KEYS[key]
    if not action then
      line = line .. key
    else
      local done = action()
      if done ~= nil then
        return done and line or nil
      end
    end
    draw()
  end
end

local function ask()
  local raw <close> = aio.tty.raw()
  if not raw then
    return aio.stdin:read()
  end
  local g <close> = aio.group()
  g:service(tick)
  draw()
  local name = edit()
  aio.stdout:write "\n"
  return name
end

local function main()
  local name = ask()
  aio.stdout:write(name and ("Hello, %s!\n"):format(name) or "Nobody.\n")
  return name and 0 or 1
end

os.exit(aio.run(main))
