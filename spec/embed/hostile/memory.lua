--> failed: not enough memory ended
local t = {}
for i = 1, 1e9 do t[i] = ("x"):rep(1000) .. i if i % 50 == 0 then aio.yield() end end
