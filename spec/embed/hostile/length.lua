--> false ended
local t = setmetatable({}, { __len = function() return math.maxinteger - 1 end })
print((pcall(table.insert, t, 1, 1)))
