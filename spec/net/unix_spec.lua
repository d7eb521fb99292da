-- Unix sockets: paths, files left behind, pairs.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local ends = require "spec.net.ends"
local helper = require "spec.helper"

local failed, has, raised, real = helper.failed, helper.has, helper.raised, helper.real
local parked = ends.parked

local function exists(path)
  return (os.execute("test -e " .. path)) == true
end

-- A case in a directory of its own.
local function inside(case)
  return real(function()
    local dir <close> = ends.directory()
    case(dir.path .. "/socket", dir.path)
  end)
end

describe("unix.listen", function()
  it("serves at a path and removes it when closed", inside(function(path)
    local server = assert(aio.unix.listen(path))
    assert.equal(path, server:sockname())
    assert.equal(("unix server (%s)"):format(path), tostring(server))
    local a <close> = assert(aio.unix.connect(path))
    local b <close> = assert(server:accept())
    a:write "hello\n"
    assert.equal("hello", b:read())
    assert.equal(path, a:peername())
    assert.equal("", a:sockname())
    assert.equal(path, b:sockname())
    assert.equal("", b:peername())
    assert.equal(("unix (%s)"):format(path), tostring(a))
    assert.equal("perilune.unix", getmetatable(a).__name)
    assert.is_true(exists(path))
    server:close()
    assert.is_false(exists(path))
  end))

  it("serves like tcp", inside(function(path)
    local server = assert(aio.unix.listen(path))
    local task = parked(server.serve, server, function(conn)
      for line in conn:lines() do
        conn:write(line:upper(), "\n")
      end
    end)
    for i = 1, 3 do
      local conn <close> = assert(aio.unix.connect(path))
      conn:write("line", i, "\n")
      assert.equal("LINE" .. i, conn:read())
    end
    assert.is_true(server:close())
    task:await()
  end))

  it("replaces what a dead server has left", inside(function(path)
    ends.python([[
s = socket.socket(socket.AF_UNIX)
s.bind(arg)
s.listen()
]], path):close()
    assert.is_true(exists(path))
    local server <close> = assert(aio.unix.listen(path))
    local a <close> = assert(aio.unix.connect(path))
    assert(server:accept()):close()
    assert.is_nil(a:read())
  end))

  it("does not replace a server that lives, or another file", inside(function(path, dir)
    local server <close> = assert(aio.unix.listen(path))
    failed("EADDRINUSE", aio.unix.listen(path))
    has("(listen " .. path .. ")", (select(2, aio.unix.listen(path))))
    local file = dir .. "/file"
    assert(io.open(file, "w")):close()
    failed("EADDRINUSE", aio.unix.listen(file))
    assert.is_true(exists(file))
    assert.equal(path, server:sockname())
  end))

  it("leaves a file alone that is not its own any more", inside(function(path)
    local server = assert(aio.unix.listen(path))
    os.remove(path)
    local other <close> = assert(aio.unix.listen(path))
    server:close()
    assert.is_true(exists(path))
    assert.equal(path, other:sockname())
  end))

  it("says what is wrong", inside(function(_, dir)
    failed("ENOENT", aio.unix.listen(dir .. "/none/socket"))
    failed("ENAMETOOLONG", aio.unix.listen(("x"):rep(200)))
    has("bad argument #1 to 'listen'", raised(function() aio.unix.listen() end))
    has("unknown option 'reuseport'",
      raised(function() aio.unix.listen("x", { reuseport = true }) end))
  end))
end)

describe("unix.connect", function()
  it("says what is wrong", inside(function(path, dir)
    local _, message = aio.unix.connect(path)
    assert.equal(("ENOENT: no such file or directory (connect %s)"):format(path), message)
    assert(io.open(dir .. "/file", "w")):close()
    failed("ECONNREFUSED", aio.unix.connect(dir .. "/file"))
    failed("ENAMETOOLONG", aio.unix.connect(("x"):rep(200)))
    has("bad argument #1 to 'connect'", raised(function() aio.unix.connect "" end))
    has("option 'timeout'", raised(function() aio.unix.connect("x", { timeout = "y" }) end))
  end))

  it("waits for a server whose queue is full", inside(function(path)
    local server <close> = assert(aio.unix.listen(path, { backlog = 1 }))
    local tasks = {}
    for i = 1, 10 do
      tasks[i] = parked(aio.unix.connect, path)
    end
    for _ = 1, 10 do
      assert(server:accept()):close()
    end
    for i = 1, 10 do
      assert(tasks[i]:await()):close()
    end
  end))

  it("gives up on a server whose queue stays full", inside(function(path)
    local server <close> = assert(aio.unix.listen(path, { backlog = 1 }))
    local conns = {}
    local message, code
    for i = 1, 10 do
      conns[i], message, code = aio.unix.connect(path, { timeout = 0.03 })
    end
    assert.equal("ETIMEDOUT", code)
    assert.equal(("ETIMEDOUT: connection timed out (connect %s)"):format(path), message)
    for _, conn in ipairs(conns) do
      conn:close()
    end
    assert.equal(path, server:sockname())
  end))

  it("takes a protocol", inside(function(path)
    local server <close> = assert(aio.unix.listen(path, { protocol = function(conn)
      return { data_received = function(_, data) conn:write(data) end }
    end }))
    local got = aio.future()
    local conn = assert(aio.unix.connect(path, { protocol = {
      data_received = function(_, data) got:resolve(data) end,
    } }))
    conn:write "x"
    assert.equal("x", got:await())
    conn:close()
    assert.equal(path, server:sockname())
  end))
end)

describe("unix.pair", function()
  it("makes two ends", real(function()
    local a, b = aio.unix.pair()
    local _ <close> = ends.held(a, b)
    a:write "x"
    b:write "y"
    assert.equal("x", b:read_some())
    assert.equal("y", a:read_some())
    assert.equal("", a:peername())
    assert.equal("unix (unnamed)", tostring(a))
  end))
end)
