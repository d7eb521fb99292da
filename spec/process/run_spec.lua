-- Programs that are run to their end: input, output, time limits, cancelling.
--
-- SPDX-License-Identifier: MIT

local Child = require "spec.child"
local aio = require "perilune"
local ends = require "spec.net.ends"
local helper = require "spec.helper"

local failed, has, raised, real = helper.failed, helper.has, helper.raised,
  helper.real

local run = aio.process.run

local function sh(script, opts)
  opts = opts or {}
  return run(table.move({ "sh", "-c", script }, 1, 3, 1, opts))
end

local function exists(pid)
  return (os.execute(("test -d /proc/%d"):format(pid))) == true
end

describe("process.run", function()
  it("collects what comes, and how it ended", real(function()
    assert.same({ code = 0, stdout = "out\n", stderr = "err\n" },
      sh "echo out; echo err >&2")
    assert.same({ code = 3, stdout = "", stderr = "" }, sh "exit 3")
    assert.same({ code = 137, signal = "KILL", stdout = "x", stderr = "" },
      sh "printf x; kill -KILL $$")
  end))

  it("hands the input over", real(function()
    assert.equal("abc", run { "cat", input = "abc" }.stdout)
    assert.equal("", run { "cat" }.stdout)
    local block = ("0123456789"):rep(100000)
    assert.is_true(run { "cat", input = block }.stdout == block)
  end))

  it("does not mind who does not read it", real(function()
    assert.equal(0, run { "true", input = ("x"):rep(1000000) }.code)
    assert.equal("x\n", run { "head", "-n", 1,
      input = ("x\n"):rep(300000) }.stdout)
  end))

  it("gives the input to who is slow", real(function()
    local r = sh("sleep 0.1; wc -c", { input = ("x"):rep(500000) })
    assert.equal(500000, tonumber(r.stdout))
  end))

  it("leaves streams alone that are something else", real(function()
    local r = sh("echo out; echo err >&2", { stderr = "stdout" })
    assert.same({ code = 0, stdout = "out\nerr\n" }, r)
    r = sh("cat; echo out", { stdin = "null", stdout = "null",
      stderr = "null" })
    assert.same({ code = 0 }, r)
  end))

  it("says what could not be run", real(function()
    failed("ENOENT", run { "no-such-program", input = "x" })
    failed("ENOENT", run { "true", cwd = "/no/such/place" })
  end))

  it("can be done by many at once", real(function()
    aio.group(nil, function(g)
      for i = 1, helper.many(40) do
        g:spawn(function()
          assert.equal(tostring(i), run { "cat", input = tostring(i) }.stdout)
        end)
      end
    end)
  end))

  it("works at top level", helper.bare(function(clock)
    clock:close()
    assert.equal("x", run { "printf", "x" }.stdout)
    aio.sleep(0)
  end))

  it("refuses wrong arguments", function()
    has("bad argument #1 to 'run'", raised(run))
    has('got string; call run{"program"', raised(run, "true"))
    has("option 'input' must be a string", raised(run, { "cat", input = 1 }))
    has("option 'timeout' must be", raised(run, { "cat", timeout = "1" }))
    has("option 'grace' must be", raised(run, { "cat", grace = -1 }))
    has("option 'input' needs a pipe", raised(run, { "cat", input = "x",
      stdin = "null" }))
  end)
end)

