--> killed
while true do end
