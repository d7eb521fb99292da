-- Processes: begin, end, signals, streams.
--
-- SPDX-License-Identifier: MIT

local Child = require "spec.child"
local aio = require "perilune"
local ends = require "spec.net.ends"
local helper = require "spec.helper"

local failed, has, raised, real, values = helper.failed, helper.has,
  helper.raised, helper.real, helper.values
local parked, turn = ends.parked, ends.turn

local spawn = aio.process.spawn

-- A process that does nothing for long, ended with the block.
local function sleeper(opts)
  local command = opts or {}
  command[1], command[2] = "sleep", 30
  local p = assert(spawn(command))
  return p, setmetatable({}, { __close = function()
    if p:kill "KILL" then
      p:wait()
    end
  end })
end

local function sh(script, opts)
  opts = opts or {}
  table.move({ "sh", "-c", script }, 1, 3, 1, opts)
  return assert(spawn(opts))
end

local function exists(pid)
  return (os.execute(("test -d /proc/%d"):format(pid))) == true
end

-- A file in memory, as long as somebody has it open.
local function scratch()
  local path = os.tmpname()
  local file = assert(io.open(path, "w+"))
  os.remove(path)
  return file
end

local function contents(file)
  file:seek "set"
  return file:read "a"
end

describe("process:wait", function()
  it("waits for the end", real(function()
    local p = sh("read x", { stdin = "pipe" })
    local task = parked(p.wait, p)
    assert.equal("pending", (task:peek()))
    p.stdin:write "go\n"
    values({ 0 }, task:await())
    p.stdin:close()
    assert.is_false(exists(p.pid))
  end))

  it("returns at once afterwards, as often as one likes", real(function()
    local p = sh "exit 7"
    values({ 7 }, p:wait())
    local other = false
    aio.spawn(function() other = true end)
    values({ 7 }, p:wait())
    assert.is_false(other)
  end))

  it("names the signal that ended it", real(function()
    local p, _ <close> = sleeper()
    assert.is_true(p:kill())
    values({ 143, "TERM" }, p:wait())
    p = sh "kill -KILL $$"
    values({ 137, "KILL" }, p:wait())
  end))

  it("can be done by several", real(function()
    local p, _ <close> = sleeper()
    local one, two = parked(p.wait, p), parked(p.wait, p)
    p:kill "INT"
    values({ 130, "INT" }, one:await())
    values({ 130, "INT" }, two:await())
  end))

  it("that is cancelled leaves the process alone", real(function()
    local p, _ <close> = sleeper()
    failed("ETIMEDOUT", aio.timeout(0.01, p.wait, p))
    failed("ETIMEDOUT", aio.timeout(0, p.wait, p))
    assert.is_true(exists(p.pid))
    local one, two = parked(p.wait, p), parked(p.wait, p)
    one:cancel()
    turn()
    p:kill "KILL"
    values({ 137, "KILL" }, two:await())
  end))

  it("cancelled after the end came keeps it", real(function()
    local p, _ <close> = sleeper()
    local task = parked(p.wait, p)
    p:kill()
    ends.woken(task):cancel()
    values({ 143, "TERM" }, task:await())
  end))

  it("does not wait for what it has left", real(function()
    local p = sh("sleep 5 & echo $!", { stdout = "pipe" })
    values({ 0 }, p:wait())
    os.execute("kill " .. p.stdout:read "l")
    assert.is_nil(p.stdout:read "l")
    p.stdout:close()
  end))

  it("works at top level", helper.bare(function(clock)
    clock:close()
    values({ 3 }, sh("exit 3"):wait())
    aio.sleep(0)
  end))

  it("of many at once", real(function()
    local n = helper.many(50)
    aio.group(nil, function(g)
      for i = 1, n do
        g:spawn(function()
          values({ i % 10 }, sh("exit " .. i % 10):wait())
        end)
      end
    end)
  end))
end)

describe("process:kill", function()
  it("takes names and numbers", real(function()
    local p, _ <close> = sleeper()
    assert.is_true(p:kill "SIGCONT")
    assert.is_true(p:kill(9))
    values({ 137, "KILL" }, p:wait())
  end))

  it("says when there is nobody any more", real(function()
    local p = sh "exit 0"
    p:wait()
    failed("ESRCH", p:kill())
    has("no signal is called 'FOO'", raised(p.kill, p, "FOO"))
  end))
end)

