-- Context and connections: nothing of one is visible in another.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

local real = helper.real

local context = aio.context
local user = context.var("user", "nobody")

local function listen(opts)
  local server = assert(aio.tcp.listen("127.0.0.1", 0, opts))
  local _, port = server:sockname()
  return server, port
end

-- Serves with `handler` while `fn` runs, which is given a function that
-- connects.
local function serving(handler, fn)
  local server <close>, port = listen()
  local task = aio.spawn(server.serve, server, handler)
  fn(function() return assert(aio.tcp.connect("127.0.0.1", port)) end)
  server:close()
  task:await()
end

-- Says a line and returns the answer.
local function ask(conn, line)
  conn:write(line, "\n")
  return conn:read "l"
end

describe("a connection that is served", function()
  it("is a logical context of its own", real(function()
    local keys, log = {}, helper.log()
    local mine = context.key()
    serving(function(conn)
      local key = context.key()
      log(keys[key] or key == mine)
      keys[key] = true
      conn:write(conn:read "L")
      assert.equal(key, context.key())
    end, function(connect)
      local a <close> = connect()
      local b <close> = connect()
      assert.equal("a", ask(a, "a"))
      assert.equal("b", ask(b, "b"))
    end)
    assert.equal("false false", log:text())
  end))

  it("keeps the values that the server has", real(function()
    local _ <close> = user:let "server"
    serving(function(conn) conn:write(user:get(), "\n") end,
      function(connect)
        local conn <close> = connect()
        assert.equal("server", conn:read "l")
      end)
  end))

  it("is one also if their number is limited", real(function()
    local server <close>, port = listen()
    local keys = {}
    local task = aio.spawn(server.serve, server, function(conn)
      keys[context.key()] = true
      conn:write "x"
    end, { limit = 1 })
    for _ = 1, 2 do
      local conn <close> = assert(aio.tcp.connect("127.0.0.1", port))
      conn:read "a"
    end
    server:close()
    task:await()
    local first = next(keys)
    assert.is_true(first ~= nil and next(keys, first) ~= nil)
  end))

  it("ends with its handler and what that has begun", real(function()
    local log, ended = helper.log(), aio.event()
    serving(function(conn)
      user:set(conn:read "l")
      context.on_close(function()
        log("closed", user:get())
        ended:set()
      end)
      aio.loop():call_later(0.01, function() log("timer", user:get()) end)
    end, function(connect)
      local conn <close> = connect()
      conn:write "a\n"
      ended:wait()
    end)
    assert.equal("timer:a closed:a", log:text())
  end))

  it("takes turns with others and sees none of them", real(function()
    serving(function(conn)
      for line in conn:lines() do
        local before = user:get()
        user:set(line)
        aio.yield()
        conn:write(before, " ", user:get(), "\n")
      end
    end, function(connect)
      local a <close> = connect()
      local b <close> = connect()
      assert.equal("nobody a1", ask(a, "a1"))
      assert.equal("nobody b1", ask(b, "b1"))
      a:write "a2\n"
      b:write "b2\n"
      assert.equal("a1 a2", a:read "l")
      assert.equal("b1 b2", b:read "l")
    end)
  end))

  it("has its protocol called in its context", real(function()
    local found = aio.future()
    serving(function(conn)
      local key, lost = context.key(), aio.event()
      user:set "handler"
      conn:protocol {
        data_received = function() found:resolve(context.key() == key) end,
        connection_lost = function() lost:set() end,
      }
      lost:wait()
    end, function(connect)
      local conn <close> = connect()
      conn:write "x"
      assert.is_true((found:await()))
      conn:close()
    end)
  end))
end)

