-- Loading perilune and running next to nothing.
--
-- SPDX-License-Identifier: MIT

local perilune = require "perilune"

local result = perilune.run(function()
  perilune.yield()
  return 42
end)

return result == 42
