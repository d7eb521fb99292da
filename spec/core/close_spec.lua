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
