--- Processes: programs that run beside this one.
--
-- SPDX-License-Identifier: MIT

local check = require "perilune.check"
local core = require "perilune.core"

local process = {}

local GRACE <const> = 5 -- seconds from TERM to KILL
local LAST <const> = 1 -- seconds that a child gets to end after KILL
local DRAIN <const> = 0.05 -- seconds for what a child that was ended has left
local CHUNK <const> = 65536 -- bytes of the input, at once
local ID_MAX <const> = 0x7fffffff -- users, groups, descriptors

-- Arguments -------------------------------------------------------------------

local function is_text(v)
  return type(v) == "string" and not v:find("\0", 1, true)
end

local function is_string(v)
  return type(v) == "string"
end

local function is_argument(v)
  return is_text(v) or type(v) == "number"
end

local function is_path(v)
  return is_text(v) and v ~= ""
end

local function is_id(v)
  return math.type(v) == "integer" and v >= 0 and v <= ID_MAX
end

local function is_boolean(v)
  return type(v) == "boolean"
end

local function is_seconds(v)
  return type(v) == "number" and v >= 0
end

-- What an option may be, and how messages say it; those of stdio come later.
local KINDS = {
  cwd = { is_path, "a path" },
  uid = { is_id, "an integer, not negative" },
  gid = { is_id, "an integer, not negative" },
  detached = { is_boolean, "a boolean" },
  input = { is_string, "a string" },
  timeout = { is_seconds, "a number of seconds, not negative" },
  grace = { is_seconds, "a number of seconds, not negative" },
}
local SPAWN = {
  cwd = true,
  env = true,
  stdin = true,
  stdout = true,
  stderr = true,
  uid = true,
  gid = true,
  detached = true,
}
local RUN = { input = true, timeout = true, grace = true }
for name in pairs(SPAWN) do
  RUN[name] = true
end

local function check_option(name, value, fname, known)
  if not known[name] then
    check.fail(1, fname, ("unknown option '%s'"):format(tostring(name)), 2)
  end
  local kind = KINDS[name]
  if kind and not kind[1](value) then
    check.fail(1, fname, ("option '%s' must be %s"):format(name, kind[2]), 2)
  end
end

-- The program and its arguments, as strings.
local function arguments_of(opts, fname)
  if opts[1] == nil or opts[1] == "" then
    check.fail(1, fname, "name of a program expected", 2)
  end
  local args, last = {}, 1
  for i in pairs(opts) do
    last = math.type(i) == "integer" and math.max(i, last) or last
  end
  for i = 1, last do
    if not is_argument(opts[i]) then
      check.fail(1, fname, ("argument %d of the program must be a string"):format(i), 2)
    end
    args[i] = tostring(opts[i])
  end
  return args
end

local function check_options(opts, fname, known)
  if type(opts) ~= "table" then
    local text = "table expected, got %s; call %s{\"program\", \"argument\"}"
    check.fail(1, fname, text:format(check.typename(opts), fname), 1)
  end
  for name, value in pairs(opts) do
    if math.type(name) ~= "integer" then
      check_option(name, value, fname, known)
    end
  end
  local args = arguments_of(opts, fname)
  return args
end

