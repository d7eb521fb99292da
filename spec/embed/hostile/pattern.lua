--> false ended
print((pcall(string.find, ("a"):rep(100000), (".-"):rep(20) .. "b")))
