-- Signals that are subscribed to.
--
-- SPDX-License-Identifier: MIT

local Child = require "spec.child"
local aio = require "perilune"
local ends = require "spec.net.ends"
local helper = require "spec.helper"

local has, raised, real, values = helper.has, helper.raised, helper.real,
  helper.values
local parked, woken = ends.parked, ends.woken

-- The shell that this starts is a child of ours.
local function kill(name)
  assert(os.execute(("kill -%s $PPID"):format(name)))
end

local PRELUDE = [[
io.stdout:setvbuf "no"
local aio = require "perilune"
-- os.execute would ignore INT meanwhile.
local function me(name) io.popen("kill -" .. name .. " $PPID"):close() end
]]

-- What a program prints that is run beside the spec, and how it ends.
local function program(code, before)
  local child <close> = Child.code(PRELUDE .. code, before)
  return child:finish()
end

describe("aio.signals", function()
  it("gives what comes, by name", real(function()
    local s <close> = assert(aio.signals("USR1", "SIGUSR2"))
    local task = parked(s)
    kill "USR2"
    assert.equal("USR2", task:await())
    kill "USR1"
    assert.equal("USR1", s())
  end))

  it("keeps what nobody waits for, in order, equal ones once", real(function()
    local s <close> = assert(aio.signals("USR1", "USR2"))
    kill "USR2"
    ends.turn(2)
    kill "USR1"
    ends.turn(2)
    kill "USR1"
    ends.turn(2)
    assert.equal("USR2", s())
    assert.equal("USR1", s())
    helper.failed("ETIMEDOUT", aio.timeout(0.01, s))
  end))

  it("is a loop that ends when it is closed", real(function()
    local log = helper.log()
    local s = assert(aio.signals "USR1")
    local task = parked(function()
      for name in s do
        log(name)
      end
      log "end"
    end)
    kill "USR1"
    ends.turn(3)
    assert.is_true(s:close())
    task:await()
    assert.equal("USR1 end", log:text())
    values({ n = 0 }, s())
    assert.is_true(s:close())
  end))

  it("reaches all who subscribe", real(function()
    local a <close> = assert(aio.signals "USR1")
    local b <close> = assert(aio.signals("USR1", "USR1"))
    local one, two = parked(a), parked(b)
    kill "USR1"
    assert.equal("USR1", one:await())
    assert.equal("USR1", two:await())
    helper.failed("ETIMEDOUT", aio.timeout(0.01, b))
  end))

  it("takes numbers, and names without a prefix", real(function()
    local s <close> = assert(aio.signals(15, "WINCH"))
    kill "15"
    assert.equal("TERM", s())
    kill "WINCH"
    assert.equal("WINCH", s())
  end))

  it("loses nothing when a wait is cancelled", real(function()
    local s <close> = assert(aio.signals "USR1")
    helper.failed("ETIMEDOUT", aio.timeout(0.01, s))
    kill "USR1"
    helper.failed("ETIMEDOUT", aio.timeout(0, s))
    assert.equal("USR1", s())
  end))

  it("keeps one that came before the cancel, or the close", real(function()
    local s = assert(aio.signals "USR1")
    local task = parked(s)
    kill "USR1"
    woken(task):cancel()
    assert.equal("USR1", task:await())
    task = parked(s)
    kill "USR1"
    woken(task)
    s:close()
    assert.equal("USR1", task:await())
  end))

  it("has one task wait", real(function()
    local s <close> = assert(aio.signals "USR1")
    local task = parked(s)
    has("EBUSY", raised(s))
    task:cancel()
    ends.turn()
    task = parked(s)
    kill "USR1"
    assert.equal("USR1", task:await())
  end))

  it("works at top level", helper.bare(function(clock)
    clock:close()
    local s = assert(aio.signals "USR1")
    kill "USR1"
    assert.equal("USR1", s())
    s:close()
    aio.sleep(0)
  end))

  it("refuses what cannot be caught, and what is none", function()
    local before = aio.loop():stats().handles
    has("bad argument #1", raised(aio.signals))
    has("bad argument #2 to 'signals' (KILL cannot be subscribed to)",
      raised(function() aio.signals("INT", "KILL") end))
    has("STOP cannot be subscribed to", raised(aio.signals, "STOP"))
    has("SEGV cannot be subscribed to", raised(aio.signals, 11))
    has("no signal is called 'FOO'", raised(aio.signals, "FOO"))
    has("number of a signal expected, got 0", raised(aio.signals, 0))
    has("name or number of a signal expected, got table",
      raised(aio.signals, { "INT" }))
    assert.equal(before, aio.loop():stats().handles)
  end)

  it("is closed when nobody holds it", real(function()
    local before = aio.loop():stats().handles
    aio.signals("USR1", "USR2")
    collectgarbage()
    ends.turn(2)
    assert.equal(before, aio.loop():stats().handles)
  end))

  it("keeps no program alive that waits for something else", function()
    local out = program [[
      local s <close> = aio.signals "USR1"
      print(select(2, pcall(aio.run, function() aio.future():await() end)).code)
      print(aio.run(function()
        aio.loop():call_soon(me, "USR1")
        return s()
      end))]]
    assert.equal("EDEADLK\nUSR1\n", out)
  end)
end)

