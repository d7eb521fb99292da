--> killed
local f = aio.future()
f:on_done(function() while true do pcall(function() while true do end end) end end)
f:resolve()
aio.sleep(100)
