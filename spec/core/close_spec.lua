-- A Lua state closes with tasks alive: they are cancelled and cleaned up in
-- one pass in which waits raise; nothing blocks. Each case is a program.
--
-- SPDX-License-Identifier: MIT

local helper = require "spec.helper"

local PRELUDE = [[
  io.stdout:setvbuf "no"
  local aio = require "perilune"
  local function guard(name)
    return setmetatable({}, { __close = function() print(name) end })
  end
]]

local function expect(expected, code, status)
  local out, err, got = helper.script(PRELUDE .. code)
  assert.equal(expected, out .. err)
  assert.equal(status or 0, got)
end

describe("closing the state cleans up a task", function()
  local parked = {
    ["that sleeps"] = "aio.sleep(100)",
    ["that awaits a future"] = "aio.future():await()",
    ["that joins a task"] = "aio.spawn(aio.sleep, 100):join()",
    ["that gets from a channel"] = "aio.channel():get()",
    ["that puts into a channel"] = "aio.channel():put(1)",
    ["that waits for an event"] = "aio.event():wait()",
    ["in aio.wait"] = "aio.wait { aio.future() }",
    ["in a timeout"] = "aio.timeout(50, aio.sleep, 100)",
    ["in a shield"] = "aio.shield(50, aio.sleep, 100)",
    ["in a pcall"] = "pcall(aio.sleep, 100)",
    ["in a metamethod"] = [[
      local _ = setmetatable({}, {
        __index = function() aio.sleep(100) end,
      }).x
    ]],
    ["in a generator"] = [[
      aio.coroutine.wrap(function()
        local _ <close> = guard "generator"
        aio.sleep(100)
      end)()
    ]],
    ["in __close"] = [[
      local _ <close> = setmetatable({}, {
        __close = function() aio.sleep(100) end,
      })
    ]],
    ["in __close while an error unwinds"] = [[
      local _ <close> = setmetatable({}, {
        __close = function() aio.sleep(100) end,
      })
      error "unwinding"
    ]],
    ["with children in a group"] = [[
      local g <close> = aio.group()
      g:spawn(aio.sleep, 100)
      g:spawn(aio.sleep, 100)
    ]],
  }

  for name, code in pairs(parked) do
    it(name, function()
      local expected = name:find "generator" and "generator\nclosed\n"
        or "closed\n"
      expect(expected, [[
        aio.spawn(function()
          local _ <close> = guard "closed"
          ]] .. code .. [[
        end)
        aio.sleep(0.001)
      ]])
    end)
  end

  it("that is ready", function()
    expect("closed\n", [[
      aio.spawn(function()
        local _ <close> = guard "closed"
        aio.yield()
        aio.yield()
        aio.sleep(100)
      end)
      aio.yield()
    ]])
  end)

  it("that has not started, which still starts", function()
    expect("started\nclosed\n", [[
      aio.spawn(function()
        local _ <close> = guard "closed"
        print "started"
        aio.sleep(100)
      end)
    ]])
  end)

  it("that calls os.exit itself", function()
    expect("closed\n", [[
      aio.spawn(function()
        local _ <close> = guard "closed"
        aio.sleep(100)
      end)
      aio.spawn(function() os.exit(true, true) end)
      aio.sleep(1)
    ]])
  end)

  it("while main of a run calls os.exit", function()
    expect("closed\n", [[
      aio.run(function()
        aio.spawn(function()
          local _ <close> = guard "closed"
          aio.sleep(100)
        end)
        aio.yield()
        os.exit(true, true)
      end)
    ]])
  end)

  for name, code in pairs {
    ["a callback"] = "aio.loop():call_soon(leave) aio.sleep(1)",
    ["on_done"] = "aio.future():on_done(leave):cancel() local f = aio.future() "
      .. "f:on_done(leave) f:resolve() aio.sleep(1)",
    ["a generator"] = "aio.spawn(aio.coroutine.wrap(leave)) aio.sleep(1)",
    ["an error hook"] = "aio.loop():on_error(leave) aio.spawn(error) aio.sleep(1)",
    ["an on_close hook"] = "aio.run(function() aio.on_close(leave) end)",
    ["a __close handler"] = "aio.run(function() local _ <close> = "
      .. "setmetatable({}, { __close = leave }) end)",
    ["a sort comparator"] = "aio.run(table.sort, { 2, 1 }, leave)",
    ["a task in a scope of the main chunk"] =
      "local s <close> = aio.scope(9) aio.spawn(leave) aio.sleep(1)",
    ["a child of the main chunk's group"] =
      "local g <close> = aio.group() g:spawn(leave) aio.sleep(1)",
    ["a task of a run in a timeout"] = "aio.timeout(9, aio.run, leave)",
  } do
    it("when os.exit is called in " .. name, function()
      expect("closed\n", [[
        aio.spawn(function()
          local _ <close> = guard "closed"
          aio.shield(100, aio.sleep, 100)
        end)
        aio.yield()
        local function leave() os.exit(7, true) end
      ]] .. code, 7)
    end)
  end

  it("after the main chunk has failed", function()
    local out, _, status = helper.script(PRELUDE .. [[
      aio.spawn(function()
        local _ <close> = guard "closed"
        aio.sleep(100)
      end)
      aio.yield()
      error "main chunk"
    ]])
    assert.equal("closed\n", out)
    assert.equal(1, status)
  end)

  it("spawned by one that is cleaned up, or never runs it", function()
    local out, _, status = helper.script(PRELUDE .. [[
      aio.spawn(function()
        pcall(aio.sleep, 100)
        aio.spawn(function()
          local _ <close> = guard "late"
          aio.sleep(100)
        end)
        print "first"
      end)
      aio.yield()
    ]])
    assert.is_true(out == "first\nlate\n" or out == "first\n", out)
    assert.equal(0, status)
  end)
end)

