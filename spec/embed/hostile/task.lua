--> false ended
local co = coroutine.running()
aio.spawn(function() print((coroutine.resume(co))) end)
aio.yield()
aio.yield()
