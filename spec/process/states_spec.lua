-- Processes of several Lua states, and of several threads: each is reaped by
-- the one that has begun it. Each case is a program.
--
-- SPDX-License-Identifier: MIT

local helper = require "spec.helper"

local PRELUDE = [[
local aio = require "perilune"
local host = assert(package.loadlib("build/host/process.so", "luaopen_process"))()
local function state_of(pid)
  local file <close> = io.open(("/proc/%d/stat"):format(pid))
  local text = file and file:read "a" -- nil if it is reaped just now
  return text and text:match "%) (%a)"
end
]]

local function prints(expected, code)
  return function()
    assert.equal(expected, helper.program(PRELUDE .. code))
  end
end

describe("processes", function()
  it("of another thread end while both have some", prints("x x x\nx x x\n", [[
    local code = "local aio = require 'perilune' local list = aio.map({1, 2, 3}, "
      .. "function() return aio.process.run { 'printf', 'x' }.stdout end) "
      .. "return table.concat(list, ' ')"
    local thread = host.thread(code)
    print(load(code)())
    print(host.join(thread))]]))

  it("end for who waits, whoever else does not look", prints("7\n0\n", [[
    local quiet = aio.process.spawn { "true" }
    print(host.join(host.thread [=[
      local aio = require "perilune"
      return (aio.process.spawn { "sh", "-c", "exit 7" }:wait())
    ]=]))
    print((quiet:wait()))]]))

  it("of a state that is closed are reaped when they end", prints("true\n", [[
    local ours, theirs = aio.unix.pair()
    local fd = require("perilune.core").process.descriptor(theirs)
    local pid = host.join(host.thread(([=[
      local aio = require "perilune"
      return aio.process.spawn { "cat", stdin = %d, stdout = "null" }.pid
    ]=]):format(fd)))
    print(state_of(pid) ~= nil)
    ours:close()
    theirs:close()
    repeat aio.sleep(0.001) until not state_of(pid)]]))

  it("of a run that was ended by force are reaped as well", prints("", [[
    local pid = host.join(host.thread [=[
      local aio = require "perilune"
      local pid
      aio.spawn(function()
        local p = aio.process.spawn { "sleep", 5 }
        pid = p.pid
        local _ <close> = setmetatable({}, { __close = function() p:kill "KILL" end })
        p:wait()
      end)
      aio.sleep(0)
      return pid
    ]=])
    repeat aio.sleep(0.001) until not state_of(pid)]]))
end)
