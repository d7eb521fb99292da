--- Writes C that has the Lua modules of the library in it, for programs that
-- are to find them without files: chunks.lua FILE..., paths below lua/.
--
-- SPDX-License-Identifier: MIT

local LINE = 20 -- bytes of a module on one line

local function module_of(path)
  return (path:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", "."))
end

local function write_bytes(text)
  for i = 1, #text, LINE do
    print("  " .. table.concat({ text:byte(i, i + LINE - 1) }, ",") .. ",")
  end
end

print "/* Made by csrc/embed/chunks.lua. */"
print '#include "embed/embed.h"\n'
local entries = {}
for i, path in ipairs(arg) do
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  print(("static const char chunk%d[] = {"):format(i))
  write_bytes(text)
  print "};\n"
  entries[i] = ('  {"%s", "@%s",\n   chunk%d, sizeof chunk%d},')
    :format(module_of(path), (path:gsub("^lua/", "")), i, i)
end
print "const peri_chunk peri_chunks[] = {"
print(table.concat(entries, "\n"))
print "  {NULL, NULL, NULL, 0}};"
