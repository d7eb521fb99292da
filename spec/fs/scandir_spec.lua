-- What is in a directory.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local place = require "spec.fs.place"

local has, raised = helper.has, helper.raised
local scandir = aio.fs.scandir
local inside = place.inside

-- Names and types, sorted.
local function list(dir)
  local words = {}
  for entry in scandir(dir) do
    words[#words + 1] = entry.name .. ":" .. entry.type
  end
  table.sort(words)
  return table.concat(words, " ")
end

describe("scandir", function()
  it("lists names and types", inside(function(dir)
    assert.equal("", list(dir))
    place.write(dir .. "/.a", "")
    os.execute(("cd %s && mkdir b && mkfifo c && ln -s x d"):format(dir))
    assert.equal(".a:file b:directory c:fifo d:link", list(dir))
  end))

  it("lists many, once each", inside(function(dir)
    os.execute(("cd %s && seq 1000 | xargs touch"):format(dir))
    local seen, n = {}, 0
    for entry in scandir(dir) do
      assert.is_nil(seen[entry.name])
      seen[entry.name], n = true, n + 1
    end
    assert.equal(1000, n)
  end))

  it("raises what goes wrong in the loop, with its code", inside(function(dir)
    local e = raised(list, dir .. "/none")
    assert.equal("ENOENT", e.code)
    has("(scandir " .. dir .. "/none)", e)
    place.write(dir .. "/a", "")
    assert.equal("ENOTDIR", raised(list, dir .. "/a").code)
    has("bad argument #1 to 'scandir'", raised(scandir))
  end))

  it("goes on returning nil after the last", inside(function(dir)
    local listing = scandir(dir)
    assert.is_nil(listing())
    assert.is_nil(listing())
  end))

  it("is closed after the last, early, or when collected", inside(function(dir)
    place.write(dir .. "/a", "")
    local before = place.descriptors()
    list(dir)
    assert.equal(before, place.descriptors())
    do
      local listing <close> = scandir(dir)
      assert.equal("a", listing().name)
      assert.equal(before + 1, place.descriptors())
    end
    assert.equal(before, place.descriptors())
    local function forget() assert.equal("a", scandir(dir)().name) end
    forget()
    repeat
      collectgarbage()
      aio.yield() -- the case's own deadline is the limit
    until place.descriptors() == before
  end))

  it("that is closed cannot be used", inside(function(dir)
    local listing = scandir(dir)
    assert.is_true(listing:close())
    assert.is_true(listing:close())
    assert.equal("ECLOSED", raised(listing).code)
  end))

  it("tells who waits that it was closed", inside(function(dir)
    local listing = scandir(dir)
    local task = place.during(function() listing:close() end, listing)
    local _, e = task:join()
    assert.equal("ECLOSED", e.code)
  end))

  it("is for one task at a time", inside(function(dir)
    place.write(dir .. "/a", "")
    local listing = scandir(dir)
    local first = aio.spawn(listing)
    local second = aio.spawn(pcall, listing)
    assert.equal("a", first:await().name)
    local ok, e = second:await()
    assert.equal("EBUSY", not ok and e.code)
    assert.is_nil(listing())
  end))

  it("loses nothing when it is cancelled", inside(function(dir)
    place.write(dir .. "/a", "")
    local listing = scandir(dir)
    local task = place.cancelled(listing)
    assert.equal("cancelled", (task:peek()))
    assert.equal("a", listing().name)
    assert.is_nil(listing())
  end))

  it("is not begun where the task is cancelled", inside(function(dir)
    helper.failed("ETIMEDOUT", aio.timeout(0, scandir(dir)))
  end))
end)
