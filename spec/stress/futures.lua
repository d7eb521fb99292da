-- Futures: each end they can have, and who hears of it.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"

if stress_ready then
  stress_ready()
end

local function settle(how, ...)
  local f = aio.future()
  local heard, stopped = 0, 0
  local done = f:on_done(function() heard = heard + 1 end)
  f:on_cancel(function() stopped = stopped + 1 end)
  local waiters = { aio.spawn(f.join, f), aio.spawn(f.join, f) }
  aio.yield()
  if not f[how](f, ...) then
    error "was settled before"
  end
  done:await()
  for _, t in ipairs(waiters) do
    t:await()
  end
  aio.yield()
  if heard ~= 1 or (how == "cancel") ~= (stopped == 1) then
    error "not told"
  end
  return f
end

aio.run(function()
  local f = settle("resolve", 1, nil, 3)
  if select("#", f:await()) ~= 3 then
    error "values are missing"
  end
  settle("fail", {})
  settle("cancel", "why")

  local object = setmetatable({}, { __await = function() return f end })
  if aio.await(object) ~= 1 then
    error "wrong value"
  end

  local broken = aio.future()
  do
    local w <close> = broken:remote()
    if not w then
      error "no write end"
    end
  end
  local ok, e = broken:join()
  if ok or type(e) ~= "table" or e.code ~= "EBROKEN" then
    error(e, 0)
  end

  local remote = aio.future()
  local w = remote:remote()
  w:resolve "value"
  if remote:await() ~= "value" then
    error "wrong value"
  end
end)

return true
