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

describe("a recursive scandir", function()
  local DEEP = { recursive = true }

  -- The paths below `dir`, as they come, or sorted.
  local function below(dir, sorted)
    local paths = {}
    for entry in scandir(dir, DEEP) do
      paths[#paths + 1] = entry.path:sub(#dir + 2) .. ":" .. entry.type
    end
    if sorted then table.sort(paths) end
    return table.concat(paths, " ")
  end

  it("lists what is in directories, after their entries", inside(function(dir)
    assert.equal("", below(dir))
    assert(os.execute(("mkdir -p %s/a/b/c/d"):format(dir)))
    assert.equal("a:directory a/b:directory a/b/c:directory a/b/c/d:directory",
      below(dir))
    for entry in scandir(dir .. "/", DEEP) do
      assert.equal(dir .. "/a", entry.path:sub(1, #dir + 2))
    end
    place.write(dir .. "/a/b/x", "")
    os.execute(("cd %s && ln -s .. a/up && ln -s . self"):format(dir))
    assert.equal("a/b/c/d:directory a/b/c:directory a/b/x:file a/b:directory "
      .. "a/up:link a:directory self:link", below(dir, true))
  end))

  it("has few directories open, and closes them", inside(function(dir)
    os.execute(("cd %s && for i in 1 2 3 4 5 6 7 8; do mkdir -p $i/a/b; done")
      :format(dir))
    local before, most, n = place.descriptors(), 0, 0
    for _ in scandir(dir, DEEP) do
      n, most = n + 1, math.max(most, place.descriptors())
    end
    assert.equal(24, n)
    assert.is_true(most - before <= 3)
    assert.equal(before, place.descriptors())
    do
      local tree <close> = scandir(dir, DEEP)
      for _ = 1, 4 do tree() end
      assert.is_true(place.descriptors() > before)
    end
    assert.equal(before, place.descriptors())
  end))

  it("goes on behind what cannot be read", inside(function(dir)
    os.execute(("cd %s && mkdir a && touch a/x"):format(dir))
    local tree = scandir(dir, DEEP)
    assert.equal("a", tree().name)
    os.execute(("cd %s && rm -r a && touch a && touch b"):format(dir))
    local e = raised(tree)
    assert.equal("ENOTDIR", e.code)
    assert.is_nil(tree())
    assert.equal("ENOENT", raised(scandir(dir .. "/none", DEEP)).code)
  end))

  it("leaves out a directory that is gone", inside(function(dir)
    os.execute("mkdir " .. dir .. "/a")
    local tree = scandir(dir, DEEP)
    assert.equal("a", tree().name)
    os.execute("rmdir " .. dir .. "/a")
    assert.is_nil(tree())
    assert.is_nil(tree())
  end))

  it("is for one task at a time, and loses nothing", inside(function(dir)
    os.execute("mkdir -p " .. dir .. "/a/b")
    local tree = scandir(dir, DEEP)
    assert.equal("a", tree().name)
    local first, second = aio.spawn(tree), aio.spawn(pcall, tree)
    assert.equal("b", first:await().name)
    local _, e = second:await()
    assert.equal("EBUSY", e.code)
    assert.equal("cancelled", (place.cancelled(tree):peek()))
    assert.is_nil(tree())
    assert.is_true(tree:close())
    assert.equal("ECLOSED", raised(tree).code)
  end))

  it("has its options checked", inside(function(dir)
    has("bad argument #2 to 'scandir' (unknown option 'deep'",
      raised(scandir, dir, { deep = true }))
    has("bad argument #2 to 'scandir' (option 'recursive' must be a boolean",
      raised(scandir, dir, { recursive = 1 }))
    has("scandir_spec.lua:", raised(function() scandir(dir, 1) end))
    has("call it with ':'", raised(scandir(dir, DEEP).close))
  end))
end)