describe("streams", function()
  it("are transports for pipes", real(function()
    local p = assert(spawn { "cat", stdin = "pipe", stdout = "pipe" })
    assert.is_nil(p.stderr)
    p.stdin:write "one\ntwo\n"
    assert.equal("one", p.stdout:read())
    p.stdin:close()
    assert.equal("two\n", p.stdout:read "a")
    values({ 0 }, p:wait())
    p.stdout:close()
  end))

  it("carry much in both directions", real(function()
    local p = assert(spawn { "cat", stdin = "pipe", stdout = "pipe" })
    local block = ("0123456789abcdef"):rep(65536)
    aio.spawn(function()
      p.stdin:write(block)
      p.stdin:flush()
      p.stdin:close()
    end)
    assert.is_true(p.stdout:read "a" == block)
    p:wait()
    p.stdout:close()
  end))

  it("are separate, or one", real(function()
    local p = sh("echo out; echo err >&2", { stdout = "pipe",
      stderr = "pipe" })
    assert.equal("out\n", p.stdout:read "a")
    assert.equal("err\n", p.stderr:read "a")
    p:wait()
    p.stdout:close()
    p.stderr:close()
    p = sh("echo out; echo err >&2", { stdout = "pipe", stderr = "stdout" })
    assert.equal("out\nerr\n", p.stdout:read "a")
    p:wait()
    p.stdout:close()
  end))

  it("can be nothing", real(function()
    local p = sh("cat; echo x; echo y >&2", { stdin = "null", stdout = "null",
      stderr = "null" })
    values({ 0 }, p:wait())
  end))

  it("can be Lua files, which are flushed before", real(function()
    local file <close> = scratch()
    file:write "ours\n"
    local p = sh("echo theirs; echo err >&2", { stdout = file,
      stderr = "stdout" })
    p:wait()
    assert.equal("ours\ntheirs\nerr\n", contents(file))
  end))

  it("can be open files, from where they are", real(function()
    local path = os.tmpname()
    local file <close> = assert(aio.fs.open(path, "w+"))
    os.remove(path)
    assert(file:write "ours\n")
    has("a file that was not flushed", raised(spawn, { "true", stdout = file }))
    assert(file:flush())
    assert.equal(0, sh("echo theirs", { stdout = file }):wait())
    assert(file:seek("set", 5))
    local p = assert(spawn { "cat", stdin = file, stdout = "pipe" })
    assert.equal("theirs\n", p.stdout:read "a")
    p.stdout:close()
    p:wait()
    assert(file:close())
    has("a closed file", raised(spawn, { "true", stdin = file }))
  end))

  it("can be Lua files, read from where they are", real(function()
    local file <close> = scratch()
    file:write "one\ntwo\n"
    file:seek("set", 4)
    local p = assert(spawn { "cat", stdin = file, stdout = "pipe" })
    assert.equal("two\n", p.stdout:read "a")
    values({ 0 }, p:wait())
    p.stdout:close()
  end))

  it("can be transports, which are handed over", real(function()
    local a, b = aio.unix.pair()
    local p = sh("cat; echo end", { stdin = "null", stdout = a })
    failed("ECLOSED", a:write "x")
    assert.equal("end\n", b:read "a")
    b:close()
    p:wait()
  end))

  it("make pipelines", real(function()
    local one = sh("printf '3\\n1\\n2\\n'", { stdout = "pipe" })
    local two = assert(spawn { "sort", stdin = one.stdout, stdout = "pipe" })
    local three = assert(spawn { "head", "-n", 2, stdin = two.stdout,
      stdout = "pipe" })
    assert.equal("1\n2\n", three.stdout:read "a")
    for _, p in ipairs { one, two, three } do
      assert.equal(0, (p:wait()))
    end
    three.stdout:close()
  end))

  it("can be descriptors, and inherited", function()
    local child <close> = Child.code [[
      local aio = require "perilune"
      io.stdout:setvbuf "no"
      local spawn = aio.process.spawn
      spawn { "sh", "-c", "echo inherited" }:wait()
      spawn { "sh", "-c", "echo by number >&2", stderr = 1 }:wait()
      print(select(3, spawn { "true", stdout = 987 }))]]
    assert.equal("inherited\nby number\nEBADF\n", (child:finish()))
  end)

  it("that are in use are refused", real(function()
    local a, b = aio.unix.pair()
    local _ <close> = ends.held(a, b)
    b:write "one\ntwo\n"
    a:read()
    has("got a transport that is in use", raised(spawn, { "true",
      stdin = a }))
    a:close()
    has("got a closed transport", raised(spawn, { "true", stdin = a }))
  end))

  it("end for the child when nobody holds ours", real(function()
    local p = sh("cat; exit 5", { stdin = "pipe" })
    p.stdin = nil
    collectgarbage()
    collectgarbage()
    values({ 5 }, p:wait())
  end))
end)

