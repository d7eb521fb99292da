-- Ctrl-C: what SIGINT does to a run, and the primitive below.
--
-- SPDX-License-Identifier: MIT

local Child = require "spec.child"

-- What every child begins with: lines are written at once, so that whoever
-- reads one knows where the child is.
local PRELUDE = [[
io.stdout:setvbuf "no"
local aio = require "perilune"
local core = require "perilune.core"
local function try(...)
  local ok, e = pcall(aio.run, ...)
  print(ok, type(e) == "table" and e.code or e)
end
]]

local function start(code)
  return Child.code(PRELUDE .. code)
end

local function expect(child, ...)
  for _, line in ipairs { ... } do
    assert.equal(line, child:line())
  end
end

-- The child is in its last wait when it has said "ready".
local function interrupted(code)
  return function()
    local child <close> = start(code)
    expect(child, "ready")
    child:signal "INT"
    expect(child, "false\tEINTR")
    assert.equal(0, select(2, child:finish()))
  end
end

describe("the first Ctrl-C", function()
  it("cancels main and makes run raise EINTR", function()
    local child <close> = start [[
      try(function()
        print "ready"
        local ok, e = pcall(aio.sleep, 100)
        print(ok, aio.is_cancelled(e))
        error(e, 0)
      end)]]
    expect(child, "ready")
    child:signal "INT"
    expect(child, "false\ttrue", "false\tEINTR")
    assert.equal(0, select(2, child:finish()))
  end)

  it("reaches a run that waits for a timer", interrupted [[
    try(function() print "ready" aio.sleep(100) end)]])

  it("reaches a run that waits for a socket alone", interrupted [[
    try(function()
      local server <close> = assert(aio.tcp.listen("127.0.0.1", 0))
      print "ready"
      server:accept()
    end)]])

  it("reaches a run that is always ready", interrupted [[
    try(function()
      print "ready"
      while true do aio.yield() end
    end)]])

  it("reaches the second run as well", interrupted [[
    aio.run(aio.yield)
    try(function() print "ready" aio.sleep(100) end)]])

  it("gives clean-up the time it needs", function()
    local child <close> = start [[
      try(function()
        local guard <close> = setmetatable({}, { __close = function()
          aio.shield(nil, aio.sleep, 0.01)
          print "cleaned"
        end })
        print "ready"
        aio.sleep(100)
      end)]]
    expect(child, "ready")
    child:signal "INT"
    expect(child, "cleaned", "false\tEINTR")
  end)

  it("makes run raise EINTR also if main ends well", function()
    local child <close> = start [[
      try(function()
        print "ready"
        pcall(aio.sleep, 100)
        return "fine"
      end)]]
    expect(child, "ready")
    child:signal "INT"
    expect(child, "false\tEINTR")
  end)
end)