local function environment_of(env, fname)
  if env == nil then
    return nil
  elseif type(env) ~= "table" then
    check.fail(1, fname, "option 'env' must be a table", 1)
  end
  local list = {}
  for name, value in pairs(env) do
    if not is_path(name) or name:find("=", 1, true) or not is_argument(value) then
      check.fail(1, fname, "option 'env' must map names to strings", 1)
    end
    list[#list + 1] = name .. "=" .. value
  end
  return list
end

-- Stdio -----------------------------------------------------------------------

local NUMBERS = { stdin = 0, stdout = 1, stderr = 2 }
local INHERIT = { stdin = "inherit", stdout = "inherit", stderr = "inherit" }
local PIPES = { stdin = "pipe", stdout = "pipe", stderr = "pipe" }
local OUTPUT = { stdin = "null", stdout = "pipe", stderr = "pipe" } -- no input

-- What the core wants to be told of a stream: a descriptor, true for a pipe, false
-- for nothing. Transports that are handed over are added to the list.
local function stream_of(name, value, fname, handed)
  if value == "inherit" then
    return NUMBERS[name]
  elseif value == "pipe" then
    return true
  elseif value == "null" then
    return false
  elseif is_id(value) then
    return value
  end
  local fd, more = core.process.descriptor(value)
  if not fd then
    local text = "option '%s' must be \"inherit\", \"pipe\", \"null\", a file, a "
      .. "transport or a descriptor%s, got %s"
    local got = type(value) == "string" and ("%q"):format(value) or more
    local or_else = name == "stderr" and ', or "stdout"' or ""
    check.fail(1, fname, text:format(name, or_else, got), 3)
  end
  handed[#handed + 1] = more and value or nil
  return fd
end

-- Stdin, stdout and stderr for the core: what the options say, or what is in
-- `default`.
local function streams_of(opts, fname, default)
  local handed = {}
  local function stream(name)
    local value = opts[name]
    return stream_of(name, value == nil and default[name] or value, fname, handed)
  end
  local input, output = stream "stdin", stream "stdout"
  local errors
  if opts.stderr == "stdout" then
    errors = output == true and -1 or output
  else
    errors = stream "stderr"
  end
  return handed, input, output, errors
end

-- Processes -------------------------------------------------------------------

local Process = { __name = "perilune.process" }
Process.__index = Process

local function check_process(self, fname)
  if getmetatable(self) ~= Process then
    local got = check.typename(self)
    check.fail(1, fname, "process expected, got " .. got .. "; call it with ':'", 1)
  end
end

--- Waits until the process has ended; that pipes end is another matter, which
-- they may do later, if it has left children. Several tasks can wait.
-- @return its exit code, or 128 and the number of the signal that has ended it;
--   and the name of that signal
function Process:wait()
  check_process(self, "wait")
  return self.child:wait()
end

--- Sends a signal. Never waits.
-- @param signal name or number ("TERM")
-- @return true; or nil, message, code: ESRCH if it has ended
function Process:kill(signal)
  check_process(self, "kill")
  return self.child:kill(signal == nil and "TERM" or signal)
end

function Process:__tostring()
  return ("process (%d)"):format(self.pid)
end

local function start(opts, args, env, fname, default)
  local handed, input, output, errors = streams_of(opts, fname, default)
  local child, pid, stdin, stdout, stderr =
    core.process.spawn(args, env, opts.cwd, input, output, errors, opts)
  if not child then
    return nil, pid, stdin -- message, code
  end
  for _, transport in ipairs(handed) do
    transport:close()
  end
  local p = { child = child, pid = pid, stdin = stdin, stdout = stdout, stderr = stderr }
  return setmetatable(p, Process)
end

--- Starts a program. It goes on when the task ends that has started it, and when
-- the run does. Never waits.
-- @param opts list: the program, looked for in PATH, and its arguments; and
--   `stdin`, `stdout`, `stderr`: "inherit" (the default), "pipe", "null", a file of
--   `io` or `aio.fs.open` (which is to be flushed before), where that is, a
--   descriptor's number, a transport (which is handed over, and closed here), and for
--   stderr "stdout"; `cwd`; `env`, a table that replaces the environment; `detached`:
--   in a session of its own; `uid`, `gid`
-- @return process, with `pid`, and for pipes the transports `stdin`, `stdout`,
--   `stderr`; or nil, message, code
function process.spawn(opts)
  local args = check_options(opts, "spawn", SPAWN)
  local env = environment_of(opts.env, "spawn")
  local p, message, code = start(opts, args, env, "spawn", INHERIT)
  return p, message, code
end

-- Running ---------------------------------------------------------------------

local Job = {}
Job.__index = Job

-- The child may end, or close its side, before it has read all.
local GONE = { EPIPE = true, ECONNRESET = true }

function Job:fail(message, code)
  self.failure = self.failure or { message, code }
end

function Job:feed(input)
  local conn <close> = self.process.stdin
  for i = 1, #input, CHUNK do
    local ok, message, code = conn:write(input:sub(i, i + CHUNK - 1))
    if not ok then
      return not GONE[code] and self:fail(message, code)
    end
  end
  conn:flush()
end

-- One that is cancelled before it begins may come when `finish` reads already.
function Job:read(name, pieces)
  core.check()
  local conn = self.process[name]
  local piece, message, code
  repeat
    piece, message, code = conn:read_some()
    pieces[#pieces + 1] = piece
  until not piece
  if code then
    self:fail(message, code)
  end
  conn:close() -- else its end would be told of again and again
  self.process[name] = nil
end

function Job:wait()
  self.code, self.signal = self.process:wait()
  return true
end

function Job:collect(group)
  for name, pieces in pairs(self.pieces) do
    if self.process[name] then
      group:spawn(self.read, self, name, pieces)
    end
  end
end

-- Ends a child that runs, in good order if possible; what it still has to say is
-- kept, and it is not kept from saying it.
function Job:finish()
  local group <close> = core.group()
  self:collect(group)
  self.process:kill "TERM"
  if not core.timeout(self.grace, self.wait, self) then
    self.process:kill "KILL"
    self:wait()
  end
  core.timeout(DRAIN, group.wait, group)
  group:cancel()
end

-- Where one cannot wait, because the Lua state is being closed, it is killed.
function Job:__close()
  if self.code then
    return
  end
  pcall(core.shield, nil, self.finish, self)
  if not self.code then
    self.process:kill "KILL"
    pcall(core.shield, LAST, self.wait, self)
  end
end

-- One stream is read here, which saves a task.
function Job:run(input)
  local group <close> = core.group()
  local _ <close> = self
  local out, err = self.pieces.stdout, self.pieces.stderr
  if self.process.stdin then
    group:spawn(self.feed, self, input or "")
  end
  if err then
    group:spawn(self.read, self, "stderr", err)
  end
  if out then
    self:read("stdout", out)
  end
  return self:wait()
end

function Job:result()
  local result = { code = self.code, signal = self.signal }
  for name, pieces in pairs(self.pieces) do
    result[name] = table.concat(pieces)
  end
  return result
end

-- Closes our ends of pipes: nobody else has got them.
local Pipes = {}

function Pipes:__close()
  for name in pairs(NUMBERS) do
    if self.process[name] then
      self.process[name]:close()
    end
  end
end

local function new_job(p, opts)
  local pieces = {}
  for _, name in ipairs { "stdout", "stderr" } do
    pieces[name] = p[name] and {}
  end
  return setmetatable({ process = p, pieces = pieces, grace = opts.grace or GRACE }, Job)
end

--- Runs a program to its end: gives it the input, collects what it writes, waits
-- until it has ended and its pipes have. Cancelled, or over the time limit, the
-- process gets TERM, and KILL after a grace; what it has started itself is left
-- alone, so have a shell `exec` the last command. Waits.
-- @param opts as for `spawn`, but the streams are pipes if nothing else is said,
--   and nothing is to be read ("null") without an input; and `input`, a string;
--   `timeout` in seconds; `grace` in seconds (5), from TERM to KILL
-- @return table with `code` and `signal`, as `process:wait()` returns them, and
--   what came from pipes: `stdout`, `stderr`; or nil, message, code, and, once the
--   process has begun, such a table with what there is: with ETIMEDOUT for instance
function process.run(opts)
  local args = check_options(opts, "run", RUN)
  local env = environment_of(opts.env, "run")
  if opts.input and opts.stdin ~= nil and opts.stdin ~= "pipe" then
    check.fail(1, "run", "option 'input' needs a pipe for stdin")
  end
  core.check()
  local p, message, code = start(opts, args, env, "run", opts.input and PIPES or OUTPUT)
  if not p then
    return nil, message, code
  end
  local _ <close> = setmetatable({ process = p }, Pipes)
  local job = new_job(p, opts)
  local ok, _, why = core.timeout(opts.timeout or math.huge, job.run, job, opts.input)
  if not ok then
    local text = ("%s: timed out after %g s (run %s)"):format(why, opts.timeout, args[1])
    return nil, text, why, job:result()
  elseif job.failure then
    return nil, job.failure[1], job.failure[2], job:result()
  end
  return job:result()
end

return process
