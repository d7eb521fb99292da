--> left
aio.sleep(math.huge)