describe("process.spawn", function()
  it("begins in another directory", real(function()
    local p = assert(spawn { "pwd", cwd = "/", stdout = "pipe" })
    assert.equal("/\n", p.stdout:read "a")
    p:wait()
    p.stdout:close()
  end))

  it("replaces the environment", real(function()
    local p = assert(spawn { "/usr/bin/env", env = { A = "b c", N = 1 },
      stdout = "pipe" })
    local list = {}
    for line in p.stdout:lines() do
      list[#list + 1] = line
    end
    p:wait()
    p.stdout:close()
    table.sort(list)
    assert.same({ "A=b c", "N=1" }, list)
  end))

  it("hands arguments over as they are", real(function()
    local p = assert(spawn { "printf", "%s|", "a b", "", "*", 7, "$HOME",
      stdout = "pipe" })
    assert.equal("a b||*|7|$HOME|", p.stdout:read "a")
    p:wait()
    p.stdout:close()
  end))

  it("makes a session of its own if asked to", real(function()
    local p = sh("cat /proc/$$/stat", { detached = true, stdout = "pipe" })
    local pid, _, _, _, _, session =
      p.stdout:read "a":match "^(%d+) (%b()) (%S+) (%d+) (%d+) (%d+)"
    assert.equal(pid, session)
    p:wait()
    p.stdout:close()
  end))

  it("changes user and group where that is allowed", real(function()
    local me = aio.process.run { "id", "-u" }.stdout
    local opts = { "sh", "-c", "id -u; id -g; id -G", uid = 65534, gid = 65533,
      stdout = "pipe" }
    if me ~= "0\n" then
      return failed("EPERM", spawn(opts))
    end
    local p = assert(spawn(opts))
    assert.equal("65534\n65533\n65533\n", p.stdout:read "a")
    p:wait()
    p.stdout:close()
  end))

  it("gives the child no signal handling of ours", real(function()
    local _ <close> = aio.signals("TERM", "HUP")
    local p = sh "kill -TERM $$"
    values({ 143, "TERM" }, p:wait())
    p = sh "kill -PIPE $$"
    values({ 141, "PIPE" }, p:wait())
  end))

  it("says which program is missing, and which directory", real(function()
    failed("ENOENT", spawn { "no-such-program" })
    has("spawn no-such-program", select(2, spawn { "no-such-program" }))
    failed("EACCES", spawn { "/etc/passwd" })
    failed("ENOENT", spawn { "true", cwd = "/no/such/place" })
    has("cwd /no/such/place", select(2, spawn { "true",
      cwd = "/no/such/place" }))
    failed("ENOTDIR", spawn { "true", cwd = "/etc/passwd" })
  end))

  it("leaves the child no descriptors but those it gets", real(function()
    local function descriptors()
      return aio.process.run { "ls", "/proc/self/fd" }.stdout
    end
    local before = descriptors()
    local server = assert(aio.tcp.listen("127.0.0.1", 0))
    local one = assert(aio.tcp.connect(server:sockname()))
    local _ <close> = ends.held(server, one, assert(server:accept()),
      assert(aio.udp.bind "127.0.0.1"), assert(aio.fs.open "/etc/passwd"),
      assert(aio.fs.watch "/etc"))
    local p = assert(spawn { "cat", stdin = "pipe", stdout = "pipe" })
    local entries = aio.fs.scandir "/etc"
    entries()
    assert.equal(before, descriptors())
    p.stdin:close()
    p:wait()
    p.stdout:close()
  end))

  it("leaves nothing behind when it fails", function()
    local child <close> = Child.code([[
      local aio = require "perilune"
      local spawn = aio.process.spawn
      local pipes = { "true", stdin = "pipe", stdout = "pipe",
        stderr = "pipe" }
      local function succeed()
        local p = spawn(pipes)
        for _, name in ipairs { "stdin", "stdout", "stderr" } do
          p[name]:close()
        end
        return p:wait()
      end
      succeed()
      local function count()
        aio.sleep(0.01)
        local path = os.tmpname()
        os.execute("ls /proc/$PPID/fd | wc -l >" .. path)
        local file = io.open(path)
        local n = file:read "n"
        file:close()
        os.remove(path)
        return n, aio.loop():stats().handles
      end
      local n, h = count()
      pipes[1] = "no-such-program"
      for i = 1, 10 do spawn(pipes) end
      local codes, held = {}, {}
      while true do
        local file = io.open "/dev/null"
        if not file then break end
        held[#held + 1] = file
      end
      pipes[1] = "true"
      for i = 1, 8 do
        codes[i] = select(3, spawn(pipes))
        held[#held]:close()
        held[#held] = nil
      end
      print(table.concat(codes, " "))
      for _, f in ipairs(held) do f:close() end
      held = nil
      local m, k = count()
      print(m - n, k - h)
      print(succeed())]], "ulimit -n 40")
    assert.equal("EMFILE EMFILE EMFILE EMFILE EMFILE EMFILE EMFILE EMFILE\n"
      .. "0\t0\n0\n", (child:finish()))
  end)

  it("leaves a child that outlives the run, and is reaped", function()
    local child <close> = Child.code [[
      local aio = require "perilune"
      local p = aio.run(function()
        return assert(aio.process.spawn { "sleep", 0.1 })
      end)
      print(p:wait())
      print(os.execute("test -d /proc/" .. p.pid))
      aio.run(function()
        p = aio.process.spawn { "true" }
        local pid = p.pid
        p = nil
        collectgarbage()
        while os.execute("test -d /proc/" .. pid) do aio.sleep(0.01) end
      end)
      print(aio.loop():stats().handles)]]
    assert.equal("0\nnil\texit\t1\n0\n", (child:finish()))
  end)

  it("is no reason to stay for who waits for something else", function()
    local child <close> = Child.code [[
      local aio = require "perilune"
      local p = aio.process.spawn { "sleep", 5 }
      print(select(2, pcall(aio.run, function() aio.future():await() end)).code)
      p:kill()
      print(p:wait())
      aio.process.spawn { "sleep", 0.1 }
      os.exit(0, true)]]
    assert.equal("EDEADLK\n143\tTERM\n", (child:finish()))
  end)

  it("refuses wrong arguments before anything starts", function()
    for what, opts in pairs {
      ["table expected, got nil"] = "nothing",
      ["name of a program expected"] = {},
      ["argument 2 of the program must be a string"] = { "true", {} },
      ["argument 1 of the program must be a string"] = { "a\0b" },
      ["unknown option 'input'"] = { "true", input = "x" },
      ["option 'cwd' must be a path"] = { "true", cwd = 1 },
      ["option 'env' must be a table"] = { "true", env = "x" },
      ["option 'env' must map names to strings"] = { "true",
        env = { ["A=B"] = "c" } },
      ["option 'stdin' must be"] = { "true", stdin = "stdout" },
      ["option 'stdout' must be"] = { "true", stdout = {} },
      ['or "stdout", got "pope"'] = { "true", stderr = "pope" },
      ["option 'uid' must be an integer"] = { "true", uid = "root" },
      ["option 'gid' must be an integer"] = { "true", gid = 1 << 32 },
      ["got number"] = { "true", stdin = 1 << 32 },
      ["argument 2 of the program"] = { "true", [3] = "x" },
      ["option 'detached' must be a boolean"] = { "true", detached = 1 },
    } do
      local e = raised(spawn, opts ~= "nothing" and opts or nil)
      has("bad argument #1 to 'spawn' (", e)
      has(what, e)
    end
  end)

  it("raise where the library was called", real(function()
    local p = assert(spawn { "true" })
    p:wait()
    for what, fn in pairs {
      ["option 'stdout' must be"] = function()
        aio.process.run { "true", stdout = {} }
      end,
      ["option 'stdin' must be"] = function() spawn { "true", stdin = {} } end,
      ["name of a program expected"] = function() spawn {} end,
      ["no signal is called 'FOO'"] = function() p:kill "FOO" end,
      ["process expected, got nil; call it with ':'"] = function() p.wait() end,
    } do
      local e = raised(fn)
      has("spawn_spec.lua:", e:match "^%S+")
      has(what, e)
    end
  end))
end)
