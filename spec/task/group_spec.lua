-- Groups: the body is a member, leaving waits for the children.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

local raised, has, values = helper.raised, helper.has, helper.values
local failed, case = helper.failed, helper.case

-- Runs `body` in a group of the <close> form.
local function grouped(body, opts)
  local g <close> = aio.group(opts)
  return body(g)
end

local function after(s, ...)
  aio.sleep(s)
  return ...
end

local function failing(s, e)
  return function()
    aio.sleep(s)
    error(e, 0)
  end
end

describe("a group", function()
  it("waits for its children when it is left", case(function()
    local log = helper.log()
    do
      local g <close> = aio.group()
      g:spawn(function()
        aio.sleep(2)
        log "slow"
      end)
      g:spawn(function()
        aio.sleep(1)
        log "fast"
      end)
      log "body"
    end
    log "after"
    assert.equal("body fast slow after", log:text())
  end))

  it("waits also for children spawned by children", case(function()
    local log = helper.log()
    grouped(function(g)
      g:spawn(function()
        aio.sleep(1)
        g:spawn(function()
          aio.sleep(1)
          log "grandchild"
        end)
      end)
    end)
    assert.equal("grandchild", log:text())
  end))

  it("without children is left without a switch", case(function()
    local log = helper.log()
    aio.spawn(log, "other")
    grouped(function() end)
    log "left"
    aio.yield()
    assert.equal("left other", log:text())
  end))

  it("keeps the values the body returns, nils too", case(function()
    values({ 1, nil, 3, n = 3 }, grouped(function(g)
      g:spawn(aio.sleep, 1)
      return 1, nil, 3
    end))
  end))

  it("with a function returns its values, or true", case(function()
    values({ 1, nil, n = 2 }, aio.group({}, function(g)
      g:spawn(aio.sleep, 1)
      return 1, nil
    end))
    values({ true }, aio.group({}, function() end))
  end))

  it("nests", case(function()
    local log = helper.log()
    grouped(function(outer)
      outer:spawn(function()
        grouped(function(inner)
          inner:spawn(function()
            aio.sleep(1)
            log "inner"
          end)
        end)
        log "outer"
      end)
    end)
    log "all"
    assert.equal("inner outer all", log:text())
  end))

  it("checks its arguments", case(function()
    raised(aio.group, "x")
    raised(aio.group, {}, 1)
    raised(aio.group, { on_failure = 1 })
    local g <close> = aio.group()
    raised(g.spawn, g)
    raised(g.spawn, g, {})
    raised(g.start, g, 1)
    raised(g.service, g, 1)
    raised(g.spawn, {}, print)
  end))

  it("may be closed twice", case(function()
    local g
    do
      local mine <close> = aio.group()
      g = mine
    end
    debug.getmetatable(g).__close(g, nil)
    assert.is_true(aio.sleep(1))
  end))
end)