describe("the second Ctrl-C", function()
  for name, code in pairs {
    ["main"] = [[print "busy" while true do end]],
    ["a background task"] = [[
      aio.spawn(function() print "busy" while true do end end)
      aio.sleep(100)]],
    ["a sort comparator"] = [[
      table.sort({ 1, 2, 3 }, function() print "busy" while true do end end)]],
    ["a protocol"] = [[
      local a, b = aio.unix.pair()
      a:protocol { data_received = function() print "busy" while true do end end }
      b:write "x"
      aio.sleep(100)]],
  } do
    it("interrupts what spins from the start: " .. name, function()
      local child <close> = start("try({ on_error = function() end }, function() "
        .. code .. " end)")
      expect(child, "busy")
      child:signal "INT"
      child:signal "INT"
      expect(child, "false\tEINTR")
      assert.equal(0, select(2, child:finish()))
    end)
  end

  it("interrupts Lua code that never waits", function()
    local child <close> = start [[
      try(function()
        print "ready"
        pcall(aio.sleep, 100)
        print "busy"
        while true do end
      end)]]
    expect(child, "ready")
    child:signal "INT"
    expect(child, "busy")
    child:signal "INT"
    expect(child, "false\tEINTR")
    assert.equal(0, select(2, child:finish()))
  end)

  it("interrupts a generator that never waits", function()
    local child <close> = start [[
      try(function()
        print "ready"
        pcall(aio.sleep, 100)
        for _ in aio.coroutine.wrap(function()
          print "busy"
          while true do end
        end) do end
      end)]]
    expect(child, "ready")
    child:signal "INT"
    expect(child, "busy")
    child:signal "INT"
    expect(child, "false\tEINTR")
  end)

  it("interrupts a callback that never returns", function()
    local child <close> = start [[
      try(function()
        print "ready"
        pcall(aio.sleep, 100)
        aio.loop():on_error(function() end)
        aio.loop():call_soon(function()
          print "busy"
          while true do end
        end)
        aio.shield(nil, aio.yield)
      end)]]
    expect(child, "ready")
    child:signal "INT"
    expect(child, "busy")
    child:signal "INT"
    expect(child, "false\tEINTR")
  end)

  it("cuts the grace to nothing", function()
    local child <close> = start [[
      try({ grace = 1000 }, function()
        print "ready"
        pcall(aio.sleep, 100)
        -- Main waits when this is printed, and no Lua code runs.
        aio.loop():call_later(0.01, print, "cleaning")
        aio.shield(nil, aio.sleep, 100)
      end)]]
    expect(child, "ready")
    child:signal "INT"
    expect(child, "cleaning")
    child:signal "INT"
    local rest = child:finish()
    assert.truthy(rest:find("false\tEINTR\n", 1, true))
  end)

  for name, hook in pairs {
    ["waits"] = "aio.sleep(100)",
    ["never waits"] = "while true do end",
  } do
    it("ends an on_close hook that " .. name, function()
      local child <close> = start([[
        try({ grace = 1000, on_error = function() end }, function()
          aio.on_close(function() print "other" end)
          aio.on_close(function() print "closing" ]] .. hook .. [[ end)
          print "ready"
          aio.sleep(100)
        end)]])
      expect(child, "ready")
      child:signal "INT"
      expect(child, "closing")
      child:signal "INT"
      expect(child, "other", "false\tEINTR")
    end)
  end

  it("does not wait for bytes on their way", function()
    local child <close> = start [[
      local silent
      try({ grace = 1000 }, function()
        local server = assert(aio.tcp.listen("127.0.0.1", 0))
        local conn = assert(aio.tcp.connect(server:sockname()))
        silent = server:accept()
        conn:protocol {} -- so that write does not wait
        conn:write(("x"):rep(2 ^ 24))
        conn:close()
        aio.on_close(function() print "closing" end)
        print "ready"
        aio.sleep(100)
      end)]]
    expect(child, "ready")
    child:signal "INT"
    expect(child, "closing")
    child:signal "INT"
    expect(child, "false\tEINTR")
  end)

  it("does not hit what runs after the run", function()
    local child <close> = start [[
      try(function()
        print "ready"
        pcall(aio.sleep, 100)
        print "busy"
        while true do end
      end)
      for _ = 1, 1000 do aio.yield() end
      aio.run(function() aio.spawn(aio.yield):await() end)
      print "well"]]
    expect(child, "ready")
    child:signal "INT"
    expect(child, "busy")
    child:signal "INT"
    expect(child, "false\tEINTR", "well")
  end)
end)

describe("the third Ctrl-C", function()
  it("kills", function()
    local child <close> = start [[
      try(function()
        print "ready"
        pcall(aio.sleep, 100)
        local function busy(word)
          print(word)
          while true do end
        end
        pcall(busy, "busy")
        pcall(busy, "stubborn")
      end)]]
    for _, line in ipairs { "ready", "busy", "stubborn" } do
      expect(child, line)
      child:signal "INT"
    end
    local _, how, signal = child:finish()
    assert.equal("signal", how)
    assert.equal(2, signal)
  end)
end)

