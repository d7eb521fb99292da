-- Channels: strict FIFO with hand-off.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local raised, values = helper.raised, helper.values
local failed, case, bare = helper.failed, helper.case, helper.bare

-- A task that gets once and logs what.
local function getter(ch, log, name)
  return aio.spawn(function() log(name, ch:get()) end)
end

-- A task that puts once and logs that it did.
local function putter(ch, log, value)
  return aio.spawn(function() log("put", value, (ch:put(value))) end)
end

describe("a rendezvous", function()
  it("is the default", case(function()
    local ch, log = aio.channel(), helper.log()
    putter(ch, log, "v")
    testing.settle()
    assert.equal("", log:text())
    assert.equal(0, #ch)
    assert.equal("v", ch:get())
    testing.settle()
    assert.equal("put:v:true", log:text())
  end))

  it("is the same with 0", case(function()
    local ch = aio.channel(0)
    values({ false }, ch:try_put "v")
    failed("ETIMEDOUT", aio.timeout(1, ch.put, ch, "v"))
    values({ false }, ch:try_get())
  end))

  it("lets put return at once when someone waits", case(function()
    local ch, log = aio.channel(), helper.log()
    getter(ch, log, "g")
    testing.settle()
    assert.is_true(ch:put "v")
    log "put"
    testing.settle()
    assert.equal("put g:v", log:text())
  end))

  it("serves getters in order", case(function()
    local ch, log = aio.channel(), helper.log()
    for i = 1, 3 do
      getter(ch, log, i)
    end
    testing.settle()
    for i = 1, 3 do
      ch:put("v" .. i)
    end
    testing.settle()
    assert.equal("1:v1 2:v2 3:v3", log:text())
  end))

  it("serves putters in order", case(function()
    local ch, log = aio.channel(), helper.log()
    for i = 1, 3 do
      putter(ch, log, i)
    end
    testing.settle()
    for i = 1, 3 do
      assert.equal(i, ch:get())
    end
    testing.settle()
    assert.equal("put:1:true put:2:true put:3:true", log:text())
  end))
end)

describe("a buffer", function()
  it("takes n without waiting", case(function()
    local ch, log = aio.channel(2), helper.log()
    aio.spawn(log, "other")
    assert.is_true(ch:put(1))
    assert.is_true(ch:put(2))
    assert.equal(2, #ch)
    log "put"
    aio.yield()
    assert.equal("put other", log:text())
    failed("ETIMEDOUT", aio.timeout(1, ch.put, ch, 3))
    assert.equal(2, #ch)
  end))

  it("gives in order", case(function()
    local ch = aio.channel(3)
    for i = 1, 3 do
      ch:put(i)
    end
    for i = 1, 3 do
      assert.equal(i, ch:get())
    end
    assert.equal(0, #ch)
  end))

  it("goes round many times", case(function()
    local ch, n = aio.channel(3), 0
    for i = 1, 50 do
      ch:put(2 * i)
      ch:put(2 * i + 1)
      n = n + (ch:get() == 2 * i and 1 or 0)
      n = n + (ch:get() == 2 * i + 1 and 1 or 0)
    end
    assert.equal(100, n)
  end))

  it("takes a waiting putter's value when there is room", case(function()
    local ch, log = aio.channel(1), helper.log()
    ch:put "a"
    putter(ch, log, "b")
    putter(ch, log, "c")
    testing.settle()
    assert.equal("", log:text())
    assert.equal("a", ch:get())
    assert.equal(1, #ch)
    testing.settle()
    assert.equal("put:b:true", log:text())
    assert.equal("b", ch:get())
    assert.equal("c", ch:get())
  end))

  it("hands over to a waiting getter", case(function()
    local ch, log = aio.channel(2), helper.log()
    getter(ch, log, "g")
    testing.settle()
    ch:put "v"
    assert.equal(0, #ch)
    testing.settle()
    assert.equal("g:v", log:text())
  end))

  it("can be large", case(function()
    local n, sum = helper.many(10000), 0
    local ch = aio.channel(n)
    for i = 1, n do
      assert(ch:try_put(i))
    end
    values({ false }, ch:try_put(0))
    assert.equal(n, #ch)
    for _ = 1, n do
      sum = sum + ch:get()
    end
    assert.equal(n * (n + 1) // 2, sum)
  end))

  -- Against a plain list: every way in which the ring grows and goes round,
  -- with entries of several values, and with waiting putters once it is full.
  for _, size in ipairs { 1, 2, 3, 5, 8, 13, math.huge } do
    it("of " .. size .. " does what a list does", case(function()
      math.randomseed(size == math.huge and 99 or size)
      local random = math.random
      local ch, list, last = aio.channel(size), {}, 0
      for _ = 1, helper.many(2000) do
        if random(2) == 1 and #list < size + 3 then
          last = last + 1
          list[#list + 1] = random(3) == 1 and { last, nil, last, n = 3 } or { last, n = 1 }
          aio.spawn(ch.put, ch, table.unpack(list[#list], 1, list[#list].n))
          aio.yield()
        elseif #list > 0 then
          local entry = table.remove(list, 1)
          table.move(entry, 1, entry.n, 2)
          entry[1] = true
          entry.n = entry.n + 1
          values(entry, ch:try_get())
        end
        assert.equal(math.min(#list, size), #ch)
      end
      while ch:try_get() do end
      aio.yield()
    end))
  end

  it("must have a size that makes sense", case(function()
    raised(aio.channel, -1)
    raised(aio.channel, 1.5)
    raised(aio.channel, "x")
    raised(aio.channel, 0 / 0)
  end))
end)

describe("what is put", function()
  for _, n in ipairs { 0, 2 } do
    it("is kept as a tuple, nils too, with a buffer of " .. n,
      case(function()
        local ch = aio.channel(n)
        aio.spawn(function()
          ch:put(1, nil, 3, nil)
          ch:put(false, nil)
          ch:put "one"
        end)
        values({ 1, nil, 3, nil, n = 4 }, ch:get())
        values({ false, nil, n = 2 }, ch:get())
        values({ "one" }, ch:get())
      end))

    it("is kept as a tuple when a getter waits, with a buffer of " .. n,
      case(function()
        local ch = aio.channel(n)
        local t = aio.spawn(ch.get, ch)
        testing.settle()
        ch:put(1, nil, 3, nil)
        values({ 1, nil, 3, nil, n = 4 }, t:await())
      end))

    it("may be many values, with a buffer of " .. n, case(function()
      local ch, list = aio.channel(n), {}
      for i = 1, 200 do
        list[i] = i
      end
      aio.spawn(function() ch:put(table.unpack(list)) end)
      values(list, ch:get())
    end))
  end

  it("must not be nil", case(function()
    local ch = aio.channel(1)
    helper.has("bad argument #1 to 'put' (the first value must not be nil",
      raised(function() ch:put(nil) end))
    raised(ch.put, ch)
    raised(ch.try_put, ch, nil)
    raised(ch.put, ch, nil, 1)
    assert.equal(0, #ch)
  end))
end)

describe("try_put and try_get", function()
  it("never wait", case(function()
    local ch = aio.channel(1)
    values({ false }, ch:try_get())
    values({ true }, ch:try_put(1, nil))
    values({ false }, ch:try_put(2))
    values({ true, 1, nil, n = 3 }, ch:try_get())
    values({ false }, ch:try_get())
  end))

  it("work with who waits at the other side", case(function()
    local ch, log = aio.channel(), helper.log()
    putter(ch, log, "p")
    testing.settle()
    values({ true, "p" }, ch:try_get())
    getter(ch, log, "g")
    testing.settle()
    values({ true }, ch:try_put "v")
    testing.settle()
    assert.equal("put:p:true g:v", log:text())
  end))

  it("take nothing that was handed over", case(function()
    local ch, log = aio.channel(1), helper.log()
    getter(ch, log, "first")
    testing.settle()
    ch:put "v"
    values({ false }, ch:try_get())
    testing.settle()
    assert.equal("first:v", log:text())
  end))

  it("do not overtake a waiting putter", case(function()
    local ch, log = aio.channel(1), helper.log()
    ch:put "a"
    putter(ch, log, "b")
    testing.settle()
    values({ true, "a" }, ch:try_get())
    values({ false }, ch:try_put "c")
    values({ true, "b" }, ch:try_get())
  end))

  it("work in a callback", case(function()
    local ch = aio.channel(1)
    aio.loop():call_soon(ch.try_put, ch, "v"):await()
    values({ true, "v" },
      aio.loop():call_soon(ch.try_get, ch):await())
  end))
end)

describe("closing", function()
  it("lets what is buffered be got, then get is nil", case(function()
    local ch = aio.channel(3)
    ch:put(1)
    ch:put(2, nil)
    ch:close()
    assert.equal(2, #ch)
    values({ 1 }, ch:get())
    values({ true, 2, nil, n = 3 }, ch:try_get())
    values({ nil, n = 1 }, ch:get())
    values({ nil, n = 1 }, ch:get())
  end))

  it("makes the others return nil, message, ECLOSED", case(function()
    local ch = aio.channel(2)
    ch:close()
    failed("ECLOSED", ch:put(1))
    failed("ECLOSED", ch:try_put(1))
    failed("ECLOSED", ch:try_get())
  end))

  it("refuses to put while there is something to drain", case(function()
    local ch = aio.channel(3)
    ch:put(1)
    ch:close()
    failed("ECLOSED", ch:put(2))
    failed("ECLOSED", ch:try_put(2))
    values({ true, 1 }, ch:try_get())
    failed("ECLOSED", ch:try_get())
  end))

  it("wakes getters with nil", case(function()
    local ch, log = aio.channel(), helper.log()
    for i = 1, 3 do
      aio.spawn(function() log(i, select("#", ch:get())) end)
    end
    testing.settle()
    ch:close()
    testing.settle()
    assert.equal("1:1 2:1 3:1", log:text())
  end))

  it("loses no waiting putter: put said so, or it is got", case(function()
    for _, n in ipairs { 0, 2 } do
      local ch = aio.channel(n)
      local results = {}
      for i = 1, 4 do
        aio.spawn(function() results[i] = table.pack(ch:put(i)) end)
      end
      testing.settle()
      ch:close()
      local got = {}
      for v in ch do
        got[v] = true
      end
      testing.settle()
      for i = 1, 4 do
        local r = results[i]
        if got[i] then
          values({ true }, table.unpack(r, 1, r.n))
        else
          failed("ECLOSED", table.unpack(r, 1, r.n))
        end
      end
    end
  end))

  it("twice is fine", case(function()
    local ch = aio.channel()
    assert.truthy(ch:close())
    assert.truthy(ch:close())
  end))

  it("keeps what was handed over before", case(function()
    local ch, log = aio.channel(), helper.log()
    getter(ch, log, "g")
    testing.settle()
    ch:put "v"
    ch:close()
    testing.settle()
    assert.equal("g:v", log:text())
  end))

  it("works in a callback", case(function()
    local ch = aio.channel()
    aio.loop():call_later(1, ch.close, ch)
    values({ nil, n = 1 }, ch:get())
  end))
end)

describe("iterating", function()
  it("gives tuples until it is closed and drained", case(function()
    local ch, log = aio.channel(1), helper.log()
    aio.spawn(function()
      for i = 1, 3 do
        ch:put(i, -i)
      end
      ch:close()
    end)
    for a, b in ch do
      log(a, b)
    end
    assert.equal("1:-1 2:-2 3:-3", log:text())
  end))

  it("by several shares the values", case(function()
    local ch, sum = aio.channel(), 0
    local g <close> = aio.group()
    for _ = 1, 3 do
      g:spawn(function()
        for v in ch do
          sum = sum + v
          aio.yield()
        end
      end)
    end
    for i = 1, 30 do
      ch:put(i)
    end
    ch:close()
    g:wait()
    assert.equal(465, sum)
  end))

  it("can be left and taken up again", case(function()
    local ch, log = aio.channel(5), helper.log()
    for i = 1, 5 do
      ch:put(i)
    end
    ch:close()
    for v in ch do
      log(v)
      if v == 2 then
        break
      end
    end
    log "pause"
    for v in ch do
      log(v)
    end
    assert.equal("1 2 pause 3 4 5", log:text())
  end))
end)

describe("a cancelled getter", function()
  it("loses nothing and wakes nobody for nothing", case(function()
    local ch, log = aio.channel(), helper.log()
    local first = getter(ch, log, 1)
    getter(ch, log, 2)
    testing.settle()
    first:cancel()
    testing.settle()
    assert.equal("", log:text())
    ch:put "v"
    testing.settle()
    assert.equal("2:v", log:text())
  end))

  it("after the hand-off keeps its value", case(function()
    local ch, log = aio.channel(), helper.log()
    local first = aio.spawn(function()
      log(1, ch:get())
      aio.yield()
      log "never"
    end)
    getter(ch, log, 2)
    testing.settle()
    ch:put "a"
    first:cancel()
    ch:put "b"
    testing.settle()
    assert.equal("1:a 2:b", log:text())
    assert.equal("cancelled", (first:peek()))
  end))

  it("just before the put leaves the value to the next", case(function()
    local ch, log = aio.channel(1), helper.log()
    local first = getter(ch, log, 1)
    testing.settle()
    first:cancel()
    ch:put "v"
    testing.settle()
    values({ true, "v" }, ch:try_get())
    assert.equal("", log:text())
  end))
end)

describe("a cancelled putter", function()
  it("takes its value back", case(function()
    local ch, log = aio.channel(), helper.log()
    local first = putter(ch, log, "a")
    putter(ch, log, "b")
    testing.settle()
    first:cancel()
    testing.settle()
    assert.equal("b", ch:get())
    values({ false }, ch:try_get())
    testing.settle()
    assert.equal("put:b:true", log:text())
  end))

  it("in the middle leaves the others in order", case(function()
    local ch, log = aio.channel(1), helper.log()
    local list = {}
    for i = 1, 5 do
      list[i] = putter(ch, log, i)
    end
    testing.settle()
    list[3]:cancel()
    testing.settle()
    local got = helper.log()
    for _ = 1, 4 do
      got(ch:get())
    end
    assert.equal("1 2 4 5", got:text())
  end))

  it("after its value was taken has put", case(function()
    local ch, log = aio.channel(), helper.log()
    local t = aio.spawn(function()
      log(ch:put "v")
      aio.yield()
      log "never"
    end)
    testing.settle()
    assert.equal("v", ch:get())
    t:cancel()
    t:join()
    assert.equal("true", log:text())
  end))

  it("by a timeout, again and again, leaves nothing", case(function()
    local ch = aio.channel()
    for i = 1, 20 do
      failed("ETIMEDOUT", aio.timeout(0.1, ch.put, ch, i))
    end
    values({ false }, ch:try_get())
    local t = aio.spawn(ch.get, ch)
    testing.settle()
    ch:put "v"
    assert.equal("v", t:await())
  end))
end)

describe("a channel", function()
  it("is made anywhere and serves several runs", bare(function()
    local ch = aio.channel(2)
    aio.run(function() ch:put(1) end)
    assert.equal(1, aio.run(ch.get, ch))
    ch:put(2)
    assert.equal(2, ch:get())
  end))

  it("carries a stream between two tasks in order", case(function()
    for _, size in ipairs { 0, 1, 7 } do
      local n = helper.many(300)
      local ch, ok = aio.channel(size), true
      local g <close> = aio.group()
      g:spawn(function()
        for i = 1, n do
          ch:put(i)
        end
        ch:close()
      end)
      local expected = 0
      for v in ch do
        expected = expected + 1
        ok = ok and v == expected
      end
      assert.is_true(ok)
      assert.equal(n, expected)
    end
  end))

  it("is collected with what is in it", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local ch, value = aio.channel(1), {}
      ch:put(value)
      weak[ch], weak[value] = true, true
    end
    helper.gone(weak)
  end))

  it("keeps nothing of what was got", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    local ch = aio.channel(2)
    do
      local a, b = {}, {}
      weak[a], weak[b] = true, true
      ch:put(a)
      ch:get()
      aio.spawn(function() ch:put(b) end)
      aio.spawn(function() ch:get() end)
      testing.settle()
    end
    helper.gone(weak)
    assert.equal(0, #ch)
  end))

  it("keeps nothing of a put that was cancelled", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    local ch = aio.channel()
    do
      local value = {}
      weak[value] = true
      aio.timeout(1, ch.put, ch, value)
    end
    helper.gone(weak)
    values({ false }, ch:try_get())
  end))

  it("stays as long as someone waits", case(function()
    local weak = setmetatable({}, { __mode = "v" })
    local t = aio.spawn(function()
      weak.ch = aio.channel()
      return weak.ch:get()
    end)
    testing.settle()
    collectgarbage()
    collectgarbage()
    weak.ch:put "v"
    assert.equal("v", t:await())
  end))

  it("is refused for methods of something else", case(function()
    local ch = aio.channel(1)
    raised(ch.get, {})
    raised(ch.put, aio.event(), 1)
    raised(ch.close)
    assert.equal(0, #ch)
  end))
end)
