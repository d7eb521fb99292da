--> killed
table.sort({ 1, 2, 3 }, function()
  xpcall(function() while true do end end, function() while true do end end)
end)
