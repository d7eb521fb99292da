-- Select: at once, later, late, cancelled; puts and gets of tuples.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if stress_ready then
  stress_ready()
end

local function check(expected, got)
  if expected ~= got then
    error(("%s expected, got %s"):format(expected, tostring(got)), 0)
  end
end

-- Each value that a select puts, or that is put for one, is got once, also
-- where a call has failed.
local function stream(size)
  local a, b, sum = aio.channel(size), aio.channel(size), 0
  local g <close> = aio.group()
  g:spawn(function()
    for i = 1, 4 do
      aio.select { a:put_op(i, nil, -i), b:put_op(i, nil, -i) }
    end
    a:close()
    b:close()
  end)
  while true do
    local _, i, none, minus = aio.select { a:get_op(), b:get_op() }
    if not i then
      break
    elseif none ~= nil or minus ~= -i then
      error "a tuple fell apart"
    end
    sum = sum + i
  end
  return sum
end

local function cancelled()
  local ch, f = aio.channel(), aio.future()
  local t = aio.spawn(aio.select, { ch:get_op(), ch:put_op {}, f })
  aio.yield()
  t:cancel()
  local _, e = t:join()
  if e and e.code ~= "ECANCELED" then
    error(e, 0)
  end
  check(false, (ch:try_get()))
  check(false, (ch:try_put(1)))
end

-- The oldest value is not lost where there is no memory for that which is to
-- take its place.
local function exchanged()
  local ch = aio.channel(1)
  ch:put "old"
  local t = aio.spawn(ch.put, ch, "new", {})
  aio.yield()
  local ok, v = pcall(ch.get, ch)
  if not ok then
    check("old", (ch:get()))
    t:join()
    error(v, 0)
  end
  check("old", v)
  t:await()
  check("new", (ch:get()))
end

local function late()
  local _, _, code = aio.select { aio.future(), timeout = 1e-5 }
  check("ETIMEDOUT", code)
  _, _, code = aio.select { aio.future(), timeout = 0 }
  check("ETIMEDOUT", code)
end

aio.run(function()
  check(10, stream(0))
  check(10, stream(1))
  cancelled()
  exchanged()
  late()
  local f = aio.future()
  local t = aio.spawn(f.resolve, f, 1, 2)
  local index, _, second = aio.select { aio.channel():get_op(), f, t }
  check(2, index)
  check(2, second)
end)

return aio.select { aio.spawn(math.abs, -7), aio.channel():get_op() } == 1
