-- Open files: read and written in pieces.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local place = require "spec.fs.place"
local testing = require "perilune.testing"

local failed, has, raised = helper.failed, helper.has, helper.raised
local fs = aio.fs
local inside = place.inside

local function text_of(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

-- Calls `fn(file, path)` with an open file that holds `text`.
local function with(text, mode, fn)
  return inside(function(dir)
    place.write(dir .. "/a", text)
    local file <close> = assert(fs.open(dir .. "/a", mode))
    fn(file, dir .. "/a")
  end)
end

describe("open", function()
  it("has the modes of io.open", inside(function(dir)
    for _, mode in ipairs { "w", "w+", "a", "a+b", "r", "r+", "rb" } do
      local file <close> = assert(fs.open(dir .. "/a", mode))
      has("file (" .. dir .. "/a)", tostring(file))
    end
    for _, mode in ipairs { "x", "rw", "", "rbb" } do
      has("bad argument #2 to 'open' (invalid mode; it is",
        raised(fs.open, dir, mode))
    end
    has("bad argument #1 to 'open'", raised(fs.open, nil))
    has("file_spec.lua:", raised(function() fs.open() end))
    has("file_spec.lua:", raised(function() fs.open("x", "rw") end))
  end))

  it("says why it cannot", inside(function(dir)
    local _, message = fs.open(dir .. "/none")
    has("ENOENT: no such file or directory (open " .. dir .. "/none)", message)
    failed("ENOENT", fs.open(dir .. "/none", "r+"))
    failed("EISDIR", fs.open(dir))
    failed("EISDIR", fs.open(dir, "w"))
  end))

  it("has transports for the ends of a FIFO", inside(function(dir)
    local before, path = place.descriptors(), dir .. "/fifo"
    assert(os.execute("mkfifo " .. path))
    do
      local from <close> = assert(fs.open(path))
      local reader = aio.spawn(from.read, from, "a") -- nobody writes so far
      testing.settle()
      assert.equal("pending", (reader:peek()))
      local to <close> = assert(fs.open(path, "w"))
      to:write("one ", "two")
      to:close()
      assert.equal("one two", reader:await())
      from:write "x"
      failed("EBADF", from:flush())
    end
    testing.settle()
    assert.equal(before, place.descriptors())
  end))

  it("can be cancelled in a FIFO", inside(function(dir)
    assert(os.execute("mkfifo " .. dir .. "/fifo"))
    local from <close> = assert(fs.open(dir .. "/fifo"))
    failed("ETIMEDOUT", aio.timeout(0.01, from.read, from, "l"))
    local to <close> = assert(fs.open(dir .. "/fifo", "w"))
    to:write "line\n"
    assert.equal("line", from:read "l")
  end))

  it("says that nobody reads a FIFO", inside(function(dir)
    local before = place.descriptors()
    assert(os.execute("mkfifo " .. dir .. "/fifo"))
    local _, message = fs.open(dir .. "/fifo", "w")
    has("nobody has it open for reading", message)
    failed("ENXIO", fs.open(dir .. "/fifo", "a"))
    assert.equal(before, place.descriptors())
  end))

  it("has transports for terminals and sockets", inside(function(dir)
    do
      local terminal <close> = assert(fs.open("/dev/ptmx", "r+"))
      failed("ETIMEDOUT", aio.timeout(0.01, terminal.read, terminal, "l"))
    end
    local server <close> = assert(aio.unix.listen(dir .. "/socket"))
    local conn <close> = assert(fs.open(dir .. "/socket", "r+"))
    local other <close> = assert(server:accept())
    conn:write "hello\n"
    assert.equal("hello", other:read "l")
  end))

  it("refuses the other direction", with("text", "r", function(file, path)
    failed("EBADF", file:write "x")
    failed("EBADF", file:truncate(0))
    local out <close> = assert(fs.open(path, "w"))
    failed("EBADF", out:read())
  end))
end)

describe("file:read", function()
  local TEXT = "one\ntwo\n\n4 four"

  it("has io's formats", with(TEXT, "r", function(file)
    assert.same({ "one", "two\n", "", "4 f" },
      { file:read("l", "L", "l", 3) })
    assert.equal("our", file:read "*a")
    assert.equal("", file:read "a")
    assert.is_nil(file:read "l")
    assert.is_nil(file:read(1))
    assert.same({ "", nil }, { file:read("a", "l") })
    has("invalid format", raised(file.read, file, "n"))
  end))

  it("has those of transports", with(TEXT, "r", function(file)
    assert.equal("one", file:peek(3))
    assert.equal("on", file:read_some(2))
    assert.equal("e\n", file:read_exactly(2))
    assert.equal("two", file:read_until("\n\n"))
    assert.equal("4 ", file:read_until(" ", { keep = true }))
    local _, _, code, rest = file:read_exactly(10)
    assert.same({ "EOF", "four" }, { code, rest })
    assert.is_nil(file:read_some())
  end))

  it("goes line by line", with(TEXT, "r", function(file)
    local words = {}
    for line in file:lines() do words[#words + 1] = line end
    assert.equal("one,two,,4 four", table.concat(words, ","))
  end))

  it("keeps to the limit of lines", inside(function(dir)
    local line = ("x"):rep(100000)
    place.write(dir .. "/a", line .. "\nrest")
    local file <close> = assert(fs.open(dir .. "/a"))
    failed("ELIMIT", file:read "l")
    local e = raised(file:lines())
    assert.equal("ELIMIT", e.code)
    assert.is_true(line == file:read_until("\n", { limit = 200000 }))
    assert.equal("rest", file:read "l")
  end))

  it("gets the same as io, whatever the pieces are", inside(function(dir)
    local parts = {}
    for i = 1, helper.many(40000) do parts[i] = ("%d "):format(i):rep(i % 23) end
    place.write(dir .. "/a", table.concat(parts, "\n"))
    local mine <close> = assert(fs.open(dir .. "/a"))
    local theirs <close> = assert(io.open(dir .. "/a"))
    repeat
      local n = math.random(4) == 1 and "L" or math.random(1, 200000)
      local got = mine:read(n)
      assert.is_true(got == theirs:read(n))
    until not got
  end))

  it("sees what is added later", with("one\n", "r", function(file, path)
    assert.equal("one", file:read())
    assert(fs.append_file(path, "two\nthr"))
    assert.equal("two", file:read())
    assert.equal("thr", file:read())
    assert.is_nil(file:read())
    assert(fs.append_file(path, "ee"))
    assert.equal("ee", file:read "a")
  end))

  it("reads files that do not know their length", inside(function()
    local file <close> = assert(fs.open "/proc/self/smaps")
    local text = file:read "a"
    assert.is_true(#text > 8192) -- more than is read at once there
    has("[stack]", text)
  end))

  it("needs little memory for much", inside(function(dir)
    assert(os.execute("truncate -s 64M " .. dir .. "/big"))
    local file <close> = assert(fs.open(dir .. "/big"))
    local function resident()
      return tonumber(text_of("/proc/self/statm"):match "%d+ (%d+)") * 4096
    end
    collectgarbage()
    local before, n = resident(), 0
    for data in file:lines(65536) do n = n + #data end
    assert.equal(64 << 20, n)
    if helper.slow == 1 then -- sanitizers keep what was freed
      assert.is_true(resident() - before < 24 << 20)
    end
  end))
end)

describe("file:write", function()
  it("is read by others once it was closed", inside(function(dir)
    local file = assert(fs.open(dir .. "/a", "w"))
    assert.equal(file, file:write("one", 2, "\n"))
    assert.is_true(file:close())
    assert.equal("one2\n", text_of(dir .. "/a"))
    do
      local again <close> = assert(fs.open(dir .. "/a", "w"))
      again:write "new"
    end
    assert.equal("new", text_of(dir .. "/a"))
  end))

  it("leaves by itself when its task waits", with("", "w", function(file, path)
    file:write "x"
    assert.equal("", text_of(path))
    repeat aio.yield() until text_of(path) == "x"
    file:flush():setvbuf "no":write "y"
    repeat until text_of(path) == "xy" -- a thread is at it
    has("bad argument #1 to 'setvbuf'",
      raised(function() file:setvbuf "line" end))
  end))

  it("writes much, in order", inside(function(dir)
    local parts, file = {}, assert(fs.open(dir .. "/a", "w"))
    for i = 1, helper.many(20000) do
      parts[i] = ("%d "):format(i):rep(i % 50)
      assert(file:write(parts[i]))
    end
    local big = ("0123456789"):rep(100000)
    assert(file:write(big, big))
    assert(file:close())
    local text = table.concat(parts) .. big .. big
    assert.is_true(text == text_of(dir .. "/a"))
  end))

  it("appends, whoever else does", with("old ", "a+", function(file, path)
    local other <close> = assert(fs.open(path, "a"))
    assert(file:write "1 ":flush())
    assert(other:write "2 ":flush())
    assert(file:seek "set")
    assert(file:write "3 ")
    assert.equal(10, file:seek())
    assert.equal("", file:read "a")
    assert.equal(0, file:seek "set")
    assert.equal("old 1 2 3 ", file:read "a")
  end))

  it("does what io does, in any order", with("", "w+", function(file, path)
    local theirs <close> = assert(io.open(path .. ".io", "w+"))
    local text = ("0123456789"):rep(20000)
    for _ = 1, helper.many(400) do
      local n = math.random(1, math.random(2) == 1 and 10 or #text)
      local what = math.random(3)
      if what == 1 then
        file:write(text:sub(1, n))
        theirs:write(text:sub(1, n))
      elseif what == 2 then
        theirs:seek "cur"
        assert.is_true(theirs:read(n) == file:read(n))
        theirs:seek "cur"
      else
        assert.equal(theirs:seek("set", n), file:seek("set", n))
      end
    end
    assert.equal(theirs:seek(), file:seek())
    theirs:seek "set"
    file:seek "set"
    assert.is_true(theirs:read "a" == file:read "a")
  end))

  it("says that the disk is full, by close at the latest", inside(function()
    local file = assert(fs.open("/dev/full", "w"))
    assert(file:write "x")
    failed("ENOSPC", file:flush())
    failed("ENOSPC", file:write "y")
    failed("ENOSPC", file:close())
    file = assert(fs.open("/dev/full", "w"))
    assert(file:write "x")
    failed("ENOSPC", file:close())
    assert.is_true(file:close())
  end))

  it("raises that where nobody looks", inside(function()
    local e = raised(function()
      local file <close> = assert(fs.open("/dev/full", "w"))
      file:write "x"
    end)
    assert.equal("ENOSPC", e.code)
    assert.equal("mine", raised(function()
      local file <close> = assert(fs.open("/dev/full", "w"))
      file:write "x"
      error("mine", 0)
    end))
  end))
end)

describe("a file's position", function()
  it("goes anywhere", with("0123456789", "r", function(file)
    assert.equal(10, file:seek "end")
    assert.equal(7, file:seek("cur", -3))
    assert.equal("7", file:read(1))
    assert.equal(8, file:seek())
    assert.equal(2, file:seek("set", 2))
    assert.equal("23", file:read(2))
    failed("EINVAL", file:seek("cur", -5))
    assert.equal(4, file:seek())
    assert.equal(20, file:seek("set", 20))
    assert.is_nil(file:read(1))
    has("bad argument #1 to 'seek'", raised(function() file:seek "to" end))
  end))

  it("may be beyond 4 GiB", with("", "w+", function(file)
    local far = 5 << 30
    assert.equal(far, file:seek("set", far))
    assert(file:write "far")
    assert.equal(far + 3, file:seek "end")
    assert.equal(far - 2, file:seek("cur", -5))
    assert.equal("\0\0far", file:read "a")
    assert.equal(far + 3, file:stat().size)
  end))

  it("stays when the file is cut", with("0123456789", "r+", function(file)
    assert.equal("01", file:read(2))
    assert.equal(file, file:truncate(4))
    assert.equal("23", file:read "a")
    assert.equal(file, file:truncate(6))
    assert.equal("\0\0", file:read "a")
    assert(file:write "x")
    assert.equal(file, file:sync())
    assert.equal(7, file:stat().size)
    has("bad argument #1 to 'truncate' (number expected",
      raised(function() file:truncate() end))
    has("bad argument #1 to 'truncate' (number of bytes",
      raised(function() file:truncate(-1) end))
  end))
end)

describe("a device that cannot be waited for", function()
  it("is read and written as a file without positions", inside(function()
    local zero <close> = assert(fs.open "/dev/zero")
    assert.equal(("\0"):rep(100000), zero:read(100000))
    failed("ESPIPE", zero:seek())
    local null <close> = assert(fs.open("/dev/null", "r+"))
    assert(null:write "x":flush())
    assert.equal("", null:read "a")
    assert.is_nil(null:read())
  end))
end)

describe("a closed file", function()
  it("says so", with("text", "r+", function(file)
    assert.is_true(file:close())
    assert.is_true(file:close())
    assert.equal("file (closed)", tostring(file))
    for _, name in ipairs { "read", "read_some", "write", "flush", "seek",
      "sync", "stat" } do
      failed("ECLOSED", file[name](file))
    end
    failed("ECLOSED", file:truncate(1))
    failed("ECLOSED", file:setvbuf "no")
    assert.equal("ECLOSED", raised(file:lines()).code)
  end))

  it("has given back its descriptor", with("text", "r+", function(file)
    local before = place.descriptors()
    file:read()
    file:write "x"
    file:close()
    assert.equal(before - 1, place.descriptors())
  end))

  it("is one that was collected, with all that was written", inside(function(dir)
    local before = place.descriptors()
    local function forget()
      local file = assert(fs.open(dir .. "/a", "w"))
      for _ = 1, 30 do file:write(("x"):rep(10000)) end
    end
    forget()
    repeat
      collectgarbage()
      aio.yield() -- the case's own deadline is the limit
    until place.descriptors() == before
    assert.equal(300000, fs.stat(dir .. "/a").size)
  end))

  it("is one that a state closes, with all that was written", inside(function(dir)
    assert.equal("", helper.program(([[
      local aio = require "perilune"
      local a = assert(aio.fs.open(%q, "w"))
      for _ = 1, 30 do a:write(("x"):rep(10000)) end
      local b
      aio.run(function()
        b = assert(aio.fs.open(%q, "w"))
        for _ = 1, 30 do b:write(("x"):rep(10000)) end
      end)]]):format(dir .. "/a", dir .. "/b")))
    assert.equal(300000, fs.stat(dir .. "/a").size)
    assert.equal(300000, fs.stat(dir .. "/b").size)
  end))
end)
