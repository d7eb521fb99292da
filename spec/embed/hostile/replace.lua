--> killed
local s = ("x"):rep(4000000)
return s:gsub(".", pcall)