describe("Ctrl-C", function()
  -- The interpreter's own handler stops the main chunk.
  it("is the program's own affair after the run", function()
    local child <close> = start [[
      aio.run(aio.yield)
      print "ready"
      while true do end]]
    expect(child, "ready")
    child:signal "INT"
    local rest, status = child:finish()
    assert.truthy(rest:find("interrupted!", 1, true))
    assert.equal(1, status)
  end)

  it("stays so after a run that it has ended", function()
    local child <close> = start [[
      try(function() print "ready" aio.sleep(100) end)
      print "after"
      while true do end]]
    expect(child, "ready")
    child:signal "INT"
    expect(child, "false\tEINTR", "after")
    child:signal "INT"
    local rest = child:finish()
    assert.truthy(rest:find("interrupted!", 1, true))
  end)

  it("finds the handler again that was there before the run", function()
    local child <close> = start [[
      local process = assert(package.loadlib("build/host/process.so",
        "luaopen_process"))()
      process.handle()
      aio.run(function() print(process.handles()) end)
      print(process.handles())
      try(function() print "ready" aio.sleep(100) end)
      print(process.handles(), process.handled())
      print(pcall(aio.run, error, "failed"))
      print(process.handles())]]
    expect(child, "false", "true", "ready")
    child:signal "INT"
    expect(child, "false\tEINTR", "true\t0", "false\tfailed", "true")
  end)

  it("leaves alone a handler that was set during the run", function()
    local child <close> = start [[
      local process = assert(package.loadlib("build/host/process.so",
        "luaopen_process"))()
      aio.run(process.handle)
      print(process.handles())]]
    expect(child, "true")
  end)

  it("is left alone with signals = false", function()
    local child <close> = start [[
      try({ signals = false }, function()
        print(core.signals(nil))
        local _ <close> = setmetatable({}, { __close = function()
          print "cancelled"
        end })
        print "ready"
        aio.sleep(0.05)
      end)]]
    expect(child, "true", "ready")
    child:signal "INT"
    local rest = child:finish()
    assert.is_nil(rest:find "EINTR")
  end)
end)

describe("core.signals", function()
  it("calls the function with the count, where waits are refused", function()
    local child <close> = start [[
      aio.run({ signals = false }, function()
        local f = aio.future()
        print(core.signals(function(n)
          print(n, aio.task(), pcall(aio.sleep, 1))
          if n == 2 then f:resolve() end
        end))
        print "ready"
        aio.timeout(100, f.await, f)
        print(core.signals(nil))
      end)]]
    expect(child, "true", "ready")
    child:signal "INT"
    assert.truthy(child:line():find "^1\tnil\tfalse\t.*callback")
    child:signal "INT"
    assert.truthy(child:line():find "^2\tnil\tfalse\t.*callback")
    expect(child, "true")
    assert.equal(0, select(2, child:finish()))
  end)

  it("replaces the function, and counts anew", function()
    local child <close> = start [[
      aio.run({ signals = false }, function()
        local f = aio.future()
        core.signals(function(n)
          core.signals(function(m)
            print("new", m)
            f:resolve()
          end)
          print("old", n)
        end)
        print "ready"
        aio.timeout(100, f.await, f)
        core.signals(nil)
      end)]]
    expect(child, "ready")
    child:signal "INT"
    expect(child, "old\t1")
    child:signal "INT"
    expect(child, "new\t1")
    assert.equal(0, select(2, child:finish()))
  end)

  it("does not outlive the state", function()
    local child <close> = start [[
      print(core.signals(print))
      print(pcall(core.signals, 1))
      os.exit(0, true)]]
    local out, status = child:finish()
    assert.truthy(out:find "^true\nfalse\tbad argument #1")
    assert.equal(0, status)
  end)
end)
