-- A task that was ended by force after its wait was completed, and before it
-- went on, kept what it was granted: a transport was being read for ever, a
-- server never accepted again, those who queued up behind it waited for ever.
--
-- A step with no budget runs one runnable: that is how such a task is made.
--
-- SPDX-License-Identifier: MIT

local helper = require "spec.helper"

-- Runs a program, in which `kill_woken` ends a task after it was woken: what is
-- ready besides `busy` has not run yet.
local function expect(expected, code)
  assert.equal(expected, helper.program([[
    local aio = require "perilune"
    local core = require "perilune.core"
    local loop, run = aio.loop(), core.run_open()
    local path = os.tmpname()
    os.remove(path)

    local function spawn(fn)
      local t = aio.spawn(fn)
      t:peek() -- its failure is no news
      return t
    end

    local function begin(victim, wake)
      spawn(victim)
      loop:step(0)
      if wake then spawn(wake) end
      spawn(function()
        while true do aio.yield() end
      end)
    end

    local function kill_woken()
      repeat loop:step(0) until loop:stats().ready > 1
      run:kill()
    end

    local function later(fn)
      local t = spawn(fn)
      for _ = 1, 100 do loop:step() end
      print(t:peek())
    end
  ]] .. code))
end

describe("a task that is ended after it was woken", function()
  it("leaves its transport to the next reader", function()
    expect("ok\tbytes\n", [[
      local a, b = aio.unix.pair()
      begin(function() a:read() end, function() b:write "bytes\n" end)
      kill_woken()
      later(function() return a:read() end)
    ]])
  end)

  it("leaves who connects to the next acceptor", function()
    expect("ok\ttrue\n", [[
      local server = aio.unix.listen(path)
      begin(function() server:accept() end,
        function() aio.unix.connect(path) end)
      kill_woken()
      later(function() return server:accept() ~= nil end)
      server:abort()
    ]])
  end)

  it("leaves its turn to the next writer", function()
    expect("ok\ttrue\n", [[
      local a, b = aio.unix.pair()
      begin(function()
        a:write(("x"):rep(0x100000))
        a:write "victim"
      end)
      repeat
        local reader = spawn(function() b:read_some(0x4000) end)
        repeat loop:step(0) until reader:peek() ~= "pending"
      until loop:stats().ready > 1
      run:kill()
      spawn(function() for _ in b:lines(0x1000) do end end)
      later(function() return a:write "next" == a end)
    ]])
  end)

  it("leaves nothing of a connection that was made", function()
    expect("ok\t0\n", [[
      local server = aio.unix.listen(path)
      begin(function() aio.unix.connect(path) end)
      kill_woken()
      server:abort()
      later(function() return loop:stats().requests end)
    ]])
  end)
end)
