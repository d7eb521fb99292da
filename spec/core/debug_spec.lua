-- In debug: where things were made.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local case, has = helper.case, helper.has

local DEBUG = { debug = true }

describe("in debug", function()
  it("a task knows which line spawned it", case(function()
    local here, t
    here = helper.here() t = aio.spawn(aio.yield)
    assert.equal(here, t:info().spawned_at)
  end, DEBUG))

  it("a child knows which line spawned it", case(function()
    local here, t
    local g <close> = aio.group()
    here = helper.here() t = g:spawn(aio.yield)
    assert.equal(here, t:info().spawned_at)
  end, DEBUG))

  it("a child of aio.all knows who called that", case(function()
    local here, at
    here = helper.here() aio.all(function() at = aio.task():info().spawned_at end)
    assert.equal(here, at)
  end, DEBUG))

  it("a future that is waited for says where it was made", case(function()
    local here, f
    here = helper.here() f = aio.future()
    local t = aio.spawn(f.await, f)
    testing.settle()
    assert.equal("future made at " .. here, t:info().waiting_on)
    t:cancel()
  end, DEBUG))
end)

describe("otherwise", function()
  it("nobody asks", case(function()
    local t = aio.spawn(aio.sleep, 1)
    assert.is_nil(t:info().spawned_at)
    local f = aio.future()
    local waiter = aio.spawn(f.await, f)
    testing.settle()
    assert.equal("future", waiter:info().waiting_on)
    waiter:cancel()
  end))
end)

if os.getenv "PERILUNE_NO_UV" then return end

local ends = require "spec.net.ends"

describe("a leak in debug", function()
  -- The lines that the leaks of `fn` name.
  local function leaks(fn)
    local texts = {}
    helper.run(function()
      fn()
      for _ = 1, 3 do
        collectgarbage()
        ends.turn()
      end
    end, {
      debug = { slow = false },
      on_error = function(err, info)
        texts[#texts + 1] = info.kind .. " " .. err
      end,
    })
    return table.concat(texts, "\n")
  end

  it("of a transport says where it was made", function()
    local here
    local text = leaks(function()
      local server <close> = assert(aio.tcp.listen("127.0.0.1", 0))
      local _, port = server:sockname()
      here = helper.here() local conn = assert(aio.tcp.connect("127.0.0.1", port))
      conn:nodelay()
      server:accept():close()
    end)
    has("leak a transport was collected", text)
    has("made at " .. here, text)
  end)

  it("of a transport that raced names who asked for it", function()
    local here
    local text = leaks(function()
      local server <close> = assert(aio.tcp.listen("*", 0))
      local _, port = server:sockname()
      here = helper.here() local conn = assert(aio.tcp.connect("localhost", port))
      conn:nodelay()
      server:accept():close()
    end)
    has("made at " .. here, text)
  end)

  it("of a server says where it was made", function()
    local here
    local text = leaks(function()
      here = helper.here() local server = aio.tcp.listen("127.0.0.1", 0)
      server:sockname()
    end)
    has("leak a server was collected", text)
    has("made at " .. here, text)
  end)
end)