describe("group:spawn", function()
  it("returns a task that can be awaited", case(function()
    grouped(function(g)
      values({ 1, nil, n = 2 }, g:spawn(after, 1, 1, nil):await())
    end)
  end))

  it("never starts at once, and in order", case(function()
    local log = helper.log()
    grouped(function(g)
      g:spawn(log, 1)
      g:spawn(log, 2)
      log "body"
    end)
    assert.equal("body 1 2", log:text())
  end))

  it("puts the child under the group's scopes, whoever calls",
    case(function()
      local log = helper.log()
      local handed = aio.channel()
      aio.spawn(function()
        local g = handed:get()
        g:spawn(function()
          local e = raised(aio.sleep, 100)
          log(aio.is_cancelled(e))
          error(e)
        end)
      end)
      failed("ETIMEDOUT", aio.timeout(1, function()
        local g <close> = aio.group()
        handed:put(g)
        aio.sleep(100)
      end))
      assert.equal("true", log:text())
    end))

  it("does not put the child under scopes of the caller", case(function()
    local g <close> = aio.group()
    local child
    aio.timeout(1, function()
      child = g:spawn(after, 5, "free")
      aio.sleep(100)
    end)
    assert.equal("free", child:await())
  end))

  it("captures the caller's context", case(function()
    local var = aio.context.var("v", 0)
    local g <close> = aio.group()
    local child = var:with(3, g.spawn, g, var.get, var)
    assert.equal(3, child:await())
  end))

  it("into a closed group raises", case(function()
    local g
    grouped(function(mine) g = mine end)
    local e = raised(g.spawn, g, print)
    has("closed", e)
  end))

  it("into a closing group whose children run is allowed", case(function()
    local log = helper.log()
    local g
    aio.loop():call_later(1, function() g:spawn(log, "late") end)
    do
      local mine <close> = aio.group()
      g = mine
      g:spawn(aio.sleep, 2)
    end
    assert.equal("late", log:text())
  end))

  it("into a cancelled group makes a child that meets Cancelled",
    case(function()
      local log = helper.log()
      grouped(function(g)
        g:cancel "stop"
        g:spawn(function()
          log "started"
          local e = raised(aio.sleep, 1)
          log(e.reason)
        end)
      end)
      assert.equal("started stop", log:text())
    end))
end)

