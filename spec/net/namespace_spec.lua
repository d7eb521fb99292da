-- Networks that lose what is sent, in namespaces of their own.
--
-- SPDX-License-Identifier: MIT

local ends = require "spec.net.ends"

-- Runs the program in a network that the commands have set up; what it printed, or
-- nil, where there are no such networks.
local function network(setup, code)
  local out, why = ends.namespace("{ " .. setup:gsub("\n%s*", " && ") .. "; }", code)
  if not out then
    pending(why)
  end
  return out
end

-- One address of the name is behind a link at whose other end nobody answers, and
-- nobody says so; the other one is here.
local BLACK_HOLE = [[ip link add v0 type veth peer name v1
  ip link set v0 up
  ip link set v1 up
  ip address add 2001:db8::1/64 dev v0 nodad
  ip neighbour add 2001:db8::2 dev v0 lladdr 02:00:00:00:00:02
  printf '127.0.0.1 %s\n2001:db8::2 %s\n' two.example two.example >/tmp/hosts.$$
  mount --bind /tmp/hosts.$$ /etc/hosts
  rm /tmp/hosts.$$]]

describe("a name of two addresses, one in a black hole,", function()
  it("is connected with by the other one", function()
    local out = network(BLACK_HOLE, [[
      aio.run(function()
        local server <close> = assert(aio.tcp.listen("127.0.0.1", 0))
        local _, port = server:sockname()
        print(aio.dns.resolve("two.example")[1].address)
        local conn <close> = assert(aio.tcp.connect("two.example", port))
        print((conn:peername()))
        print(select(3, aio.tcp.connect("2001:db8::2", port, { timeout = 0.01 })))
      end)]])
    if out then
      assert.equal("2001:db8::2\n127.0.0.1\nETIMEDOUT\n", out)
    end
  end)
end)

-- A link to another network, which lives as long as the process $PEER.
local LINK = [[{ unshare -n sleep 60 >/dev/null 2>&1 & export PEER=$!; }
  here=$(readlink /proc/self/ns/net)
  while [ "$(readlink /proc/$PEER/ns/net)" = "$here" ]; do sleep 0.01; done
  ip link add v0 type veth peer name v1 netns $PEER
  ip link set v0 up
  ip address add 10.9.0.1/24 dev v0
  nsenter -t $PEER -n ip address add 10.9.0.2/24 dev v1
  nsenter -t $PEER -n ip link set v1 up]]

-- What programs there begin with: `peer` runs a command in the other network,
-- `serving` does so up to the end of a block, and `link "down"` is what it says.
local THERE = [[
  io.stdout:setvbuf "no"
  local THERE = "exec env -u LD_PRELOAD nsenter -t $PEER -n "
  local function peer(words)
    assert(os.execute(THERE .. words))
  end
  local function link(how)
    peer("ip link set v1 " .. how)
  end
  local function serving(words)
    local server = assert(aio.process.spawn { "sh", "-c", THERE .. words,
      stdout = "null", stderr = "null" })
    return setmetatable({}, { __close = function()
      server:kill()
      os.execute "kill $PEER"
    end })
  end
]]

-- A program that is connected with an echo server there.
local function connected(code)
  return THERE .. [[
  aio.run(function()
    local server <close> = serving "socat -T 20 TCP-LISTEN:7000 EXEC:cat"
    local conn
    repeat
      conn = aio.tcp.connect("10.9.0.2", 7000)
    until conn or not aio.sleep(0.01)
    conn:write "one\n"
    print(conn:read "l")
  ]] .. code .. " end)"
end

describe("a link that goes down", function()
  it("is survived by a connection", function()
    local out = network(LINK, connected [[
      link "down"
      conn:write "two\n"
      print(select(3, aio.timeout(0.01, conn.read, conn, "l")))
      link "up"
      print(conn:read "l")
    ]])
    if out then
      assert.equal("one\nETIMEDOUT\ntwo\n", out)
    end
  end)


  it("costs examples/probe.lua some answers", function()
    local out = network(LINK, THERE .. [[
      aio.run(function()
        local server <close> = serving "socat -T 20 UDP-LISTEN:7000 EXEC:cat"
        local probe = assert(aio.process.spawn { arg[-1], "examples/probe.lua", "-c", "999",
          "-i", "0.02", "-t", "0.05", "10.9.0.2:7000", stdout = "pipe" })
        local function up_to(pattern)
          local line
          repeat
            line = assert(probe.stdout:read "l")
          until line:find(pattern)
          print(line:match "%S+$")
        end
        up_to "ms$"
        link "down"
        up_to "ETIMEDOUT$"
        link "up"
        up_to "ms$"
        probe:kill()
      end)]])
    if out then
      assert.equal("ms\nETIMEDOUT\nms\n", out)
    end
  end)
end)
