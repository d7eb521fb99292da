-- Starts busted in whatever interpreter runs this file.
--
-- busted's own command names an interpreter in its first line, which may be a
-- Lua of another version. The Makefile runs this instead:
--
--   lua5.4 spec/busted.lua spec/net
--
-- SPDX-License-Identifier: MIT

require "busted.runner" { standalone = false }
