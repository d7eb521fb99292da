-- After fork the loop belongs to the parent. Each case is a program.
--
-- SPDX-License-Identifier: MIT

local helper = require "spec.helper"

local PRELUDE = [[
io.stdout:setvbuf "no"
local aio = require "perilune"
local process = assert(package.loadlib("build/host/process.so", "luaopen_process"))()
local function try(name, fn, ...)
  local ok, e = pcall(fn, ...)
  print(name, ok or e.code or e)
end
local function in_child(fn)
  local pid = process.fork()
  if pid == 0 then
    fn()
    process.exit(0)
  end
  assert(process.wait(pid) == 0)
end
]]

local function prints(expected, code)
  return function()
    assert.equal(expected, helper.program(PRELUDE .. code))
  end
end

describe("in a forked child", function()
  it("whatever needs the loop raises", prints(
    "sleep\tEPERM\nawait\tEPERM\nspawn\tEPERM\nrun\tEPERM\nsoon\tEPERM\n"
      .. "later\tEPERM\nstep\tEPERM\n", [[
    in_child(function()
      local f, loop = aio.future(), aio.loop()
      try("sleep", aio.sleep, 0)
      try("await", f.await, f)
      try("spawn", aio.spawn, print)
      try("run", aio.run, print)
      try("soon", loop.call_soon, loop, print)
      try("later", loop.call_later, loop, 1, print)
      try("step", loop.step, loop)
    end)]]))

  it("the error says so", function()
    helper.has("after fork", helper.program(PRELUDE .. [[
      in_child(function() print(pcall(aio.sleep, 0)) end)]]))
  end)

  it("the task that forked goes on to its next wait", prints(
    "goes on\nsleep\tEPERM\nclosed\nparent\n", [[
    aio.run(function()
      in_child(function()
        local _ <close> = setmetatable({}, { __close = function()
          print "closed"
        end })
        print "goes on"
        try("sleep", aio.sleep, 1)
      end)
      aio.sleep(0)
      print "parent"
    end)]]))

  it("no other task goes on, and who drives is told", prints(
    "run\tEPERM\nother\nrun\ttrue\n", [[
    local parent = true
    try("run", aio.run, function()
      aio.spawn(function()
        aio.yield()
        print "other"
      end)
      aio.spawn(function()
        local pid = process.fork()
        if pid == 0 then
          parent = false
          return
        end
        assert(process.wait(pid) == 0)
      end)
      aio.yield()
      aio.sleep(0)
      aio.sleep(0)
    end)
    if not parent then process.exit(0) end]]))

  it("a scope, a group and a run in the way do no harm", prints(
    "EPERM\nparent\n", [[
    local ok, e = pcall(aio.timeout, 10, function()
      local g <close> = aio.group()
      local child = false
      g:spawn(function()
        local pid = process.fork()
        child = pid == 0
        if not child then assert(process.wait(pid) == 0) end
        aio.sleep(0)
      end)
      g:wait()
    end)
    print(ok and "parent" or e.code)]]))

  it("closing the state cleans up no task", prints("child\nparent\nclosed\n", [[
    aio.on_close(function() print "closed" end)
    aio.spawn(function()
      local _ <close> = setmetatable({}, { __close = function()
        if aio.parent then print "parent" end
      end })
      aio.sleep(100)
    end)
    aio.yield()
    local pid = process.fork()
    if pid == 0 then
      print "child"
      os.exit(0, true)
    end
    aio.parent = true
    assert(process.wait(pid) == 0)]]))

  it("closing a connection leaves the parent's alone", prints("still there\n", [[
    aio.run(function()
      local server <close> = assert(aio.tcp.listen("127.0.0.1", 0))
      local a <close> = assert(aio.tcp.connect(server:sockname()))
      local b <close> = server:accept()
      local line = aio.spawn(b.read, b, "l")
      aio.sleep(0.001) -- polls, so the descriptor is watched from now on
      in_child(function()
        b:close()
        server:abort()
      end)
      a:write "still there\n"
      print(line:await())
    end)]]))

  it("closing a watch leaves the parent's alone", prints("EPERM\ntrue\nseen\n", [[
    local dir = os.tmpname()
    assert(os.remove(dir) and os.execute("mkdir " .. dir))
    aio.run(function()
      local watch <close> = assert(aio.fs.watch(dir))
      in_child(function()
        print(select(2, pcall(watch)).code)
        print(watch:close())
      end)
      io.open(dir .. "/seen", "w"):close()
      print(watch().name)
    end)
    os.execute("rm -r " .. dir)]]))
end)