describe("what a signal did before", function()
  it("is put back by the last who subscribes", function()
    local _, how, signal = program [[
      local a, b = aio.signals "TERM", aio.signals "TERM"
      me "TERM"
      a:close()
      me "TERM"
      print "alive"
      b:close()
      me "TERM"
      print "not reached"]]
    assert.equal("signal", how)
    assert.equal(15, signal)
  end)

  it("is put back if it was ignored", function()
    local out, status = program([[
      local s = aio.signals "TERM"
      me "TERM"
      print(s())
      s:close()
      me "TERM"
      print "alive"]], "trap \"\" TERM")
    assert.equal("TERM\nalive\n", out)
    assert.equal(0, status)
  end)

  it("is put back at the end of the run", function()
    local out, how, signal = program [[
      local s
      aio.run(function()
        s = aio.signals "TERM"
        me "TERM"
        print(s())
      end)
      print(s())
      me "TERM"]]
    assert.equal("TERM\n\n", out)
    assert.equal("signal", how)
    assert.equal(15, signal)
  end)

  it("is put back at the end of the Lua state", function()
    local out, status = program [[
      aio.signals "INT"
      os.exit(0, true)]]
    assert.equal("", out)
    assert.equal(0, status)
  end)
end)

describe("Ctrl-C", function()
  it("stands aside while somebody subscribes to INT", function()
    local out = program [[
      print(pcall(aio.run, function()
        local s = aio.signals "INT"
        for i = 1, 4 do
          me "INT"
          print(i, s())
        end
        s:close()
        me "INT"
        print(aio.is_cancelled(select(2, pcall(aio.sleep, 10))))
      end))]]
    assert.equal("1\tINT\n2\tINT\n3\tINT\n4\tINT\ntrue\nfalse\t"
      .. "EINTR: interrupted\n", out)
  end)

  it("stands aside for one who subscribed before the run", function()
    local out = program [[
      local s = aio.signals "INT"
      aio.run(function()
        me "INT"
        print(s())
      end)
      s:close()
      print(pcall(aio.run, function()
        me "INT"
        aio.sleep(10)
      end))]]
    assert.equal("INT\nfalse\tEINTR: interrupted\n", out)
  end)

  it("is back when the subscription ends in the run", function()
    local out = program [[
      local s = aio.signals "INT"
      print(pcall(aio.run, function()
        s:close()
        me "INT"
        aio.sleep(10)
      end))
      local ok, e = pcall(function()
        me "INT"
        for i = 1, 1e8 do end
      end)
      print(ok, e)]]
    has("false\tEINTR: interrupted\nfalse\t", out)
    has("interrupted!", out)
  end)
end)
