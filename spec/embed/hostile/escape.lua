--> nil nil nil nil nil ended
for _, name in ipairs { "debug", "io", "require", "package", "dofile" } do print(_ENV[name]) end
