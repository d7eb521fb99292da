-- Transports, in any order, in any chunks, and wherever somebody is cancelled:
-- what was written and not cancelled arrives once and in order.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local testing = require "perilune.testing"

if not aio.tcp then
  return
end

local explore = helper.explore

-- Both ends, closed at the end of the block.
local function pair(opts)
  local a, b = testing.pair(opts)
  return a, b, setmetatable({}, { __close = function()
    a:close()
    b:close()
  end })
end

-- Lines "<writer>:<number>", padded so that some are longer than the room.
local function line_of(writer, i)
  return ("%d:%d"):format(writer, i) .. ("."):rep(i * 7)
end

-- Each writer's lines are there once and in order, up to the last that counts.
local function check_lines(lines, written)
  local last = {}
  for _, line in ipairs(lines) do
    local writer, i = line:match "^(%d):(%d)%.*$"
    assert(writer, "broken line: " .. line)
    writer, i = math.tointeger(tonumber(writer)), math.tointeger(tonumber(i))
    assert(line == line_of(writer, i), "broken line: " .. line)
    assert(i == (last[writer] or 0) + 1, "lost or doubled: " .. line)
    last[writer] = i
  end
  for writer, n in pairs(written) do
    assert((last[writer] or 0) >= n, "lost lines of " .. writer)
  end
end

local blocks = { ("1"):rep(70000), ("2"):rep(70000), ("3"):rep(70000) }

local CHUNKS = { 1, 5, { 3, 1, 16 } }

