--- Syslog receiver: shows what programs report by UDP, as RFC 5424 or RFC 3164
-- have it.
--
--   lua5.4 examples/syslog.lua [-l level] [port [host]]
--
-- Port 0 (the default; 514 is the usual one) takes a free one; the line that is
-- printed says which. Levels are emerg, alert, crit, err, warning, notice, info and
-- debug (the default): what matters less than `level` is left out. Ctrl-C and TERM
-- end it, and it says how much has come.
-- To try it: logger -d -n 127.0.0.1 -P PORT hello
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

local LEVELS = { [0] = "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug" }
local FACILITIES = {
  [0] = "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron",
  "authpriv", "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3",
  "local4", "local5", "local6", "local7",
}

local limit = 7
if arg[1] == "-l" then
  limit = nil
  for number, name in pairs(LEVELS) do
    if name == arg[2] then limit = number end
  end
  table.remove(arg, 1)
  table.remove(arg, 1)
end
local port, host = tonumber(arg[1] or 0), arg[2] or "127.0.0.1"
if not port or not limit then
  io.stderr:write "usage: syslog.lua [-l level] [port [host]]\n"
  os.exit(2)
end

-- What a terminal would take for more than text.
local function plain(text)
  return (text:gsub("[%s%c]+$", ""):gsub("%c", "?"))
end

-- RFC 5424: without its structured data, in brackets.
local function parse_new(rest)
  local time, from, app, id, text = rest:match "^1 (%S+) (%S+) (%S+) (%S+) %S+ (.*)"
  if not time then return nil end
  local n
  repeat
    text, n = text:gsub("^%[.-[^\\]%]", "", 1)
  until n == 0
  return time, from, app, id, (text:gsub("^%-? ?\xEF\xBB\xBF", ""):gsub("^%-? ", ""))
end

-- RFC 3164, which only says what many senders do.
local function parse_old(rest)
  local time, from, app, text = rest:match
    "^(%a%a%a [ %d]%d %d%d:%d%d:%d%d) (%S+) ([^%s:%[]+)(.*)"
  if not time then return "-", "-", "-", "-", rest end
  local id, said = text:match "^%[(.-)%]:? ?(.*)"
  return time, from, app, id or "-", said or text:gsub("^: ?", "")
end

local function line_of(message, address)
  local priority, rest = message:match "^<(%d%d?%d?)>(.*)"
  priority = tonumber(priority)
  if not priority or priority > 191 then return nil end
  local level, facility = priority % 8, priority // 8
  local time, from, app, id, text = parse_new(rest)
  if not time then time, from, app, id, text = parse_old(rest) end
  return level, plain(("%s %s %s.%s %s%s: %s"):format(time, from ~= "-" and from or address,
    FACILITIES[facility], LEVELS[level], app, id ~= "-" and "[" .. id .. "]" or "", text))
end

local function receive(socket, count)
  for message, address in socket do
    local level, line = line_of(message, address)
    count.all = count.all + 1
    if not level then
      print(("%s: not syslog: %s"):format(address, plain(message)))
      count.bad = count.bad + 1
    elseif level <= limit then
      print(line)
    end
  end
end

local function main()
  local socket <close> = assert(aio.udp.bind(host, port))
  local signals <close> = assert(aio.signals("INT", "TERM"))
  local _, bound = socket:sockname()
  print(("syslog on %s port %d"):format(host, bound))
  local count = { all = 0, bad = 0 }
  aio.race(signals, function() receive(socket, count) end)
  print(("%d messages, %d of them not syslog"):format(count.all, count.bad))
end

io.stdout:setvbuf "line"
local ok, e = pcall(aio.run, main)
if not ok then
  io.stderr:write(tostring(e), "\n")
end
os.exit(ok, true)