describe("a protocol", function()
  it("is called in the context of the connection's making", real(function()
    local server <close>, port = listen()
    local found = aio.future()
    local conn <close> = user:with("a", aio.tcp.connect, "127.0.0.1", port)
    local _ <close> = user:let "b"
    conn:protocol {
      connection_made = function() user:set "changed" end,
      data_received = function() found:resolve(user:get()) end,
    }
    local peer <close> = server:accept()
    peer:write "x"
    assert.equal("a", (found:await()))
  end))

  it("of a server is of a context of its own, each", real(function()
    local keys, log = {}, helper.log()
    local mine = context.key()
    local ended = aio.event()
    local function factory()
      local key = context.key()
      assert(key ~= mine and not keys[key])
      keys[key] = true
      context.on_close(function()
        log("closed", user:get())
        ended:set()
      end)
      user:set "lost with the callback"
      return {
        data_received = function(_, data)
          log(data, user:get(), key == context.key())
        end,
        connection_lost = function() log("lost", key == context.key()) end,
      }
    end
    local server, port = user:with("server", listen, { protocol = factory })
    for _, word in ipairs { "a", "b" } do
      local conn <close> = assert(aio.tcp.connect("127.0.0.1", port))
      conn:write(word)
      conn:close()
      ended:wait()
      ended:clear()
    end
    server:close()
    assert.equal("a:server:true lost:true closed:server "
      .. "b:server:true lost:true closed:server", log:text())
  end))

  it("that cannot be made ends its context", real(function()
    local ended, log = aio.event(), helper.log()
    local function factory()
      context.on_close(function() ended:set() end)
      error "x"
    end
    aio.loop():on_error(function(_, info) log(info.kind, user:get()) end)
    local server, port = user:with("a", listen, { protocol = factory })
    -- It may be aborted before this end knows that it is connected.
    local conn = aio.tcp.connect("127.0.0.1", port)
    ended:wait()
    if conn then conn:close() end
    aio.loop():on_error(nil)
    server:close()
    assert.equal("callback:nobody", log:text())
  end))

  it("given back does not keep its context", real(function()
    local _ <close>, port = listen()
    local ended = aio.event()
    local conn = aio.spawn(function()
      context.on_close(function() ended:set() end)
      local conn = assert(aio.tcp.connect("127.0.0.1", port))
      return conn:protocol {}
    end):await()
    aio.yield()
    aio.yield()
    assert.is_false(ended:is_set())
    conn:protocol(nil)
    ended:wait()
    conn:close()
  end))
end)

describe("a connection shared by two requests", function()
  it("shows neither the values of the other", real(function()
    local server <close>, port = listen()
    local pooled = context.suppress(aio.tcp.connect, "127.0.0.1", port)
    local peer <close> = server:accept()
    local log, lock = helper.log(), aio.channel(1)
    local function request(name)
      user:set(name)
      lock:put(true)
      pooled:write(name, "\n")
      log(pooled:read "l", user:get())
      lock:get()
    end
    local a, b = aio.spawn(request, "a"), aio.spawn(request, "b")
    for line in peer:lines() do
      peer:write(line, "\n")
      if line == "b" then break end
    end
    a:await()
    b:await()
    pooled:close()
    assert.equal("a:a b:b", log:text())
  end))

  it("does not keep the one that opened it from its end", real(function()
    local server <close>, port = listen()
    local ended = aio.event()
    local conn = aio.spawn(function()
      context.on_close(function() ended:set() end)
      return assert(aio.tcp.connect("127.0.0.1", port))
    end):await()
    ended:wait()
    local peer <close> = server:accept()
    peer:write "x"
    assert.equal("x", aio.spawn(conn.read, conn, 1):await())
    conn:close()
  end))

  it("and made in the root context keeps nothing of them", real(function()
    local _ <close>, port = listen()
    local weak = setmetatable({}, { __mode = "k" })
    local pooled = aio.spawn(function()
      local value = {}
      weak[value] = true
      user:set(value)
      return context.suppress(aio.tcp.connect, "127.0.0.1", port)
    end):await()
    aio.yield()
    helper.gone(weak)
    pooled:close()
  end))
end)
