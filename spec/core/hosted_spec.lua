-- loop:step: a program with a main loop of its own. Each case is a program,
-- for a loop that was stepped once stays hosted.
--
-- SPDX-License-Identifier: MIT

local helper = require "spec.helper"

-- Runs code that prints what it finds.
local function expect(expected, code)
  assert.equal(expected, helper.program([[
    local aio = require "perilune"
    local loop = aio.loop()
  ]] .. code))
end

describe("loop:step", function()
  it("runs ready work", function()
    expect("before\nran\n", [[
      aio.spawn(print, "ran")
      print "before"
      loop:step()
    ]])
  end)

  it("never blocks", function()
    expect("true\n", [[
      local t = aio.spawn(aio.sleep, 30)
      local before = os.time()
      for _ = 1, 10 do loop:step() end
      print(os.time() - before < 10)
      t:cancel()
      loop:step()
    ]])
  end)

  it("returns math.huge when nothing is to come", function()
    expect("inf\n", [[
      loop:step()
      print(loop:step())
    ]])
  end)

  it("returns 0 while something is ready", function()
    expect("0.0\n", [[
      aio.spawn(function() while true do aio.yield() end end)
      loop:step()
      print(loop:step() + 0.0)
    ]])
  end)

  it("returns the seconds until the next timer", function()
    expect("true\n", [[
      aio.spawn(aio.sleep, 5)
      loop:step()
      local s = loop:step()
      print(s > 4 and s <= 5)
    ]])
  end)

  it("fires timers when their time has come", function()
    expect("1\n", [[
      local n = 0
      loop:call_later(0.01, function() n = n + 1 end)
      repeat loop:step() until n > 0
      print(n)
    ]])
  end)

  it("takes a budget in seconds", function()
    expect("true\n", [[
      local function busy()
        local till = os.clock() + 0.02
        while os.clock() < till do end
      end
      local n = 0
      for _ = 1, 12 do
        aio.spawn(function() busy() n = n + 1 end)
      end
      loop:step(0.03)
      local first = n
      while n < 12 do loop:step(0.03) end
      print(first >= 1 and first < 12)
    ]])
  end)

  it("keeps the order when a budget ends", function()
    expect("1 2 3 4 5 6\n", [[
      local list = {}
      for i = 1, 6 do
        aio.spawn(function()
          local till = os.clock() + 0.005
          while os.clock() < till do end
          list[#list + 1] = i
        end)
      end
      while #list < 6 do loop:step(0.001) end
      print(table.concat(list, " "))
    ]])
  end)

  it("raises inside a task", function()
    expect("false\n", [[
      local ok
      aio.spawn(function() ok = pcall(loop.step, loop) end)
      loop:step()
      print(ok)
    ]])
  end)

  it("raises inside a callback", function()
    expect("false\n", [[
      local ok
      loop:call_soon(function() ok = pcall(loop.step, loop) end)
      loop:step()
      print(ok)
    ]])
  end)

  it("checks its budget", function()
    expect("false\tfalse\n", [[
      print((pcall(loop.step, loop, "x")), (pcall(loop.step, loop, 0/0)))
    ]])
  end)
end)

describe("a hosted loop", function()
  it("refuses a wait outside of tasks", function()
    expect("false\ttrue\n", [[
      loop:step()
      local ok, e = pcall(aio.sleep, 1)
      print(ok, tostring(e):find("host", 1, true) ~= nil)
    ]])
  end)

  it("refuses run", function()
    expect("false\n", [[
      loop:step()
      print((pcall(aio.run, function() end)))
    ]])
  end)

  it("lets what completes at once pass, or refuses it, but never drives",
    function()
      expect("", [[
        loop:step()
        aio.spawn(print, "must not run")
        local f = aio.future()
        f:resolve(1)
        pcall(f.await, f)
        pcall(f.join, f)
        pcall(aio.yield)
        os.exit(0)
      ]])
    end)

  it("runs tasks that wait for each other", function()
    expect("got x\n", [[
      local ch = aio.channel()
      aio.spawn(function() ch:put "x" end)
      local t = aio.spawn(function() print("got " .. ch:get()) end)
      repeat loop:step() until t:peek() ~= "pending"
    ]])
  end)

  it("patches nothing", function()
    expect("true\n", [[
      local was = coroutine.resume
      aio.spawn(function() was = was == coroutine.resume end)
      loop:step()
      print(was)
    ]])
  end)

  it("has a descriptor to wait for, or says it has none", function()
    expect("true\n", [[
      loop:step()
      local fd = loop:fd()
      print(fd == nil or math.type(fd) == "integer")
    ]])
  end)

  it("may be left with tasks alive", function()
    expect("cleaned\n", [[
      aio.spawn(function()
        local _ <close> = setmetatable({}, {
          __close = function() print "cleaned" end,
        })
        aio.sleep(100)
      end)
      loop:step()
    ]])
  end)

  it("begins a frame, once", function()
    expect("0 0 1 2 3 inf\n", [[
      local n = 0
      aio.spawn(function()
        for i = 1, 3 do aio.next_frame(); n = i end
      end)
      loop:step()
      io.write(n, " ", loop:step(), " ")
      for _ = 1, 3 do io.write(n, " "); loop:step() end
      print(loop:step())
    ]])
  end)
end)
