-- Processes, wherever somebody is cancelled: each gives what it was given, or is
-- ended; none is left.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

if not aio.process then
  return
end

local explore = helper.explore
local run, spawn = aio.process.run, aio.process.spawn

local function is_there(pid)
  local file = io.open(("/proc/%d/stat"):format(pid))
  return file ~= nil and file:close()
end

-- A process that is ended, and its pipes closed, at the end of the block.
local function held(p)
  return setmetatable({}, { __close = function()
    p.stdin:close()
    p.stdout:close()
    aio.shield(math.huge, function()
      p:kill "KILL"
      p:wait()
    end)
  end })
end

describe("processes", function()
  explore("that are run give their output, or none are left", {
    cancel = "body",
    outside = true,
    scenario = function(s)
      s.outputs = {}
      aio.group(nil, function(g)
        for i = 1, 2 do
          g:spawn(function()
            local r = assert(run { "cat", input = "input " .. i })
            s.outputs[i] = r.stdout
          end)
        end
        g:spawn(function()
          s.code = assert(run { "sh", "-c", "exit 7" }).code
        end)
      end)
    end,
    invariant = function(s, r)
      for i = 1, 2 do
        local output = s.outputs[i]
        assert(output == "input " .. i or r.cancelled and not output)
      end
      assert(s.code == 7 or r.cancelled and not s.code)
    end,
  })

  explore("answer by their pipes, and end once for all who wait", {
    cancel = "both",
    outside = true,
    scenario = function(s)
      s.lines, s.ends = {}, {}
      local p = assert(spawn { "cat", stdin = "pipe", stdout = "pipe" })
      s.pid = p.pid
      local _ <close> = held(p)
      aio.group(nil, function(g)
        for i = 1, 2 do
          g:spawn(function() s.ends[i] = p:wait() end)
        end
        g:spawn(function()
          for i = 1, 2 do
            p.stdin:write(i, "\n")
            s.lines[i] = p.stdout:read "l"
          end
        end):join()
        p.stdin:close()
      end)
    end,
    invariant = function(s, r)
      for i = 1, 2 do
        assert(s.lines[i] == tostring(i) or r.cancelled and not s.lines[i])
        assert(s.ends[i] == 0 or r.cancelled and (not s.ends[i] or s.ends[i] == 137))
      end
      assert(not s.pid or not is_there(s.pid))
    end,
  })

  explore("over their time are ended, and say what they can", {
    cancel = "body",
    outside = true,
    scenario = function(s)
      local r, _, code, partial = run { "sh", "-c", "echo $$; exec cat",
        stdin = "pipe", timeout = 0 }
      s.code, s.partial = code, not r and partial
    end,
    invariant = function(s, r)
      assert(s.code == "ETIMEDOUT" or r.cancelled and not s.code)
      assert(not s.partial or s.partial.signal == "TERM")
    end,
  })
end)