describe("os.exit in a task without closing the state", function()
  it("ends the program there, and what was written is written", function()
    local out, err, status = helper.script [[
      local aio = require "perilune"
      io.stdout:setvbuf "full"
      aio.run(function()
        aio.spawn(function()
          local _ <close> = setmetatable({}, { __close = print })
          aio.sleep(100)
        end)
        aio.on_close(print)
        aio.yield()
        io.write "written"
        os.exit(7)
      end)
    ]]
    assert.equal("written", out .. err)
    assert.equal(7, status)
  end)
end)

describe("while the state closes", function()
  it("every wait raises, in pcall loops, too", function()
    expect("done\n", [[
      aio.spawn(function()
        local n = 0
        while n < 10 do
          if not pcall(aio.sleep, 1) then
            n = n + 1
          end
        end
        print "done"
      end)
      aio.yield()
    ]])
  end)

  it("a task that never ends does not hang it", function()
    local _, _, status = helper.script(PRELUDE .. [[
      aio.spawn(function()
        while true do
          pcall(aio.sleep, 1)
        end
      end)
      aio.yield()
    ]], 5)
    assert.equal(0, status)
  end)

  it("finalizers may call what they like", function()
    expect("", [[
      local f, ch, ev = aio.future(), aio.channel(1), aio.event()
      local g = aio.group()
      local var = aio.context.var("v", 1)
      setmetatable({}, { __gc = function()
        for _, fn in ipairs {
          function() aio.spawn(function() end) end,
          function() aio.sleep(1) end,
          function() f:resolve(1) end,
          function() f:await() end,
          function() f:cancel() end,
          function() ch:put(1) end,
          function() ch:get() end,
          function() ch:close() end,
          function() ev:set() end,
          function() ev:wait() end,
          function() g:spawn(function() end) end,
          function() aio.run(function() end) end,
          function() aio.loop():call_soon(function() end) end,
          function() aio.loop():stats() end,
          function() aio.tree() end,
          function() var:set(2) end,
          function() aio.scope(1) end,
          function() aio.future() end,
          function() aio.channel() end,
          function() aio.coroutine.wrap(print) end,
        } do
          pcall(fn)
        end
      end })
      aio.spawn(aio.sleep, 100)
      aio.yield()
    ]])
  end)

  it("objects made before perilune was loaded may use it", function()
    local out, err, status = helper.script [[
      local aio
      setmetatable({}, { __gc = function()
        pcall(function() aio.spawn(function() end) end)
        pcall(function() aio.loop():stats() end)
        pcall(function() aio.sleep(0) end)
      end })
      aio = require "perilune"
      aio.spawn(aio.sleep, 100)
      aio.yield()
    ]]
    assert.equal("", out .. err)
    assert.equal(0, status)
  end)

  it("failures are heard, or at least do no harm", function()
    local out, _, status = helper.script(PRELUDE .. [[
      aio.spawn(function()
        local _ <close> = guard "closed"
        pcall(aio.sleep, 100)
        error "in clean-up"
      end)
      aio.yield()
    ]])
    assert.equal("closed\n", out)
    assert.equal(0, status)
  end)

  it("a thousand tasks are cleaned up", function()
    expect("1000\n", [[
      local n = 0
      for _ = 1, 1000 do
        aio.spawn(function()
          local _ <close> = setmetatable({}, { __close = function()
            n = n + 1
            if n == 1000 then
              print(n)
            end
          end })
          aio.sleep(100)
        end)
      end
      aio.yield()
    ]])
  end)
end)
