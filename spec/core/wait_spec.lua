-- What a task waits for, in words: in task:info, aio.tree and reports.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local bare, case, has, real = helper.bare, helper.case, helper.has, helper.real

-- What a task says that it waits for, having called `fn`.
local function waiting_on(fn, ...)
  local task = aio.spawn(fn, ...)
  testing.settle()
  local text = task:info().waiting_on
  task:cancel()
  task:join()
  return text
end

describe("a task that waits says so", function()
  for text, wait in pairs {
    ["sleep"] = function() aio.sleep(9) end,
    ["event"] = function() aio.event():wait() end,
    ["channel get"] = function() aio.channel():get() end,
    ["channel put"] = function() aio.channel():put(1) end,
    ["future"] = function() aio.future():await() end,
    ['future "answer"'] = function() aio.future():name("answer"):join() end,
    ['task "x"'] = function() aio.spawn(aio.sleep, 1):name("x"):await() end,
    ["callback"] = function()
      local callback <close> = setmetatable({
        aio.loop():call_later(9, print),
      }, { __close = function(self) self[1]:cancel() end })
      callback[1]:await()
    end,
    ["end of its group"] = function()
      local g <close> = aio.group()
      g:spawn(aio.sleep, 1)
    end,
  } do
    it("of " .. text, case(function()
      assert.equal(text, waiting_on(wait))
    end))
  end

  it("of a task without a name, by its number", case(function()
    local t = aio.spawn(aio.sleep, 9)
    assert.equal("task " .. t:info().id, waiting_on(t.await, t))
    assert.equal("task " .. t:info().id, waiting_on(t.join, t))
    t:cancel()
  end))

  it("of what is waited for inside of generators", case(function()
    assert.equal("channel get", waiting_on(function()
      aio.coroutine.wrap(function()
        aio.coroutine.wrap(function() aio.channel():get() end)()
      end)()
    end))
  end))

  it("not any more once it was woken", case(function()
    local f = aio.future()
    local t = aio.spawn(f.await, f)
    testing.settle()
    f:resolve()
    assert.is_nil(t:info().waiting_on)
    t:await()
  end))
end)

describe("where a task waits", function()
  it("is the line in the innermost generator", case(function()
    local here
    local t = aio.spawn(function()
      aio.coroutine.wrap(function()
        here = helper.here() aio.sleep(9)
      end)()
    end)
    testing.settle()
    assert.equal(here, t:info().where)
    t:cancel()
  end))

  it("is no line of the library", case(function()
    local here
    local t = aio.spawn(function()
      here = helper.here() aio.wait { aio.future() }
    end)
    testing.settle()
    assert.equal(here, t:info().where)
    t:cancel()
  end))
end)

describe("a deadlock", function()
  it("names what is waited for by whom", bare(function()
    local bee, other
    local e = helper.raised(aio.run, function()
      local t = aio.spawn(function() aio.channel():get() end):name "bee"
      local u = aio.spawn(function()
        aio.coroutine.wrap(function() t:await() end)()
      end)
      bee, other = t:info().id, u:info().id
      u:await()
    end)
    has(("this wait (task %d)"):format(other), e.message)
    has(("task %d (bee) waits for channel get at "):format(bee), e.message)
    has(("task %d waits for task \"bee\" at "):format(other), e.message)
  end))

  it("of many names some, and counts the others", bare(function()
    local e = helper.raised(aio.run, function()
      local f = aio.future()
      for _ = 1, 25 do
        aio.spawn(f.await, f)
      end
      f:await()
    end)
    local _, named = e.message:gsub("waits for future", "")
    assert.equal(20, named)
    has("and 5 more", e.message)
  end))

  it("names what the main chunk waits for", bare(function()
    local f = aio.future():name "godot"
    has('this wait (future "godot")', helper.raised(f.await, f).message)
  end))
end)

if os.getenv "PERILUNE_NO_UV" then return end

local ends = require "spec.net.ends"

describe("a task that waits for the outside", function()
  it("names the peer", real(function()
    local a, b = ends.tcp()
    local _ <close> = ends.held(a, b)
    local _, port = a:peername()
    local reader = ends.parked(a.read, a)
    assert.equal("read 127.0.0.1:" .. port, reader:info().waiting_on)
    ends.fill(a)
    local writer = ends.parked(a.write, a, "more")
    assert.equal("write 127.0.0.1:" .. port, writer:info().waiting_on)
    reader:cancel()
    writer:cancel()
    reader:join()
    writer:join()
  end))

  it("names the address of a server", real(function()
    local server <close> = assert(aio.tcp.listen("127.0.0.1", 0))
    local _, port = server:sockname()
    local task = ends.parked(server.accept, server)
    assert.equal("accept 127.0.0.1:" .. port, task:info().waiting_on)
    task:cancel()
    task:join()
  end))

  it("names the address that it connects to", real(function()
    local directory <close> = ends.directory()
    local path = directory.path .. "/s"
    local _ <close> = assert(aio.unix.listen(path, { backlog = 1 }))
    local held = {}
    local t = aio.spawn(function()
      while true do
        held[#held + 1] = aio.unix.connect(path)
      end
    end)
    while t:info().state ~= "waiting" do ends.turn() end
    assert.equal("connect " .. path, t:info().waiting_on)
    t:cancel()
    t:join()
    local _ <close> = ends.held(table.unpack(held))
  end))
end)
