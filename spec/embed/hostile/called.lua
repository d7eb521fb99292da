--> nil ended
print(aio.future():on_done(print).__gc)