describe("a time limit", function()
  it("ends the process, and keeps what it wrote", real(function()
    local r, message, code, partial = sh("echo $$; exec sleep 30",
      { timeout = 0.2 })
    assert.is_nil(r)
    assert.equal("ETIMEDOUT: timed out after 0.2 s (run sh)", message)
    assert.equal("ETIMEDOUT", code)
    assert.equal("TERM", partial.signal)
    assert.equal(143, partial.code)
    assert.is_false(exists(tonumber(partial.stdout)))
  end))

  it("lets it end in good order", real(function()
    local _, _, _, partial = sh("trap 'echo bye; exit 9' TERM; echo ready; "
      .. "while :; do sleep 0.02; done", { timeout = 0.2 })
    assert.same({ code = 9, stdout = "ready\nbye\n", stderr = "" }, partial)
  end))

  it("kills who does not", real(function()
    local began = aio.now()
    local _, _, code, partial = sh("trap '' TERM; echo ready; exec sleep 30",
      { timeout = 0.2, grace = 0.1 })
    assert.equal("ETIMEDOUT", code)
    assert.same({ code = 137, signal = "KILL", stdout = "ready\n",
      stderr = "" }, partial)
    assert.is_true(aio.now() - began < 5 * helper.slow)
  end))

  it("does not wait for what the process has left", real(function()
    local _, _, code, partial = sh("sleep 3 & echo $!; wait",
      { timeout = 0.2 })
    assert.equal("ETIMEDOUT", code)
    os.execute("kill " .. partial.stdout)
  end))

  it("is none for who is faster", real(function()
    assert.equal("x", run { "printf", "x", timeout = 20 * helper.slow }.stdout)
  end))
end)

describe("a cancelled run", function()
  -- The task runs a program that says who it is; returns both.
  local function running(script)
    local fifo = os.tmpname()
    local task = aio.spawn(sh, ("echo $$ >%s; %s"):format(fifo, script),
      { grace = 0.1 })
    local pid
    repeat
      aio.sleep(0.01)
      local file <close> = assert(io.open(fifo))
      pid = file:read "n"
    until pid
    os.remove(fifo)
    return task, pid
  end

  it("leaves no process", real(function()
    local task, pid = running "exec sleep 30"
    assert.is_true(exists(pid))
    task:cancel()
    task:join()
    assert.equal("cancelled", (task:peek()))
    assert.is_false(exists(pid))
  end))

  it("leaves none that does not want to end", real(function()
    local task, pid = running "trap '' TERM; exec sleep 30"
    task:cancel()
    task:join()
    assert.equal("cancelled", (task:peek()))
    assert.is_false(exists(pid))
  end))

  it("is one outside of a timeout", real(function()
    failed("ETIMEDOUT", aio.timeout(0.05, run, { "sleep", 30 }))
  end))

  it("starts nothing if it was before", real(function()
    local path = os.tmpname()
    os.remove(path)
    failed("ETIMEDOUT", aio.timeout(0, run, { "touch", path }))
    aio.sleep(0.05)
    assert.is_nil(io.open(path))
  end))

  it("is one at the end of the run", real(function()
    local pid
    aio.spawn(function()
      local task
      task, pid = running "exec sleep 30"
      task:await()
    end)
    repeat
      aio.sleep(0.01)
    until pid
  end))

  it("is one at the end of the run, for who does not want to end", function()
    local child <close> = Child.code [[
      local aio = require "perilune"
      local ours, theirs = aio.unix.pair()
      aio.run({ grace = 0.05, on_error = function() end }, function()
        aio.spawn(aio.process.run, { "sh", "-c", "trap '' TERM; echo begun; "
          .. "for i in 1 2 3 4 5; do sleep 0.3; done; echo late >&2",
          stdout = theirs, stderr = "inherit" })
        print(ours:read())
      end)]]
    assert.equal("begun\n", (child:finish())) -- when both have ended
  end)

  it("is one when the Lua state is closed", function()
    local child <close> = Child.code [[
      local aio = require "perilune"
      local ours, theirs = aio.unix.pair()
      aio.spawn(aio.process.run, { "sh", "-c",
        "echo begun; for i in 1 2 3 4 5; do sleep 0.3; done; echo late >&2",
        stdout = theirs, stderr = "inherit" })
      print(ours:read())
      os.exit(0, true)]]
    assert.equal("begun\n", (child:finish())) -- when both have ended
  end)
end)

describe("pipes held by others", function()
  it("are waited for, as long as one likes", real(function()
    local began = aio.now()
    local r = sh "(sleep 0.2; echo late) & echo early"
    assert.equal("early\nlate\n", r.stdout)
    assert.is_true(aio.now() - began >= 0.15)
  end))

  it("do not matter to a loop that reads others", real(function()
    local r = ends.parked(sh, "sleep 0.1; echo x")
    assert.equal("y\n", sh "echo y".stdout)
    assert.equal("x\n", r:await().stdout)
  end))
end)
