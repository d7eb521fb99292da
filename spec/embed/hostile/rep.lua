--> failed: not enough memory ended
return ("x"):rep(1e9)
