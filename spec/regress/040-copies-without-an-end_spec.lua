-- A copy of a file that was cut off meanwhile went on for ever, with all of a processor;
-- one to a FIFO waited for a reader, and one of a file in /proc was empty.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local place = require "spec.fs.place"

if not aio.fs then
  return
end

describe("a copy", function()
  it("of a file that is cut off has an end", place.inside(function(dir)
    local file <close> = assert(aio.fs.open(dir .. "/f", "w"))
    assert(file:truncate(100000000))
    local task = aio.spawn(aio.fs.copy, dir .. "/f", dir .. "/g")
    aio.yield()
    assert(file:truncate(0))
    assert.is_true(task:await())
  end))

  it("to a FIFO is refused", place.inside(function(dir)
    place.write(dir .. "/f", "text")
    place.shell("mkfifo " .. dir .. "/fifo")
    local _, _, code = aio.fs.copy(dir .. "/f", dir .. "/fifo")
    assert.equal("ENXIO", code)
  end))

  it("has what a file without a size says", place.inside(function(dir)
    assert.is_true(aio.fs.copy("/proc/self/cmdline", dir .. "/f"))
    assert.equal(aio.fs.read_file "/proc/self/cmdline", aio.fs.read_file(dir .. "/f"))
  end))

  it("of a device without an end fails, and is removed", place.inside(function(dir)
    local _, _, code = aio.fs.copy("/dev/zero", dir .. "/f")
    assert.equal("ELIMIT", code)
    assert.is_false(aio.fs.exists(dir .. "/f"))
  end))

  it("leaves the mode of a device alone", place.inside(function(dir)
    local mode = assert(aio.fs.stat "/dev/null").mode
    place.write(dir .. "/f", "text")
    assert.is_true(aio.fs.copy(dir .. "/f", "/dev/null"))
    assert.equal(mode, aio.fs.stat "/dev/null".mode)
  end))

  it("of a file to itself changes nothing", place.inside(function(dir)
    place.write(dir .. "/f", "text")
    assert.is_true(aio.fs.copy(dir .. "/f", dir .. "/f"))
    assert.equal("text", aio.fs.read_file(dir .. "/f"))
  end))
end)
