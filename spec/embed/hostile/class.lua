--> nil nil ended
print(aio.event().__index)
print(aio.loop)
local e = aio.event()
pcall(function() e.set = nil end)