for _, chunk in ipairs(CHUNKS) do
  local name = type(chunk) == "table" and table.concat(chunk, ", ") or chunk
  describe("transports, in chunks of " .. name .. ",", function()
    explore("give each line once", {
      cancel = "task",
      cancel_seeds = 3,
      scenario = function(s)
        local a, b, held = pair { chunk = chunk, room = 20 }
        local _ <close> = held
        s.lines, s.written = {}, {}
        aio.group(nil, function(g)
          g:spawn(function()
            aio.shield(math.huge, function()
              for line in b:lines() do
                s.lines[#s.lines + 1] = line
              end
            end)
          end)
          aio.group(nil, function(writers)
            for w = 1, 2 do
              writers:spawn(function()
                for i = 1, 3 do
                  assert(a:write(line_of(w, i), "\n"))
                  s.written[w] = i
                  aio.yield()
                end
              end)
            end
          end)
          assert(a:shutdown())
        end)
      end,
      invariant = function(s, run)
        check_lines(s.lines, s.written)
        assert(run.cancelled or #s.lines == 6)
      end,
    })
  end)
end

describe("transports", function()
  explore("consume nothing for a read that was cancelled", {
    cancel = "task",
    scenario = function(s)
      local a, b, held = pair { chunk = 2, room = 6 }
      local _ <close> = held
      s.read = {}
      aio.group(nil, function(g)
        g:spawn(function()
          aio.shield(math.huge, function()
            for i = 1, 4 do
              a:write(line_of(1, i), "\n")
              aio.sleep(1)
            end
            a:shutdown()
          end)
        end)
        local reader = g:spawn(function()
          while true do
            local ok, line = pcall(aio.timeout, 0.5, b.read, b, "l")
            if ok and line then
              s.read[#s.read + 1] = line
            elseif #s.read == 4 then
              break
            end
            aio.check()
          end
        end)
        reader:join()
        -- The rest is there for whoever comes then.
        aio.shield(math.huge, function()
          for line in b:lines() do
            s.read[#s.read + 1] = line
          end
        end)
      end)
    end,
    invariant = function(s)
      check_lines(s.read, {})
      assert(#s.read == 4)
    end,
  })

  explore("answer each request", {
    cancel = "both",
    scenario = function(s)
      local a, b, held = pair { chunk = { 1, 7 }, room = 8 }
      local _ <close> = held
      s.asked, s.answered, s.got = 0, 0, 0
      aio.group(nil, function(g)
        g:spawn(function()
          local _ <close> = b
          for line in function() return (b:read "l") end do
            s.answered = s.answered + 1
            if not b:write(line:upper(), "\n") then
              break
            end
          end
        end)
        g:spawn(function()
          local _ <close> = a
          for i = 1, 3 do
            if not a:write("request ", i, "\n") then
              break
            end
            s.asked = i
            local line, _, code = a:read "l"
            if not line then
              assert(code == nil or code == "ECONNRESET" or code == "EPIPE", code)
              break
            end
            assert(line == "REQUEST " .. i)
            s.got = i
          end
        end)
      end)
    end,
    invariant = function(s, run)
      assert(s.got <= s.answered and s.answered <= s.asked)
      assert(run.cancelled or s.got == 3)
    end,
  })

  explore("let writers take turns, and flush", {
    cancel = "both",
    scenario = function(s)
      local a, b, held = pair { room = 50000 }
      local _ <close> = held
      s.inside = helper.presence()
      aio.group(nil, function(g)
        for i = 1, 3 do
          g:spawn(function()
            local _ <close> = s.inside()
            a:write(blocks[i])
            a:flush()
            s[i] = true
          end)
        end
        g:spawn(function()
          aio.shield(math.huge, function()
            s.all = b:read "a"
          end)
        end)
        aio.shield(math.huge, function()
          repeat
            aio.yield()
          until s.inside.came == 3 and s.inside.now == 0
          a:close()
        end)
      end)
    end,
    invariant = function(s)
      local all = {}
      for i = 1, #s.all, 70000 do
        local writer = math.tointeger(tonumber(s.all:sub(i, i)))
        assert(s.all:sub(i, i + 69999) == blocks[writer], "part of a write, or mixed")
        assert(not all[writer], "twice")
        all[writer] = true
      end
      for i = 1, 3 do
        assert(all[i] or not s[i], "lost")
      end
    end,
  })

  explore("tell protocols in order", {
    cancel = "body",
    scenario = function(s)
      local a, b, held = pair { chunk = 3, room = 5 }
      local _ <close> = held
      s.log, s.data = {}, {}
      local lost = aio.event()
      s.lost = lost
      b:protocol {
        connection_made = function() s.log[#s.log + 1] = "made" end,
        data_received = function(_, data) s.data[#s.data + 1] = data end,
        eof_received = function() s.log[#s.log + 1] = "eof" end,
        connection_lost = function()
          s.log[#s.log + 1] = "lost"
          lost:set()
        end,
      }
      for i = 1, 3 do
        a:write(i, "....")
        aio.yield()
      end
      a:close()
      lost:wait()
    end,
    invariant = function(s, run)
      local log = table.concat(s.log or {}, " ")
      if run.cancelled then
        assert(log == "" or log == "made lost" or log == "made eof lost" or log == "lost", log)
        local all = "1....2....3...."
        assert(all:find(table.concat(s.data), 1, true) == 1)
      else
        assert(log == "made eof lost" and table.concat(s.data) == "1....2....3....")
      end
    end,
  })

  explore("closed by one task, tell the others", {
    cancel = "both",
    scenario = function(s)
      local a, b, held = pair { room = 20000 }
      local _ <close> = held
      s.codes = {}
      aio.group(nil, function(g)
        g:spawn(function() s.codes.read = select(3, a:read "l") end)
        g:spawn(function()
          a:write(("x"):rep(100000))
          s.codes.write = select(3, a:write "y")
        end)
        g:spawn(function() s.codes.flush = select(3, a:flush()) end)
        aio.sleep(1)
        a:close()
        s.closed = b:read "a"
      end)
    end,
    invariant = function(s, run)
      for _, code in pairs(s.codes) do
        assert(code == "ECLOSED", code)
      end
      assert(run.cancelled or (s.codes.read and s.codes.write))
    end,
  })
end)
