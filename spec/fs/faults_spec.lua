-- What a system can refuse: descriptors, room, permission.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local ends = require "spec.net.ends"
local helper = require "spec.helper"

-- Runs `code` with `dir`, which has room for 64 KiB.
local function small(code)
  local out, why = ends.namespace(
    "mount -t tmpfs -o size=64k none /mnt && mkdir /mnt/d && ulimit -n 64",
    [[local dir, fs = "/mnt/d", aio.fs
      local function said(ok, message, code) return ok or code or message end
      aio.run(function() ]] .. code .. [[ end)]])
  if not out then
    pending(why)
  end
  return out
end

if aio.fs then
  describe("a file system without room", function()
    it("is reported, and an atomic write leaves the old file", function()
      local out = small [[
        print(said(fs.write_file(dir .. "/a", "old")))
        print(said(fs.write_file(dir .. "/a", ("x"):rep(100000), { atomic = true })))
        print(fs.read_file(dir .. "/a"))
        local n = 0
        for _ in fs.scandir(dir) do n = n + 1 end
        print(n)
        print(said(fs.write_file(dir .. "/b", ("x"):rep(100000))))
        print(said(fs.append_file(dir .. "/a", ("x"):rep(100000))))]]
      if out then
        assert.equal("true\nENOSPC\nold\n1\nENOSPC\nENOSPC\n", out)
      end
    end)
  end)

  describe("an open file without room", function()
    it("keeps what was written before, and says so to each that follows", function()
      local out = small [[
        local file = assert(fs.open(dir .. "/a", "w"))
        assert(file:write(("x"):rep(1000)):flush())
        assert(file:write(("y"):rep(100000)))
        print(said(file:flush()))
        print(said(file:write "z"))
        print(said(file:close()))
        print(fs.read_file(dir .. "/a"):sub(1, 1001):match "^x+y$" ~= nil)
        print(fs.stat(dir .. "/a").size <= 65536)]]
      if out then
        assert.equal("ENOSPC\nENOSPC\nENOSPC\ntrue\ntrue\n", out)
      end
    end)
  end)

  describe("a process without descriptors", function()
    it("is told so, and goes on with those it gets back", function()
      local out = small [[
        assert(fs.write_file(dir .. "/a", "x"))
        local files = {}
        while true do
          local file = io.open(dir .. "/a")
          if not file then break end
          files[#files + 1] = file
        end
        print(said(fs.read_file(dir .. "/a")))
        print(said(fs.open(dir .. "/a")))
        print(said(fs.write_file(dir .. "/a", "y", { atomic = true })))
        print(said(fs.copy(dir .. "/a", dir .. "/b")))
        local ok, e = pcall(fs.scandir(dir))
        print(ok or e.code)
        print(fs.stat(dir .. "/a").size)
        for _, file in ipairs(files) do file:close() end
        print(fs.read_file(dir .. "/a"))]]
      if out then
        assert.equal(("EMFILE\n"):rep(5) .. "1\nx\n", out)
      end
    end)
  end)

  describe("a directory that is read-only", function()
    it("refuses what would change it", function()
      local out = small [[
        assert(fs.write_file(dir .. "/a", "x"))
        os.execute "mount -o remount,ro none /mnt"
        print(said(fs.write_file(dir .. "/a", "y")))
        print(said(fs.write_file(dir .. "/a", "y", { atomic = true })))
        print(said(fs.open(dir .. "/a", "r+")))
        print(said(fs.open(dir .. "/b", "a")))
        print(said(fs.mkdir(dir .. "/b")))
        print(said(fs.unlink(dir .. "/a")))
        print(said(fs.mkdtemp(dir .. "/XXXXXX")))
        print(said(fs.utime(dir .. "/a")))
        print(fs.read_file(dir .. "/a"))]]
      if out then
        assert.equal(("EROFS\n"):rep(8) .. "x\n", out)
      end
    end)
  end)

  describe("a wait for a file", function()
    it("starves nobody who sleeps", helper.real(function()
      local slept = aio.spawn(aio.sleep, 0.001)
      aio.group(nil, function(g)
        for _ = 1, 100 do g:spawn(aio.fs.read_file, "/proc/self/maps") end
      end)
      assert.is_true(slept:await())
    end))
  end)
end
