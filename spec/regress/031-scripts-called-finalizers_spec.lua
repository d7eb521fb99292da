-- Objects whose metatable has their methods let scripts call their finalizer, as
-- x.__gc(y): with anything for y that read wild memory, and with objects in use it
-- took from them what they went on to use.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"

-- What has a finalizer that can be reached, still in use.
local MAKE = {
  callback = function() return aio.future():on_done(print) end,
  timer = function() return aio.loop():call_later(100, print) end,
  lock = aio.lock,
  permit = function() return aio.semaphore(1):acquire() end,
  remote = function() return aio.future():remote() end,
  listing = aio.fs and function() return aio.fs.scandir "." end,
  transport = aio.unix and function() return (aio.unix.pair()) end,
  server = aio.tcp and function() return aio.tcp.listen("127.0.0.1", 0) end,
  socket = aio.udp and function() return aio.udp.bind("127.0.0.1", 0) end,
}

describe("a finalizer that a script calls", function()
  for name, make in pairs(MAKE) do
    it("does no harm: " .. name, helper.case(function()
      local object = make()
      local finalizer = assert(object.__gc)
      for _, other in ipairs { 42, {}, aio.event(), io.stdout, coroutine.create(print) } do
        pcall(finalizer, other)
      end
      pcall(finalizer)
      pcall(finalizer, object)
      pcall(finalizer, object)
      if object.close then
        object:close()
      elseif object.cancel then
        assert.is_true(object:cancel())
      end
    end))
  end

  it("leaves a file open", helper.real(function()
    if aio.fs then
      local file <close> = assert(aio.fs.open "README.md")
      pcall(file.__gc, {})
      pcall(file.__gc, file)
      assert.is_string(file:read())
    end
  end))

  it("leaves the loop alone", helper.case(function()
    local loop = aio.loop()
    getmetatable(loop).__gc(loop)
    assert.is_true(aio.yield())
  end))
end)
