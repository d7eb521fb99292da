--- A directory for each case, which is removed with all that is in it.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local place = {}

function place.shell(command)
  local pipe <close> = assert(io.popen(command))
  return pipe:read "a"
end

function place.write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

--- How many descriptors this process has, that of the listing included. (A
-- program that is started would see both ends of its pipe, or one.) Waits.
function place.descriptors()
  local n = 0
  for _ in aio.fs.scandir "/proc/self/fd" do n = n + 1 end
  return n
end

--- A function to be given to `it`: runs `fn(directory)`.
function place.inside(fn, opts)
  return helper.real(function()
    local dir = place.shell("mktemp -d"):match "[^\n]+"
    local _ <close> = setmetatable({}, { __close = function()
      os.execute("rm -rf '" .. dir .. "'")
    end })
    fn(dir)
  end, opts)
end

--- Calls `fn` in a task that waits in it when `meanwhile(task)` is called: what
-- a thread does cannot have been noticed then.
-- @return the task, which has ended
function place.during(meanwhile, fn, ...)
  local task = aio.spawn(fn, ...)
  aio.spawn(meanwhile, task):await()
  task:join()
  return task
end

--- The same, and cancels it.
function place.cancelled(fn, ...)
  return place.during(function(task) task:cancel() end, fn, ...)
end

return place
