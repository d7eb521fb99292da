--> nil ended
print(load "return io"())