describe("a failing child", function()
  it("is raised unchanged when the group is left", case(function()
    for _, e in ipairs { "text", {}, false } do
      local ok, got = pcall(grouped, function(g) g:spawn(error, e, 0) end)
      assert.is_false(ok)
      assert.equal(e, got)
    end
    values({ false, nil, n = 2 }, pcall(grouped, function(g)
      g:spawn(error, nil)
    end))
  end))

  it("is raised by the function form", case(function()
    local e = {}
    assert.equal(e, raised(aio.group, {}, function(g) g:spawn(error, e) end))
  end))

  it("cancels the body's waits, and is raised in place of Cancelled",
    case(function()
      local e, seen = {}, nil
      assert.equal(e, raised(grouped, function(g)
        g:spawn(failing(1, e))
        seen = raised(aio.sleep, 100)
        error(seen)
      end))
      assert.is_true(aio.is_cancelled(seen))
    end))

  it("is raised though the body swallowed the Cancelled", case(function()
    local e = {}
    assert.equal(e, raised(grouped, function(g)
      g:spawn(failing(1, e))
      pcall(aio.sleep, 100)
      return "fine"
    end))
  end))

  it("cancels its siblings, which are joined", case(function()
    local log = helper.log()
    raised(grouped, function(g)
      g:spawn(function()
        local _ <close> = setmetatable({}, { __close = function()
          aio.shield(5, aio.sleep, 1)
          log "sibling"
        end })
        aio.sleep(100)
      end)
      g:spawn(failing(1, "e"))
    end)
    log "raised"
    assert.equal("sibling raised", log:text())
  end))

  it("reaches the body's scopes inside the group", case(function()
    local e = {}
    assert.equal(e, raised(grouped, function(g)
      g:spawn(failing(1, e))
      aio.timeout(50, aio.sleep, 100)
    end))
  end))

  it("does not touch a shielded part of the body", case(function()
    local log, e = helper.log(), {}
    assert.equal(e, raised(grouped, function(g)
      g:spawn(failing(1, e))
      aio.shield(50, aio.sleep, 5)
      log "shielded"
      aio.yield()
    end))
    assert.equal("shielded", log:text())
  end))

  it("does not touch tasks outside", case(function()
    local outside = aio.spawn(after, 5, "fine")
    raised(grouped, function(g) g:spawn(failing(1, "e")) end)
    assert.equal("fine", outside:await())
  end))

  it("is raised at once, too, where it is awaited", case(function()
    local e, seen = {}, nil
    assert.equal(e, raised(grouped, function(g)
      local child = g:spawn(failing(1, e))
      seen = raised(child.await, child)
      error(seen)
    end))
    assert.is_not_nil(seen)
  end))

  it("that came first is raised, later ones are secondary", case(function()
    local heard = {}
    aio.loop():on_error(function(err, info)
      heard[#heard + 1] = info.kind .. ":" .. err
    end)
    local e = raised(grouped, function(g)
      g:spawn(function()
        pcall(aio.sleep, 100)
        error("second", 0)
      end)
      g:spawn(failing(1, "first"))
      g:spawn(function()
        pcall(aio.sleep, 100)
        error("third", 0)
      end)
    end)
    aio.sleep(1)
    aio.loop():on_error(nil)
    assert.equal("first", e)
    assert.same({ "secondary:second", "secondary:third" }, heard)
  end))

  it("ends the task when it is not caught", case(function()
    local e = {}
    local t = aio.spawn(function()
      local g <close> = aio.group()
      g:spawn(error, e)
      aio.sleep(100)
    end)
    values({ false, e }, t:join())
  end))
end)

describe("an error in the body", function()
  it("cancels the children, and is raised", case(function()
    local e, log = {}, helper.log()
    assert.equal(e, raised(grouped, function(g)
      g:spawn(function()
        local c = raised(aio.sleep, 100)
        log(aio.is_cancelled(c))
        error(c)
      end)
      aio.yield()
      error(e)
    end))
    assert.equal("true", log:text())
  end))

  it("waits for them", case(function()
    local log = helper.log()
    raised(grouped, function(g)
      g:spawn(function()
        pcall(aio.sleep, 100)
        aio.shield(5, aio.sleep, 1)
        log "child"
      end)
      aio.yield()
      error "x"
    end)
    log "raised"
    assert.equal("child raised", log:text())
  end))

  it("comes first: a child's error is secondary then", case(function()
    local heard = {}
    aio.loop():on_error(function(err, info)
      heard[#heard + 1] = info.kind .. ":" .. err
    end)
    local e = raised(grouped, function(g)
      g:spawn(function()
        pcall(aio.sleep, 100)
        error("child", 0)
      end)
      aio.yield()
      error("body", 0)
    end)
    aio.sleep(1)
    aio.loop():on_error(nil)
    assert.equal("body", e)
    assert.same({ "secondary:child" }, heard)
  end))

  it("nil is raised as such", case(function()
    values({ false, nil, n = 2 }, pcall(aio.group, {}, function()
      error(nil)
    end))
  end))
end)

describe("a group whose owner is cancelled", function()
  it("cancels the children and joins them", case(function()
    local log = helper.log()
    local t = aio.spawn(function()
      local g <close> = aio.group()
      g:spawn(function()
        local e = raised(aio.sleep, 100)
        log("child", e.reason)
        error(e)
      end)
      aio.sleep(100)
    end)
    testing.settle()
    t:cancel "why"
    t:join()
    assert.equal("child:why", log:text())
    values({ "cancelled", "why" }, t:peek())
  end))

  it("while it is being left, waits on for the children", case(function()
    local log = helper.log()
    local t = aio.spawn(function()
      local g <close> = aio.group()
      g:spawn(function()
        pcall(aio.sleep, 100)
        aio.shield(9, aio.sleep, 5)
        log "child"
      end)
    end)
    testing.settle()
    t:cancel()
    t:join()
    log "joined"
    assert.equal("child joined", log:text())
    assert.equal("cancelled", (t:peek()))
  end))

  it("raises a child's earlier failure; the next wait is cancelled",
    case(function()
      local e, log = {}, helper.log()
      local t = aio.spawn(function()
        local ok, got = pcall(grouped, function(g)
          g:spawn(function()
            pcall(aio.sleep, 100)
            error(e)
          end)
          g:spawn(function()
            pcall(aio.sleep, 100)
            aio.shield(9, aio.sleep, 5)
          end)
          aio.sleep(100)
        end)
        log(ok, got == e)
        local c = raised(aio.yield)
        log(aio.is_cancelled(c))
      end)
      testing.settle()
      t:cancel()
      t:join()
      assert.equal("false:true true", log:text())
    end))

  it("by a deadline around it is a timeout", case(function()
    local log = helper.log()
    failed("ETIMEDOUT", aio.timeout(1, function()
      local g <close> = aio.group()
      g:spawn(function()
        local _ <close> = setmetatable({}, {
          __close = function() log "child" end,
        })
        aio.sleep(100)
      end)
    end))
    assert.equal("child", log:text())
  end))
end)

describe("group:cancel", function()
  it("cancels the children, never the body", case(function()
    local log = helper.log()
    values({ "body" }, grouped(function(g)
      g:spawn(function()
        local e = raised(aio.sleep, 100)
        log(e.reason)
        error(e)
      end)
      aio.yield()
      g:cancel "enough"
      assert.is_true(aio.sleep(1))
      return "body"
    end))
    assert.equal("enough", log:text())
  end))

  it("makes no failure of the children", case(function()
    assert.is_true(pcall(grouped, function(g)
      g:spawn(aio.sleep, 100)
      g:spawn(aio.sleep, 100)
      g:cancel()
    end))
  end))

  it("reaches services, too", case(function()
    local before = aio.now()
    grouped(function(g)
      g:service(aio.sleep, 1000)
      g:spawn(aio.sleep, 1000)
      aio.yield()
      g:cancel()
    end)
    assert.equal(before, aio.now())
  end))

  it("from outside the body", case(function()
    local g
    aio.loop():call_later(1, function() g:cancel() end)
    local before = aio.now()
    grouped(function(mine)
      g = mine
      g:spawn(aio.sleep, 1000)
    end)
    assert.is_true(aio.now() - before < 2)
  end))
end)

describe("a child cancelled by its own cancel", function()
  it("is no failure", case(function()
    values({ "fine" }, grouped(function(g)
      local child = g:spawn(aio.sleep, 100)
      local other = g:spawn(after, 1, "fine")
      aio.yield()
      child:cancel()
      return other:await()
    end))
  end))

  it("that raises something else is one", case(function()
    assert.equal("oops", raised(grouped, function(g)
      local child = g:spawn(function()
        pcall(aio.sleep, 100)
        error("oops", 0)
      end)
      aio.yield()
      child:cancel()
    end))
  end))

  it("awaited in the body raises ECANCELED there", case(function()
    local e = raised(grouped, function(g)
      local child = g:spawn(aio.sleep, 100)
      aio.yield()
      child:cancel()
      child:await()
    end)
    assert.equal("ECANCELED", e.code)
    assert.is_false(aio.is_cancelled(e))
  end))
end)

describe("group:wait", function()
  it("returns when no child runs, and the group stays open", case(function()
    local log = helper.log()
    grouped(function(g)
      g:spawn(function()
        aio.sleep(1)
        log "first"
      end)
      g:wait()
      log "waited"
      g:spawn(log, "second")
      g:wait()
      log "again"
    end)
    assert.equal("first waited second again", log:text())
  end))

  it("returns at once without children", case(function()
    local log = helper.log()
    aio.spawn(log, "other")
    grouped(function(g)
      assert.truthy(g:wait())
      log "waited"
    end)
    aio.yield()
    assert.equal("waited other", log:text())
  end))

  it("does not wait for services", case(function()
    local before = aio.now()
    grouped(function(g)
      g:service(aio.sleep, 1000)
      g:wait()
      assert.equal(before, aio.now())
    end)
  end))

  it("may be called by several, and by tasks outside", case(function()
    local log = helper.log()
    grouped(function(g)
      g:spawn(after, 2)
      for i = 1, 2 do
        aio.spawn(function()
          g:wait()
          log(i)
        end)
      end
      g:wait()
      log "body"
    end)
    testing.settle()
    assert.equal("body 1 2", log:text())
  end))

  it("by a task outside goes on while the group is left", case(function()
    local log = helper.log()
    grouped(function(g)
      aio.spawn(function()
        g:wait()
        log "outside"
      end)
      g:spawn(after, 2)
      aio.yield()
    end)
    testing.settle()
    assert.equal("outside", log:text())
  end))

  it("is cancelled by a failing child", case(function()
    local e = {}
    assert.equal(e, raised(grouped, function(g)
      g:spawn(failing(1, e))
      g:spawn(aio.sleep, 100)
      g:wait()
      error "not reached"
    end))
  end))
end)

describe("group:service", function()
  it("is not waited for, and cancelled after the others ended",
    case(function()
      local log = helper.log()
      grouped(function(g)
        g:service(function()
          local e = raised(aio.sleep, 1000)
          log("service", aio.is_cancelled(e))
          error(e)
        end)
        g:spawn(function()
          aio.sleep(2)
          log "child"
        end)
      end)
      log "left"
      assert.equal("child service:true left", log:text())
    end))

  it("serves the children to the end", case(function()
    local ch, log = aio.channel(), helper.log()
    grouped(function(g)
      g:service(function()
        for question, answer in ch do
          answer:resolve(question * 2)
        end
      end)
      for i = 1, 3 do
        g:spawn(function()
          aio.sleep(i)
          local f = aio.future()
          ch:put(i, f)
          log(f:await())
        end)
      end
    end)
    assert.equal("2 4 6", log:text())
  end))

  -- A service that says why it ends, and a child that needs it until then.
  local function served(log, g)
    local ch = aio.channel()
    g:service(function()
      local ok, e = pcall(function()
        for answer in ch do answer:resolve() end
      end)
      log("service", ok or e.reason)
      error(e)
    end)
    g:spawn(function()
      local ok, e = pcall(aio.sleep, 1000)
      aio.shield(nil, function()
        local f = aio.future()
        ch:put(f)
        f:await()
      end)
      log("served", ok or e.reason)
      error(e)
    end)
  end

  for how, cancel in pairs {
    ["a failing child"] = function(log)
      raised(grouped, function(g)
        served(log, g)
        g:spawn(failing(1, "oops"))
      end)
    end,
    ["group:cancel"] = function(log)
      grouped(function(g)
        served(log, g)
        aio.sleep(1)
        g:cancel()
        g:wait()
        aio.sleep(1) -- the group has ended before the body does
        log "body"
      end)
    end,
    ["a deadline"] = function(log)
      aio.timeout(1, grouped, function(g)
        served(log, g)
        aio.sleep(1000)
      end)
    end,
    ["an error in the body"] = function(log)
      raised(grouped, function(g)
        served(log, g)
        aio.sleep(1)
        error "body"
      end)
    end,
    ["the group being left open"] = function(log)
      aio.spawn(function()
        served(log, aio.group())
        aio.sleep(1)
      end):join()
    end,
  } do
    it("ends after those it serves: " .. how, case(function()
      local log = helper.log()
      cancel(log)
      has("served:nil service:nil", log:text())
    end))
  end

  it("ends after those it serves at the end of a run, too",
    helper.bare(function()
      local log = helper.log()
      aio.run(function()
        aio.spawn(grouped, function(g)
          served(log, g)
          aio.sleep(1000)
        end)
        aio.sleep(1)
      end)
      assert.equal("served:shutdown service:shutdown", log:text())
    end))

  it("of a group opened where all is cancelled serves as well", case(function()
    local log = helper.log()
    local s <close> = aio.scope()
    s:cancel()
    pcall(grouped, function(g) served(log, g) end)
    has("served", log:text())
    has("service", log:text())
    assert.equal("ECANCELED", raised(getmetatable(s).__close, s, raised(aio.check)).code)
  end))

  it("cancelled by itself ends alone", case(function()
    grouped(function(g)
      local service = g:service(aio.sleep, 1000)
      local child = g:spawn(aio.sleep, 1)
      aio.yield()
      service:cancel()
      assert.is_false((service:join()))
      assert.is_true(child:await())
    end)
  end))

  it("that fails is a failing child", case(function()
    local e = {}
    assert.equal(e, raised(grouped, function(g)
      g:service(failing(1, e))
      aio.sleep(100)
    end))
  end))

  it("may end by itself", case(function()
    values({ "fine" }, grouped(function(g)
      g:service(function() end)
      return after(1, "fine")
    end))
  end))

  it("returns a task", case(function()
    grouped(function(g)
      assert.is_true(aio.is_awaitable(g:service(aio.sleep, 10)))
    end)
  end))
end)

describe("group:start", function()
  it("returns what started was given", case(function()
    grouped(function(g)
      values({ 1, nil, 3, n = 3 }, g:start(function(started)
        aio.sleep(1)
        started(1, nil, 3)
        aio.sleep(1)
      end))
    end)
  end))

  it("hands arguments over", case(function()
    grouped(function(g)
      values({ "a", nil, "c", n = 3 }, g:start(function(started, ...)
        started(...)
      end, "a", nil, "c"))
    end)
  end))

  it("lets the function go on as a child", case(function()
    local log = helper.log()
    grouped(function(g)
      g:start(function(started)
        started()
        aio.sleep(1)
        log "child"
      end)
      log "body"
    end)
    assert.equal("body child", log:text())
  end))

  it("raises an error before started, and the group is fine",
    case(function()
      local e = {}
      values({ "fine" }, grouped(function(g)
        local other = g:spawn(after, 5, "fine")
        assert.equal(e, raised(g.start, g, function()
          aio.sleep(1)
          error(e)
        end))
        return other:await()
      end))
    end))

  it("raises when the function ends without started", case(function()
    grouped(function(g)
      raised(g.start, g, function() return "nothing" end)
    end)
  end))

  it("an error after started is a failing child", case(function()
    local e = {}
    assert.equal(e, raised(grouped, function(g)
      g:start(function(started)
        started()
        aio.sleep(1)
        error(e)
      end)
      aio.sleep(100)
    end))
  end))

  it("cancelled while it waits leaves no stray child", case(function()
    local log = helper.log()
    local t = aio.spawn(function()
      local g <close> = aio.group()
      g:start(function()
        local e = raised(aio.sleep, 100)
        log(aio.is_cancelled(e))
        error(e)
      end)
    end)
    testing.settle()
    t:cancel()
    t:join()
    assert.equal("true", log:text())
    assert.equal("cancelled", (t:peek()))
  end))
end)

describe("iterating a group", function()
  it("gives tasks in completion order", case(function()
    local log = helper.log()
    grouped(function(g)
      for _, s in ipairs { 3, 1, 2 } do
        g:spawn(after, s, s)
      end
      for task in g do
        log(task:await())
      end
    end)
    assert.equal("1 2 3", log:text())
  end))

  it("gives the very tasks", case(function()
    grouped(function(g)
      local a, b = g:spawn(after, 2), g:spawn(after, 1)
      local seen = {}
      for task in g do
        seen[#seen + 1] = task
      end
      assert.equal(2, #seen)
      assert.equal(b, seen[1])
      assert.equal(a, seen[2])
    end)
  end))

  it("goes on with tasks spawned meanwhile", case(function()
    local log = helper.log()
    grouped(function(g)
      g:spawn(after, 1, 3)
      for task in g do
        local n = task:await()
        log(n)
        if n > 1 then
          g:spawn(after, 1, n - 1)
        end
      end
    end)
    assert.equal("3 2 1", log:text())
  end))

  it("ends at once without children", case(function()
    grouped(function(g)
      for _ in g do
        error "there is none"
      end
    end)
    assert.is_true(aio.sleep(1))
  end))

  it("can be left and taken up again", case(function()
    local log = helper.log()
    grouped(function(g)
      for i = 1, 4 do
        g:spawn(after, i, i)
      end
      for task in g do
        log(task:await())
        if #log == 2 then
          break
        end
      end
      log "pause"
      for task in g do
        log(task:await())
      end
    end)
    assert.equal("1 2 pause 3 4", log:text())
  end))

  it("sees cancelled children", case(function()
    local log = helper.log()
    grouped(function(g)
      local child = g:spawn(aio.sleep, 100)
      aio.yield()
      child:cancel()
      for task in g do
        log((task:peek()))
      end
    end)
    assert.equal("cancelled", log:text())
  end))

  it("with on_failure = false sees the failed ones", case(function()
    local log = helper.log()
    grouped(function(g)
      g:spawn(failing(1, "e"))
      g:spawn(after, 2, "v")
      for task in g do
        log(task:peek())
      end
    end, { on_failure = false })
    assert.equal("failed:e ok:v", log:text())
  end))
end)

describe("on_failure", function()
  it("is told, and the group lives", case(function()
    local log = helper.log()
    local child
    grouped(function(g)
      child = g:spawn(failing(1, "e"))
      g:spawn(function()
        aio.sleep(2)
        log "sibling"
      end)
      assert.is_true(aio.sleep(3))
    end, { on_failure = function(task, err)
      log(task == child, err)
    end })
    assert.equal("true:e sibling", log:text())
  end))

  it("is told of each", case(function()
    local log = helper.log()
    grouped(function(g)
      g:spawn(failing(2, "b"))
      g:spawn(failing(1, "a"))
    end, { on_failure = function(_, err) log(err) end })
    assert.equal("a b", log:text())
  end))

  it("is not told of cancelled ones", case(function()
    local log = helper.log()
    grouped(function(g)
      g:spawn(aio.sleep, 100)
      aio.yield()
      g:cancel()
    end, { on_failure = function(_, err) log(err) end })
    assert.equal("", log:text())
  end))

  it("that raises is heard, and the group lives", case(function()
    local log = helper.log()
    aio.loop():on_error(function(e) log(e) end)
    grouped(function(g)
      g:spawn(failing(1, "e"))
      g:spawn(function()
        aio.sleep(2)
        log "sibling"
      end)
    end, { on_failure = function() error("handler", 0) end })
    aio.loop():on_error(nil)
    has("handler", log:text())
    has("sibling", log:text())
  end))

  it("cannot wait", case(function()
    local ok
    grouped(function(g) g:spawn(failing(1, "e")) end, {
      on_failure = function() ok = pcall(aio.sleep, 1) end,
    })
    assert.is_false(ok)
  end))

  it("may spawn into the group", case(function()
    local log = helper.log()
    local g
    grouped(function(mine)
      g = mine
      g:spawn(failing(1, "e"))
      g:spawn(aio.sleep, 5)
    end, { on_failure = function() g:spawn(log, "again") end })
    assert.equal("again", log:text())
  end))

  it("does not cover the body", case(function()
    assert.equal("body", raised(grouped, function()
      error("body", 0)
    end, { on_failure = false }))
  end))

  it("false keeps failures in the tasks", case(function()
    local heard = 0
    aio.loop():on_error(function() heard = heard + 1 end)
    grouped(function(g)
      local child = g:spawn(failing(1, "e"))
      aio.sleep(2)
      values({ "failed", "e" }, child:peek())
    end, { on_failure = false })
    aio.sleep(1)
    aio.loop():on_error(nil)
    assert.equal(0, heard)
  end))
end)

describe("finished children", function()
  it("are let go while the group lives on", case(function()
    local weak = setmetatable({}, { __mode = "k" })
    grouped(function(g)
      for _ = 1, 10 do
        weak[g:spawn(function() end)] = true
      end
      g:wait()
      aio.yield()
      helper.gone(weak)
    end)
  end))

  it("of a long-lived group use no memory", case(function()
    grouped(function(g)
      local function round()
        for _ = 1, helper.many(1000) do
          g:spawn(function() end)
        end
        g:wait()
      end
      round()
      collectgarbage()
      collectgarbage()
      local before = collectgarbage "count"
      for _ = 1, 5 do
        round()
      end
      collectgarbage()
      collectgarbage()
      assert.is_true(collectgarbage "count" < before + 100)
    end)
  end))
end)
