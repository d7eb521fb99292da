--- perilune: an async runtime for Lua 5.4.
--
-- The public names, gathered from the core (C) and one module per subject.
--
-- SPDX-License-Identifier: MIT

local core = require "perilune.core"
local run = require "perilune.run"

local aio = {
  -- running
  run = run.run,
  spawn = core.spawn,
  sleep = core.sleep,
  yield = core.yield,
  check = core.check,
  await = core.await,
  task = core.task,
  now = core.now,
  on_close = run.on_close,
  coroutine = core.coroutine,
  patch = run.patch,
  -- errors
  pcall = core.pcall,
  is_cancelled = core.is_cancelled,
  traceback = core.traceback,
  -- futures
  future = core.future,
  is_awaitable = core.is_awaitable,
  -- cancellation
  timeout = core.timeout,
  scope = core.scope,
  shield = core.shield,
  time_left = core.time_left,
  -- time and frames that a program makes
  clock = core.clock,
  signal = core.signal,
  next_frame = core.next_frame,
  -- between tasks
  lock = core.lock,
  semaphore = core.semaphore,
  event = core.event,
  condition = core.condition,
  barrier = core.barrier,
  channel = core.channel,
  select = core.select,
  -- context
  context = core.context,
}

--- The loop of this Lua state. Never waits.
-- @return the loop object
function aio.loop()
  return core.loop
end

-- The modules of these are loaded when first asked for, so that a program
-- starts without those that it does not use.
local later = {
  -- scopes of several tasks
  group = "group",
  -- several at once
  all = "many",
  map = "many",
  race = "many",
  wait = "many",
  as_completed = "many",
  -- ticks
  every = "every",
  -- seeing
  tree = "tree",
}

-- The outside. These are there where the core has them, which a host may open
-- at any time.
local outside = {
  tcp = "tcp",
  unix = "unix",
  udp = "udp",
  dns = "dns",
  fs = "fs",
  process = "process",
  signals = "subscribe",
  poll = "poll_fd",
  stdin = "stdio",
  stdout = "stdio",
  stderr = "stdio",
  tty = "tty",
}

local function fetch(name)
  local from = later[name] or outside[name]
  if not later[name] and type(core[from]) ~= "table" then
    return core[from]
  end
  local module = require("perilune." .. from)
  return module[name] or module
end

local function load(_, name)
  if later[name] or outside[name] then
    aio[name] = fetch(name)
  end
  return rawget(aio, name)
end

local function load_all()
  for name in pairs(later) do load(aio, name) end
  for name in pairs(outside) do load(aio, name) end
  return next, aio
end

return setmetatable(aio, { __index = load, __pairs = load_all })
