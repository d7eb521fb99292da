--> killed
local function spread() aio.spawn(spread) while true do end end
spread()
