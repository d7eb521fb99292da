--- Context: which request is this? Asked from everywhere, passed to nobody.
--
--   lua5.4 examples/context.lua
--
-- Three requests are handled at once. Each goes through a timer, a generator
-- that waits, and tasks it spawns; they take turns at every wait. `audit`
-- takes no argument that says for whom it works, and still knows: the
-- variable `request` follows the work by itself.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

local request = aio.context.var("request", "none")
local steps, order = {}, {}

-- Somewhere deep in a library.
local function audit(what)
  local id = request:get()
  steps[id] = steps[id] or {}
  table.insert(steps[id], what)
  table.insert(order, id)
end

-- Called by the loop, from no task at all.
local function remind(id)
  audit("timer of " .. id)
end

-- A generator that waits between its values. It runs in the context it was
-- made in, whoever asks it for the next one.
local function rows(id)
  return aio.coroutine.wrap(function()
    for row = 1, 2 do
      aio.sleep(0.01)
      audit(("row %d of %s"):format(row, id))
      coroutine.yield(row)
    end
  end)
end

local function look_up(id, part)
  aio.sleep(part / 100)
  audit(("%s, part %d"):format(id, part))
end

local function handle(id)
  audit("begin of " .. id)
  local timer = aio.loop():call_later(0.015, remind, id)
  for _ in rows(id) do
    aio.yield()
  end
  local parts <close> = aio.group()
  for part = 1, 2 do
    parts:spawn(look_up, id, part)
  end
  parts:wait()
  timer:await()
  audit("end of " .. id)
end

local ids = { "red", "green", "blue" }

local function main()
  aio.map(ids, function(id)
    request:with(id, handle, id)
    return true
  end)
end

-- Every step must have found the request that it belongs to.
local function check()
  local changes = 0
  for i = 2, #order do
    changes = changes + (order[i] ~= order[i - 1] and 1 or 0)
  end
  for _, id in ipairs(ids) do
    print(id .. ":")
    for _, what in ipairs(steps[id]) do
      print("  " .. what)
      assert(what:find(id, 1, true), "a step found another's request")
    end
    assert(#steps[id] == 7, "a step is missing")
  end
  assert(request:get() == "none", "a request leaked out")
  print(("%d steps, %d changes of request, none mixed up"):format(#order,
    changes))
end

aio.run(main)
check()
