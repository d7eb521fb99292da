--> nil nil ended
print(string.dump)
print((load "\27Lua"))
