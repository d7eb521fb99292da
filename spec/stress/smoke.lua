-- The host itself: plain Lua, with the things that can go wrong where memory
-- is short (strings, tables that grow, coroutines, closing, finalizers).
--
-- SPDX-License-Identifier: MIT

local closed = 0

local function guard()
  return setmetatable({}, {
    __close = function() closed = closed + 1 end,
    -- Where memory is short this may fail, which Lua keeps to itself.
    __gc = function() return {} end,
  })
end

local function generate()
  local _ <close> = guard()
  for i = 1, 20 do
    coroutine.yield(("item %d"):format(i))
  end
end

local items = {}
for item in coroutine.wrap(generate) do
  items[#items + 1] = item
end

collectgarbage()

return #items == 20 and closed == 1
