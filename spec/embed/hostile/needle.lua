--> false ended
local s = ("a"):rep(1000000)
print((pcall(s.find, s, s .. "b", 1, true)))
