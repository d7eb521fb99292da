--> nil nil ended
print(getmetatable(aio.event()))
print(getmetatable(""))
