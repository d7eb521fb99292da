-- Waits for files: cancelled, left to themselves, seen in reports.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local ends = require "spec.net.ends"
local helper = require "spec.helper"
local place = require "spec.fs.place"

local failed, has = helper.failed, helper.has
local fs = aio.fs
local inside = place.inside
local parked, woken = ends.parked, ends.woken

describe("a file operation", function()
  it("is not begun where the task is cancelled", inside(function(dir)
    failed("ETIMEDOUT", aio.timeout(0, fs.mkdir, dir .. "/a"))
    assert.is_false(fs.exists(dir .. "/a"))
  end))

  it("that is cancelled has ended before the wait does", inside(function(dir)
    place.write(dir .. "/a", ("x"):rep(1 << 20))
    for _ = 1, helper.many(20) do
      local task = place.cancelled(fs.copy, dir .. "/a", dir .. "/b")
      assert.equal("cancelled", (task:peek()))
      assert.equal(0, aio.loop():stats().requests)
      local there = fs.exists(dir .. "/b")
      assert.is_true(not there or fs.stat(dir .. "/b").size == 1 << 20)
      os.remove(dir .. "/b")
    end
  end))

  it("keeps its result when cancelled after it came", inside(function(dir)
    local task = parked(fs.mkdir, dir .. "/a")
    woken(task):cancel()
    assert.is_true(task:await())
    assert.is_true(fs.exists(dir .. "/a"))
  end))

  it("that is atomic and cancelled leaves nothing", inside(function(dir)
    assert(fs.write_file(dir .. "/a", "old"))
    for _ = 1, helper.many(20) do
      place.cancelled(fs.write_file, dir .. "/a", ("x"):rep(1 << 16),
        { atomic = true })
      assert.equal("a\n", place.shell("ls -A " .. dir))
    end
  end))

  it("is named in reports", inside(function(dir)
    local what
    place.during(function(task) what = task:info().waiting_on end, fs.stat, dir)
    assert.equal("stat " .. dir, what)
  end))

  it("keeps its scope's time", inside(function(dir)
    assert.equal("directory", aio.timeout(10, fs.stat, dir).type)
  end))

  it("is refused in a callback", inside(function(dir)
    local e
    aio.loop():call_soon(function() e = helper.raised(fs.stat, dir) end)
      :await()
    has("callback", e)
  end))

  it("may be collected with the task that it is of", inside(function(dir)
    for _ = 1, 20 do aio.spawn(fs.stat, dir) end
    aio.yield()
    collectgarbage()
  end))
end)

describe("what goes on", function()
  local function program(code)
    return helper.program([[
      local aio = require "perilune"
      local fs = aio.fs
    ]] .. code)
  end

  it("does not keep a state from being closed", function()
    assert.equal("closed\n", program [[
      for i = 1, 100 do
        aio.spawn(function()
          local _ <close> = setmetatable({}, { __close = function(_, e)
            if i == 100 and aio.is_cancelled(e) then print "closed" end
          end })
          fs.read_file "/proc/self/status"
        end)
      end
      aio.sleep(0)
      os.exit(0, true)]])
  end)

  it("is closed with a state, if it was cancelled before", function()
    assert.equal("closed\n", program [[
      local task = aio.spawn(function()
        local _ <close> = setmetatable({}, { __close = function(_, e)
          if aio.is_cancelled(e) then print "closed" end
        end })
        fs.write_file("/dev/null", ("x"):rep(1 << 26))
      end)
      aio.yield()
      task:cancel()
      os.exit(0, true)]])
  end)

  it("ends with a run", function()
    assert.equal("end\n", program [[
      aio.run(function()
        for i = 1, 100 do aio.spawn(fs.stat, "/") end
        aio.yield()
      end)
      print "end"]])
  end)
end)
