-- Waits for open files: cancelled, closed, left to themselves.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local ends = require "spec.net.ends"
local helper = require "spec.helper"
local place = require "spec.fs.place"

local failed, has, raised = helper.failed, helper.has, helper.raised
local fs = aio.fs
local inside = place.inside
local parked, woken = ends.parked, ends.woken

local MUCH <const> = 3 << 20 -- more than what is read at once
local LOT <const> = ("x"):rep(1 << 20) -- a thread needs some time for it

local function text_of(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

-- Calls `fn(file, path)` with an open file that is long enough to be waited
-- for.
local function with(mode, fn)
  return inside(function(dir)
    local path = dir .. "/a"
    assert(os.execute(("truncate -s %d %s"):format(MUCH, path)))
    local file <close> = assert(fs.open(path, mode))
    fn(file, path)
  end)
end

-- A task that waits to write "last", as much is not written yet.
local function writer(file)
  file:write(LOT)
  return file:write "last"
end

describe("opening", function()
  it("is not begun where the task is cancelled", inside(function(dir)
    failed("ETIMEDOUT", aio.timeout(0, fs.open, dir .. "/a", "w"))
    assert.is_false(fs.exists(dir .. "/a"))
  end))

  it("that is cancelled leaves no descriptor", inside(function(dir)
    local before = place.descriptors()
    for _ = 1, helper.many(20) do
      assert.equal("cancelled",
        (place.cancelled(fs.open, dir .. "/a", "w"):peek()))
    end
    assert.equal(before, place.descriptors())
  end))

  it("keeps its result when cancelled after it came", inside(function(dir)
    local task = parked(fs.open, dir .. "/a", "w")
    woken(task):cancel()
    local file <close> = task:await()
    assert(file:write "x")
  end))
end)

describe("a read of a file", function()
  it("consumes nothing when cancelled", with("r", function(file)
    failed("ETIMEDOUT", aio.timeout(0, file.read, file, 1))
    local task = place.cancelled(file.read, file, 1, MUCH)
    assert.equal("cancelled", (task:peek()))
    assert.equal(MUCH, #file:read "a")
  end))

  it("keeps its result when cancelled after it came", inside(function()
    local file <close> = assert(fs.open "/dev/zero")
    local task = parked(file.read, file, 10)
    woken(task):cancel()
    assert.equal(10, #task:await())
  end))

  it("lets others run", with("r", function(file)
    local other = aio.spawn(function() return true end)
    file:read "a"
    assert.equal("ok", (other:peek()))
  end))

  it("is told that the file was closed", with("r", function(file)
    local task = place.during(function() file:close() end, file.read, file, "a")
    failed("ECLOSED", task:await())
  end))

  it("is alone", with("r", function(file)
    local other
    place.during(function()
      local e = raised(file.read, file)
      other = e.code
      assert.equal("EBUSY", raised(file.write, file, "x").code)
      assert.equal("EBUSY", raised(file.seek, file).code)
      has("another task is using this file", e)
    end, file.read, file, MUCH)
    assert.equal("EBUSY", other)
  end))

  it("is named in reports", with("r", function(file, path)
    local what
    place.during(function(task) what = task:info().waiting_on end, file.read,
      file, "a")
    assert.equal("read " .. path, what)
  end))

  it("goes on from where one was left, after a seek", with("r+", function(file)
    file:seek("set", 2 << 20)
    file:write "here"
    file:seek "set"
    place.cancelled(file.read, file, "a")
    file:seek("set", 2 << 20)
    assert.equal("here", file:read(4))
    file:seek("set", MUCH - 1)
    assert.equal("\0", file:read "a")
  end))
end)

describe("a write to a file", function()
  it("is not done when cancelled", with("w", function(file, path)
    failed("ETIMEDOUT", aio.timeout(0, file.write, file, "x"))
    local task = place.cancelled(writer, file)
    assert.equal("cancelled", (task:peek()))
    assert(file:write "end")
    assert(file:close())
    assert.is_true(LOT .. "end" == text_of(path))
  end))

  it("is done when cancelled after it could be", with("w", function(file, path)
    local task = parked(writer, file)
    woken(task):cancel()
    assert.equal(file, task:await())
    assert(file:close())
    assert.is_true(LOT .. "last" == text_of(path))
  end))

  it("is told that the file was closed", with("w", function(file, path)
    local task = place.during(function() file:close() end, writer, file)
    failed("ECLOSED", task:await())
    assert.is_true(LOT == text_of(path))
  end))

  it("does not wait in a callback", with("w", function(file, path)
    aio.loop():call_soon(function()
      file:write(LOT)
      file:write(LOT)
      file:write "end"
      assert.is_true(file:close())
    end):await()
    repeat aio.yield() until #text_of(path) == 2 * #LOT + 3
  end))
end)

describe("an operation on a file", function()
  it("that is cancelled has ended before the wait does",
    with("r+", function(file)
      local task = place.cancelled(file.truncate, file, 5)
      assert.equal("cancelled", (task:peek()))
      assert.equal(5, file:stat().size)
    end))

  it("is left at once while it waits for what was written",
    with("w", function(file)
      local task = place.during(function(task) task:cancel() end, function()
        file:write(LOT)
        file:truncate(0)
      end)
      assert.equal("cancelled", (task:peek()))
      assert.equal(#LOT, file:stat().size)
    end))

  it("is told that the file was closed", with("r+", function(file)
    local task = place.during(function() file:close() end, file.sync, file)
    failed("ECLOSED", task:await())
  end))
end)

describe("closing a file", function()
  it("writes what a cancelled task has written", with("w", function(_, path)
    local task = aio.spawn(function()
      local file <close> = assert(fs.open(path, "w"))
      file:write("kept")
      aio.sleep(math.huge)
    end)
    repeat aio.yield() until task:info().waiting_on == "sleep"
    task:cancel()
    assert.equal("cancelled", task:join() == false and (task:peek()))
    assert.equal("kept", text_of(path))
  end))

  it("twice does not wait for the first time", with("w", function(file, path)
    file:write(LOT)
    local first = place.during(function()
      assert.is_true(file:close())
    end, file.close, file)
    assert.is_true(first:await())
    assert.is_true(LOT == text_of(path))
  end))

  it("is done by a task that is cancelled", with("w", function(file, path)
    local task = place.cancelled(function()
      file:write(LOT)
      return file:close()
    end)
    assert.is_true(task:await())
    assert.is_true(LOT == text_of(path))
  end))

  it("does not wait where nothing was written", with("r", function(file)
    local other = aio.spawn(aio.yield)
    file:close()
    assert.equal("pending", (other:peek()))
  end))

  it("works at top level", helper.bare(function()
    local path = os.tmpname()
    do
      local file <close> = assert(fs.open(path, "w"))
      file:write("one\n", "two")
    end
    local file <close> = assert(fs.open(path))
    assert.equal("one", file:read())
    assert.equal("two", file:read())
    os.remove(path)
  end))
end)

describe("a file that is in use", function()
  -- Runs a program that reads and writes, and has not ended when `code` runs.
  local function program(dir, code)
    assert(os.execute("truncate -s 3M " .. dir .. "/a"))
    return helper.program(([[
      local aio = require "perilune"
      local dir = %q
      local function reads()
        local file <close> = assert(aio.fs.open(dir .. "/a"))
        file:read "a"
      end
      local function writes()
        local file <close> = assert(aio.fs.open(dir .. "/b", "w"))
        for _ = 1, 3 do file:write(("x"):rep(1 << 20)) end
      end
    ]]):format(dir) .. code)
  end

  it("may be collected with its task", inside(function(dir)
    for turns = 0, 5 do
      assert.equal("end\n", program(dir, ([[
        aio.run({ grace = 0, on_error = function() end }, function()
          for _ = 1, 5 do aio.spawn(reads) aio.spawn(writes) end
          for _ = 1, %d do require "perilune.core".poll() aio.yield() end
        end)
        collectgarbage()
        print "end"]]):format(turns)))
    end
  end))

  it("does not keep a state from being closed", inside(function(dir)
    for turns = 0, 5 do
      assert.equal("end\n", program(dir, ([[
        for _ = 1, 5 do aio.spawn(reads) aio.spawn(writes) end
        for _ = 1, %d do aio.sleep(0) end
        print "end"
        os.exit(0, true)]]):format(turns)))
    end
  end))
end)
