--> 0 ended
print(#(""):rep(math.maxinteger))
