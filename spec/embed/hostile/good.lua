--> 5050 ended
local sum = aio.all(function()
  local s = 0
  for i = 1, 100 do s = s + i aio.yield() end
  return s
end)
print(("%d"):format(sum))
