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
  -- the outside
  signals = core.subscribe,
  poll = core.poll_fd,
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

-- What needs an outside is there only where the core has one.
if core.tcp then
  later.tcp = "tcp"
  later.unix = "unix"
  later.dns = "dns"
  later.process = "process"
end
if core.udp then
  later.udp = "udp"
end
if core.fs then
  later.fs = "fs"
end

local function load(_, name)
  if not later[name] then return nil end
  local module = require("perilune." .. later[name])
  aio[name] = module[name] or module
  return aio[name]
end

local function load_all()
  for name in pairs(later) do load(aio, name) end
  return next, aio
end

return setmetatable(aio, { __index = load, __pairs = load_all })
