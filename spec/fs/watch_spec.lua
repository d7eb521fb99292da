-- What is told of changes to files.
--
-- SPDX-License-Identifier: MIT

local Child = require "spec.child"
local aio = require "perilune"
local ends = require "spec.net.ends"
local helper = require "spec.helper"
local place = require "spec.fs.place"

local has, inside, parked, raised = helper.has, place.inside, ends.parked,
  helper.raised
local fs, write = aio.fs, place.write

-- The next event, as a word.
local function next_of(watch)
  local event = watch()
  return event and event.kind .. ":" .. tostring(event.name)
end

-- Events up to one of that name, joined.
local function up_to(watch, word)
  local log = helper.log()
  repeat
    local got = next_of(watch)
    log(got)
  until not got or got == word
  return log:text()
end

-- What is there, without waiting for more.
local function at_hand(watch)
  local log = helper.log()
  ends.turn(2)
  local got = aio.timeout(0.01, next_of, watch)
  while got do
    log(got)
    got = aio.timeout(0.01, next_of, watch)
  end
  return log:text()
end

describe("aio.fs.watch", function()
  it("tells what comes, changes and goes, by name", inside(function(dir)
    local watch <close> = assert(fs.watch(dir))
    write(dir .. "/a", "1")
    assert.equal("rename:a change:a", up_to(watch, "change:a"))
    os.rename(dir .. "/a", dir .. "/b")
    assert.equal("rename:a rename:b", up_to(watch, "rename:b"))
    os.remove(dir .. "/b")
    assert.equal("rename:b", next_of(watch))
    assert.equal("", at_hand(watch))
  end))

  it("wakes who waits", inside(function(dir)
    local watch <close> = assert(fs.watch(dir))
    local task = parked(next_of, watch)
    write(dir .. "/a", "")
    assert.equal("rename:a", task:await())
  end))

  it("watches a file, and follows it", inside(function(dir)
    local path = dir .. "/a"
    write(path, "1")
    local watch <close> = assert(fs.watch(path))
    write(path, "2")
    assert.equal("change:a", at_hand(watch))
    os.rename(path, dir .. "/b")
    assert.equal("rename:a", at_hand(watch))
    write(dir .. "/b", "3")
    assert.equal("change:a", at_hand(watch))
  end))

  it("has equal ones in a row once", inside(function(dir)
    write(dir .. "/a", "")
    local watch <close> = assert(fs.watch(dir))
    for _ = 1, 3 do
      write(dir .. "/a", "1")
      ends.turn(2)
    end
    assert.equal("change:a", at_hand(watch))
  end))

  it("is a loop that ends when it is closed", inside(function(dir)
    local log = helper.log()
    local watch = assert(fs.watch(dir))
    local task = parked(function()
      for event in watch do
        log(event.name)
      end
      log "end"
    end)
    write(dir .. "/a", "")
    ends.turn(3)
    assert.is_true(watch:close())
    task:await()
    assert.equal("a end", log:text())
    helper.values({ n = 0 }, watch())
    assert.is_true(watch:close())
  end))

  it("forgets at its close what nobody has taken", inside(function(dir)
    local watch = assert(fs.watch(dir))
    write(dir .. "/a", "1")
    ends.turn(2)
    watch:close()
    helper.values({ n = 0 }, watch())
  end))

  it("reaches all who watch", inside(function(dir)
    local one <close> = assert(fs.watch(dir))
    local two <close> = assert(fs.watch(dir))
    local first, second = parked(next_of, one), parked(next_of, two)
    write(dir .. "/a", "")
    assert.equal("rename:a", first:await())
    assert.equal("rename:a", second:await())
  end))

  it("goes on while another watch of it is closed", inside(function(dir)
    local one, two <close> = assert(fs.watch(dir)), assert(fs.watch(dir))
    one:close()
    write(dir .. "/a", "")
    assert.equal("rename:a", next_of(two))
  end))

  it("loses nothing when a wait is cancelled", inside(function(dir)
    local watch <close> = assert(fs.watch(dir))
    helper.failed("ETIMEDOUT", aio.timeout(0.01, watch))
    write(dir .. "/a", "")
    helper.failed("ETIMEDOUT", aio.timeout(0, watch))
    assert.equal("rename:a", next_of(watch))
  end))

  it("keeps what came before the cancel, or the close", inside(function(dir)
    local watch = assert(fs.watch(dir))
    local task = parked(next_of, watch)
    write(dir .. "/a", "")
    ends.woken(task):cancel()
    assert.equal("rename:a", task:await())
    task = parked(next_of, watch)
    os.remove(dir .. "/a")
    ends.woken(task)
    watch:close()
    assert.equal("rename:a", task:await())
    helper.values({ n = 0 }, watch())
  end))

  it("has one task wait", inside(function(dir)
    local watch <close> = assert(fs.watch(dir))
    local task = parked(watch)
    has("EBUSY", raised(watch))
    task:cancel()
    ends.turn()
    task = parked(next_of, watch)
    write(dir .. "/a", "")
    assert.equal("rename:a", task:await())
  end))

  it("is closed when nobody holds it", inside(function(dir)
    local before = aio.loop():stats().handles
    fs.watch(dir)
    collectgarbage()
    ends.turn(2)
    assert.equal(before, aio.loop():stats().handles)
  end))

  it("is closed by a finalizer while an event is taken", inside(function(dir)
    local watch = assert(fs.watch(dir))
    write(dir .. "/a", "")
    write(dir .. "/b", "")
    ends.turn(2)
    for _ = 1, 100 do
      setmetatable({}, { __gc = function() watch:close() end })
    end
    local _ <close> = setmetatable({}, {
      __close = function() collectgarbage("setpause", 200) end })
    collectgarbage("setpause", 0)
    local got = next_of(watch)
    assert.is_true(not got or got == "rename:a")
    watch:close()
    helper.values({ n = 0 }, watch())
  end))

  it("ends with the run", function()
    local watch
    helper.run(function()
      watch = assert(fs.watch ".")
    end)
    helper.run(function()
      helper.values({ n = 0 }, watch())
    end)
  end)

  it("keeps no program alive that waits for something else", function()
    assert.equal("EDEADLK\ntrue\n", helper.program [[
      local aio = require "perilune"
      local watch <close> = aio.fs.watch "."
      print(select(2, pcall(aio.run, function() aio.future():await() end)).code)
      print(aio.run(function()
        return select(3, aio.timeout(0.01, watch)) == "ETIMEDOUT"
      end))]])
  end)

  it("survives the end of the Lua state", inside(function(dir)
    local child <close> = Child.code(([[
      local aio = require "perilune"
      local watch = aio.fs.watch "%s"
      local task = aio.spawn(function() for _ in watch do end end)
      io.open("%s/a", "w"):close()
      aio.sleep(0.001)
      io.open("%s/b", "w"):close()
      print "end"
      os.exit(0, true)]]):format(dir, dir, dir))
    local out, status = child:finish()
    assert.equal("end\n", out)
    assert.equal(0, status)
  end))

  it("says what is wrong", inside(function(dir)
    helper.failed("ENOENT", fs.watch(dir .. "/none"))
    has("(watch " .. dir .. "/none)", (select(2, fs.watch(dir .. "/none"))))
    has("bad argument #1 to 'watch' (string expected", raised(fs.watch))
    has("bad argument #2 to 'watch' (unknown option 'size')",
      raised(fs.watch, dir, { size = 1 }))
    has("option 'limit' must be a positive integer",
      raised(fs.watch, dir, { limit = 0 }))
    has("table expected", raised(fs.watch, dir, 7))
  end))
end)

