--> nil nil nil nil ended
for _, name in ipairs { "tcp", "fs", "process", "run" } do print(aio[name]) end
