-- A finalizer, or a metamethod of the options, that closed what an operation of the
-- same task worked on: memory that was freed was read (files, listings), an
-- assertion failed (transports).
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local place = require "spec.fs.place"

if not aio.fs then
  return
end

-- The finalizer comes within some of so many operations.
local ROUNDS, USES = 50, 200

-- Has `object` closed by a finalizer at one of the next allocations.
local function abandon(object)
  local function make()
    return setmetatable({}, { __gc = function() object:close() end })
  end
  return make() and nil
end

-- Calls `use(object)` again and again, while it returns something.
local function abandoned(make, use)
  local mode = collectgarbage("incremental", 10, 1000, 4)
  for _ = 1, ROUNDS do
    local object = assert(make())
    abandon(object)
    local uses = 0
    while uses < USES and use(object) do uses = uses + 1 end
    object:close()
  end
  collectgarbage(mode, 200, 100, 13)
end

local function lines(n)
  local list = {}
  for i = 1, n do list[i] = ("%05d, none as the others"):format(i) end
  return table.concat(list, "\n") .. "\n"
end

describe("what is closed while an operation makes its results", function()
  it("is a file that is read", place.inside(function(dir)
    place.write(dir .. "/f", lines(2000))
    abandoned(function() return aio.fs.open(dir .. "/f") end, function(file)
      return (file:read("l", "l", "l"))
    end)
  end))

  it("is a file that is looked at", place.inside(function(dir)
    abandoned(function() return aio.fs.open(dir .. "/f", "w") end, function(file)
      return file:stat()
    end)
  end))

  it("is a file that is written", place.inside(function(dir)
    abandoned(function() return aio.fs.open(dir .. "/f", "w") end, function(file)
      return file:write(0.5 + collectgarbage "count", 0.25 + collectgarbage "count")
    end)
  end))

  it("is a listing", place.inside(function(dir)
    for i = 1, 30 do place.write(dir .. "/" .. i, "") end
    abandoned(function() return aio.fs.scandir(dir) end, function(listing)
      local ok, entry = pcall(listing)
      return ok and entry
    end)
  end))

  it("is a transport that is read", helper.real(function()
    local function make()
      local conn, peer <close> = aio.unix.pair()
      return peer:write(lines(500)) and conn
    end
    abandoned(make, function(conn) return (conn:read("l", "l", "l")) end)
  end))
end)

describe("options that close what they are for", function()
  local function closing(object)
    return setmetatable({}, { __index = function() object:close() end })
  end

  it("end a read of a file", place.inside(function(dir)
    place.write(dir .. "/f", "text")
    local file = aio.fs.open(dir .. "/f")
    local _, _, code = file:read_until("x", closing(file))
    assert.equal("ECLOSED", code)
  end))

  it("end a read of a transport", helper.real(function()
    local conn, peer <close> = aio.unix.pair()
    assert(peer:write "text")
    local _, _, code = conn:read_until("x", closing(conn))
    assert.equal("ECLOSED", code)
  end))
end)