describe("a system that watches no more", function()
  -- What `fs.watch` says where the limit of that name is so many.
  local function limited(name, n)
    local out, why = ends.namespace(("echo %d >/proc/sys/user/%s"):format(n, name), [[
      local one <close> = aio.fs.watch "/tmp"
      print((select(2, aio.fs.watch "/")))
      aio.sleep(0)
      print(one and aio.loop():stats().handles)]])
    if not out then
      pending(why)
    end
    return out
  end

  it("is an error that names the limit: watches", function()
    local out = limited("max_inotify_watches", 1)
    if out then
      assert.equal("ENOSPC: no space left on device (watch /: fs.inotify.max_user_watches)\n1\n",
        out)
    end
  end)

  it("is an error that names the limit: instances", function()
    local out = limited("max_inotify_instances", 0)
    if out then
      has("EMFILE: too many open files (watch /: or fs.inotify.max_user_instances)\nnil\n", out)
    end
  end)
end)

describe("more than a watch can keep", function()
  it("is one event, after those that were kept", inside(function(dir)
    local watch <close> = assert(fs.watch(dir, { limit = 3 }))
    for i = 1, 5 do
      fs.mkdir(dir .. "/" .. i)
    end
    assert.equal("rename:1 rename:2 rename:3 overflow:nil", at_hand(watch))
    fs.rmdir(dir .. "/3")
    assert.equal("rename:3", at_hand(watch))
  end))

  -- The system's queue is full: libuv does not tell.
  it("is told by all watches of the loop", inside(function(dir)
    local one <close> = assert(fs.watch(dir))
    fs.mkdir(dir .. "/other")
    local other <close> = assert(fs.watch(dir .. "/other"))
    local a <close> = assert(io.open(dir .. "/a", "w"))
    local b <close> = assert(io.open(dir .. "/b", "w"))
    a:setvbuf "no"
    b:setvbuf "no"
    for _ = 1, 10000 do
      a:write "x"
      b:write "x"
    end
    fs.mkdir(dir .. "/other/lost")
    has("overflow:nil", at_hand(one))
    has("overflow:nil", at_hand(other))
    write(dir .. "/c", "")
    assert.equal("rename:c", at_hand(one))
  end))
end)
