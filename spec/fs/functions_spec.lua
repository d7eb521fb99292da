-- Files and directories by their names.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local place = require "spec.fs.place"

local failed, has, raised = helper.failed, helper.has, helper.raised
local fs = aio.fs
local inside = place.inside

local function text_of(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

describe("read_file", function()
  it("returns all of a file", inside(function(dir)
    local text = ("line\0\n"):rep(50000)
    place.write(dir .. "/a", text)
    assert.is_true(text == fs.read_file(dir .. "/a"))
    place.write(dir .. "/empty", "")
    assert.equal("", fs.read_file(dir .. "/empty"))
  end))

  it("reads files that do not know their length", inside(function()
    has("Name:", assert(fs.read_file "/proc/self/status"))
    assert.equal("", fs.read_file "/dev/null")
  end))

  it("gives up on a device that does not end", inside(function()
    failed("ELIMIT", fs.read_file "/dev/zero")
  end))

  it("says what is not there", inside(function(dir)
    local got, why, code = fs.read_file(dir .. "/none")
    assert.is_nil(got)
    assert.equal("ENOENT: no such file or directory (read_file " .. dir
      .. "/none)", why)
    assert.equal("ENOENT", code)
    failed("EISDIR", fs.read_file(dir))
  end))

  it("does not hang on a FIFO", inside(function(dir)
    assert(os.execute("mkfifo " .. dir .. "/fifo"))
    failed("ESPIPE", fs.read_file(dir .. "/fifo"))
    failed("ESPIPE", fs.copy(dir .. "/fifo", dir .. "/b"))
    failed("ENXIO", fs.write_file(dir .. "/fifo", "x"))
    failed("ESPIPE", fs.write_file(dir .. "/fifo", "x", { atomic = true }))
  end))

  it("lets others run", inside(function(dir)
    place.write(dir .. "/a", "x")
    local other = false
    aio.spawn(function() other = true end)
    fs.read_file(dir .. "/a")
    assert.is_true(other)
  end))

  it("works at top level", helper.bare(function()
    assert.is_string(fs.read_file "/proc/self/status")
  end))

  it("many at once", inside(function(dir)
    place.write(dir .. "/a", ("x"):rep(1000))
    local n, many = 0, helper.many(100)
    aio.group(nil, function(g)
      for _ = 1, many do
        g:spawn(function()
          local text = assert(fs.read_file(dir .. "/a"))
          n = n + #text
        end)
      end
    end)
    assert.equal(1000 * many, n)
  end))
end)

describe("write_file", function()
  it("makes a file, or replaces what is in it", inside(function(dir)
    assert.is_true(fs.write_file(dir .. "/a", "long text"))
    assert.is_true(fs.write_file(dir .. "/a", "x\0y"))
    assert.equal("x\0y", text_of(dir .. "/a"))
    assert.is_true(fs.write_file(dir .. "/a", 12))
    assert.equal("12", text_of(dir .. "/a"))
  end))

  it("writes much", inside(function(dir)
    local text = ("0123456789abcdef"):rep(200000)
    assert(fs.write_file(dir .. "/a", text))
    assert.is_true(text == text_of(dir .. "/a"))
  end))

  it("says that the disk is full", inside(function()
    failed("ENOSPC", fs.write_file("/dev/full", "x"))
  end))

  it("appends", inside(function(dir)
    assert.is_true(fs.append_file(dir .. "/a", "x"))
    assert.is_true(fs.append_file(dir .. "/a", "y"))
    assert.equal("xy", text_of(dir .. "/a"))
  end))
end)

describe("an atomic write_file", function()
  local ATOMIC = { atomic = true }

  it("replaces the file, and leaves nothing else", inside(function(dir)
    assert(fs.write_file(dir .. "/a", "old"))
    local old <close> = assert(io.open(dir .. "/a"))
    assert.is_true(fs.write_file(dir .. "/a", "new", ATOMIC))
    assert.equal("old", old:read "a")
    assert.equal("new", text_of(dir .. "/a"))
    assert.equal("a\n", place.shell("ls -A " .. dir))
  end))

  it("makes the file", inside(function(dir)
    assert.is_true(fs.write_file(dir .. "/a", "new", ATOMIC))
    assert.equal("new", text_of(dir .. "/a"))
    failed("ENOENT", fs.write_file(dir .. "/no/a", "x", ATOMIC))
  end))

  it("keeps mode and link", inside(function(dir)
    assert(fs.write_file(dir .. "/a", "old"))
    assert(fs.chmod(dir .. "/a", 384))
    assert(fs.symlink("a", dir .. "/l"))
    assert(fs.write_file(dir .. "/l", "new", ATOMIC))
    assert.equal("new", text_of(dir .. "/a"))
    assert.equal(384, fs.stat(dir .. "/a").mode)
    assert.equal("a", fs.readlink(dir .. "/l"))
  end))

  it("refuses what is no file", inside(function(dir)
    failed("EISDIR", fs.write_file(dir, "x", ATOMIC))
    failed("ESPIPE", fs.write_file("/dev/null", "x", ATOMIC))
    assert.equal("", place.shell("ls -A " .. dir))
  end))
end)

describe("stat", function()
  it("tells type, size, mode and times", inside(function(dir)
    place.write(dir .. "/a", "12345")
    assert(fs.chmod(dir .. "/a", 416))
    assert(fs.utime(dir .. "/a", 1000.5, 2000.25))
    local st = fs.stat(dir .. "/a")
    assert.same({ "file", 5, 416, 1000.5, 2000.25, 1 },
      { st.type, st.size, st.mode, st.atime, st.mtime, st.nlink })
    assert.equal("directory", fs.stat(dir).type)
    assert.equal("char", fs.stat("/dev/null").type)
    failed("ENOENT", fs.stat(dir .. "/b"))
    failed("ENOTDIR", fs.stat(dir .. "/a/b"))
  end))

  it("follows links, and lstat does not", inside(function(dir)
    place.write(dir .. "/a", "12345")
    assert(fs.symlink("a", dir .. "/l"))
    assert.equal("file", fs.stat(dir .. "/l").type)
    assert.equal("link", fs.lstat(dir .. "/l").type)
    failed("ENOENT", fs.lstat(dir .. "/b"))
  end))

  it("knows sizes of more than 32 bits", inside(function(dir)
    assert(os.execute("truncate -s 5G " .. dir .. "/big"))
    assert.equal(5 << 30, fs.stat(dir .. "/big").size)
  end))

  it("is not needed to ask whether there is one", inside(function(dir)
    place.write(dir .. "/a", "")
    assert(fs.symlink("nowhere", dir .. "/l"))
    assert.is_true(fs.exists(dir .. "/a"))
    assert.is_false(fs.exists(dir .. "/b"))
    assert.is_false(fs.exists(dir .. "/a/b"))
    assert.is_false(fs.exists(dir .. "/l"))
    failed("ENAMETOOLONG", fs.exists(dir .. ("/x"):rep(5000)))
  end))

  it("utime sets now without times", inside(function(dir)
    place.write(dir .. "/a", "")
    assert(fs.utime(dir .. "/a", 1000))
    assert.equal(1000, fs.stat(dir .. "/a").mtime)
    assert(fs.utime(dir .. "/a"))
    assert.is_true(math.abs(fs.stat(dir .. "/a").mtime - os.time()) < 60)
  end))
end)

describe("names", function()
  it("directories are made and removed", inside(function(dir)
    assert.is_true(fs.mkdir(dir .. "/d", 448))
    assert.equal(448, fs.stat(dir .. "/d").mode)
    failed("EEXIST", fs.mkdir(dir .. "/d"))
    assert.is_true(fs.mkdir(dir .. "/d/e"))
    failed("ENOTEMPTY", fs.rmdir(dir .. "/d"))
    assert.is_true(fs.rmdir(dir .. "/d/e"))
    assert.is_true(fs.rmdir(dir .. "/d"))
  end))

  it("temporary directories have names of their own", inside(function(dir)
    local a = assert(fs.mkdtemp(dir .. "/t-XXXXXX"))
    local b = assert(fs.mkdtemp(dir .. "/t-XXXXXX"))
    assert.is_true(a ~= b)
    has(dir .. "/t-", a)
    assert.equal(448, fs.stat(a).mode)
    failed("ENOENT", fs.mkdtemp(dir .. "/no/XXXXXX"))
  end))

  it("are changed and removed", inside(function(dir)
    place.write(dir .. "/a", "x")
    assert.is_true(fs.rename(dir .. "/a", dir .. "/b"))
    assert.equal("x", text_of(dir .. "/b"))
    assert.is_true(fs.unlink(dir .. "/b"))
    assert.is_false(fs.exists(dir .. "/b"))
    failed("ENOENT", fs.unlink(dir .. "/b"))
    local _, message = fs.rename(dir .. "/a", dir .. "/b")
    has("(rename " .. dir .. "/a -> " .. dir .. "/b)", message)
  end))

  it("are added", inside(function(dir)
    place.write(dir .. "/a", "x")
    assert.is_true(fs.link(dir .. "/a", dir .. "/b"))
    assert.equal(2, fs.stat(dir .. "/a").nlink)
    assert.is_true(fs.symlink("a", dir .. "/l"))
    assert.equal("a", fs.readlink(dir .. "/l"))
    failed("EINVAL", fs.readlink(dir .. "/a"))
    assert.equal(fs.realpath(dir) .. "/a", fs.realpath(dir .. "/./l"))
    failed("ENOENT", fs.realpath(dir .. "/c"))
  end))

  it("copies have the bytes and the mode", inside(function(dir)
    place.write(dir .. "/a", "text")
    assert(fs.chmod(dir .. "/a", 384))
    assert.is_true(fs.copy(dir .. "/a", dir .. "/b"))
    assert.equal("text", text_of(dir .. "/b"))
    assert.equal(384, fs.stat(dir .. "/b").mode)
    failed("ENOENT", fs.copy(dir .. "/c", dir .. "/d"))
    assert.is_false(fs.exists(dir .. "/d"))
  end))
end)

describe("wrong arguments", function()
  it("raise, at the caller, before anything is done", inside(function()
    local e = raised(function() fs.stat() end)
    has("functions_spec.lua:", e)
    has("bad argument #1 to 'stat' (string expected, got nil)", e)
    has("bad argument #2 to 'rename' (string expected, got table)",
      raised(fs.rename, "a", {}))
    has("bad argument #1 to 'unlink' (path with a zero byte)",
      raised(fs.unlink, "a\0b"))
    has("bad argument #2 to 'chmod' (mode from 0", raised(fs.chmod, "a", -1))
    has("bad argument #2 to 'chmod' (integer", raised(fs.chmod, "a"))
    has("bad argument #2 to 'mkdir' (mode from 0", raised(fs.mkdir, "a", 1.5))
    has("bad argument #2 to 'utime' (number", raised(fs.utime, "a", "now"))
    has("bad argument #3 to 'utime' (finite", raised(fs.utime, "a", 1, 0 / 0))
    has("bad argument #2 to 'write_file' (string",
      raised(fs.write_file, "a", {}))
    has("bad argument #3 to 'write_file' (unknown option 'x'",
      raised(fs.write_file, "a", "", { x = 1 }))
    has("bad argument #3 to 'write_file' (option 'atomic' must",
      raised(fs.write_file, "a", "", { atomic = 1 }))
    has("bad argument #1 to 'mkdtemp' (path that ends with XXXXXX",
      raised(fs.mkdtemp, "a"))
  end))
end)
