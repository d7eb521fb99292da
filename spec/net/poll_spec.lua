-- Waiting for descriptors that are not ours.
--
-- SPDX-License-Identifier: MIT

local Child = require "spec.child"
local aio = require "perilune"
local ends = require "spec.net.ends"
local helper = require "spec.helper"

local failed, has, raised, real = helper.failed, helper.has, helper.raised,
  helper.real
local parked, woken = ends.parked, ends.woken

-- A FIFO, which is open for reading and writing: what is written to it can be
-- read from it.
local function fifo()
  local path = os.tmpname()
  os.remove(path)
  assert(os.execute("mkfifo " .. path))
  local file = assert(io.open(path, "r+"))
  os.remove(path)
  file:setvbuf "no"
  return file
end

-- The same, with as much in it as it takes.
local function full_fifo()
  local file = fifo()
  file:write(("x"):rep(65536))
  return file
end

local function with(make, case)
  return real(function()
    local file <close> = make()
    case(file)
  end)
end

describe("aio.poll", function()
  it("returns at once where something is there", with(fifo, function(file)
    file:write "x"
    assert.equal("r", aio.poll(file, "r"))
    assert.equal("x", file:read(1))
    assert.equal("w", aio.poll(file, "w"))
  end))

  it("waits until something comes", with(fifo, function(file)
    local task = parked(aio.poll, file, "r")
    assert.equal("pending", (task:peek()))
    file:write "x"
    assert.equal("r", task:await())
  end))

  it("waits for either direction", with(full_fifo, function(file)
    assert.equal("r", aio.poll(file, "rw"))
    file:read(65536)
    assert.equal("w", aio.poll(file, "rw"))
    file:write "x"
    assert.equal("rw", aio.poll(file, "rw"))
  end))

  it("serves both directions by one watcher", with(full_fifo, function(file)
    local before = aio.loop():stats().handles
    local writer = parked(aio.poll, file, "w")
    assert.equal(before + 1, aio.loop():stats().handles)
    assert.equal("r", aio.poll(file, "r"))
    assert.equal(before + 1, aio.loop():stats().handles)
    assert.equal("pending", (writer:peek()))
    file:read(65536)
    assert.equal("w", writer:await())
  end))

  it("wakes all who wait for the same", with(fifo, function(file)
    local one = parked(aio.poll, file, "r")
    local two = parked(aio.poll, file, "r")
    file:write "x"
    assert.equal("r", one:await())
    assert.equal("r", two:await())
  end))

  it("that is cancelled leaves others waiting", with(fifo, function(file)
    local one = parked(aio.poll, file, "r")
    local two = parked(aio.poll, file, "r")
    one:cancel()
    one:join()
    assert.equal("cancelled", (one:peek()))
    file:write "x"
    assert.equal("r", two:await())
    file:read(1)
    failed("ETIMEDOUT", aio.timeout(0.01, aio.poll, file, "r"))
    failed("ETIMEDOUT", aio.timeout(0, aio.poll, file, "w"))
  end))

  it("cancelled after it was woken keeps what it got", with(fifo,
    function(file)
      local task = parked(aio.poll, file, "r")
      file:write "x"
      woken(task):cancel()
      assert.equal("r", task:await())
    end))

  it("counts the end of a stream as ready", real(function()
    local pipe <close> = assert(io.popen("exec cat", "w"))
    local other <close> = assert(io.popen("true", "r"))
    assert.equal("r", aio.poll(other, "r"))
    assert.equal("w", aio.poll(pipe, "w"))
  end))

  it("leaves the descriptor blocking, as it was", real(function()
    local pipe <close> = assert(io.popen("sleep 0.05; echo late", "r"))
    failed("ETIMEDOUT", aio.timeout(0.01, aio.poll, pipe, "r"))
    assert.equal("late", pipe:read "l")
  end))

  it("takes numbers", real(function()
    failed("EBADF", aio.poll(987, "r"))
    has("poll 987", select(2, aio.poll(987, "r")))
  end))

  it("can be used again for a number that means another file",
    real(function()
      for _ = 1, 3 do
        local file = fifo()
        failed("ETIMEDOUT", aio.timeout(0.005, aio.poll, file, "r"))
        file:write "x"
        assert.equal("r", aio.poll(file, "r"))
        file:close()
      end
    end))

  it("says that a file on a disk cannot be waited for", real(function()
    local file <close> = assert(io.open("README.md"))
    failed("EPERM", aio.poll(file, "r"))
  end))

  it("ends at the end of the run", function()
    local child <close> = Child.code [[
      local aio = require "perilune"
      local pipe = io.popen("exec sleep 5 2>&1", "r")
      local ok, e = pcall(aio.run, { grace = 0 }, function()
        aio.spawn(function() print(aio.shield(9, aio.poll, pipe, "r")) end)
        aio.yield()
      end)
      print(ok, e)
      os.exit(0)]]
    has("true\tnil", (child:finish()))
  end)

  it("works at top level", helper.bare(function(clock)
    clock:close()
    local file <close> = fifo()
    file:write "x"
    assert.equal("r", aio.poll(file, "r"))
    aio.sleep(0)
  end))

  it("refuses wrong arguments", function()
    has("bad argument #1", raised(aio.poll))
    has("Lua file, expected, got -1", raised(aio.poll, -1, "r"))
    has("number of a descriptor, or a Lua file, expected, got string",
      raised(aio.poll, "stdin", "r"))
    has("bad argument #2", raised(aio.poll, 0))
    has("bad argument #2", raised(aio.poll, 0, "x"))
    local file = io.open "README.md"
    file:close()
    has("closed file", raised(aio.poll, file, "r"))
  end)
end)
