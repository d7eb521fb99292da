--- Writes all of the library as one C file: amalgamate.lua CHUNKS FILE...,
-- where CHUNKS is what chunks.lua has made, and the files are headers and
-- sources below csrc/. Those of csrc/io are left out where PERILUNE_NO_UV is
-- defined.
--
-- Files have names of their own: static functions, types, constants. In one
-- file these would meet each other, and those of system headers that only
-- another file includes. So each gets its file's name as a suffix, but for
-- fields of structs; and macros end with their file.
--
-- SPDX-License-Identifier: MIT

-- Names that are the same everywhere: ours, and one that Windows lacks.
local KEPT = { "^peri_", "^perilune_", "^PERI", "^luaopen_", "^sockaddr_un$" }

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

-- {== Tokens ===========================================================

local function next_token(text, at)
  local c = text:sub(at, at + 1)
  if c == "/*" then
    return "space", select(2, text:find("*/", at, true))
  elseif c:find "^%s" then
    return "space", select(2, text:find("^%s+", at))
  elseif c:find "^[%a_]" then
    return "name", select(2, text:find("^[%w_]+", at))
  elseif c:find "^%d" then
    return "number", select(2, text:find("^[%w_.]+", at))
  elseif c:find "^[\"']" then
    local to = at + 1
    while text:sub(to, to) ~= c:sub(1, 1) do
      to = to + (text:sub(to, to) == "\\" and 2 or 1)
    end
    return "string", to
  elseif c == "->" then
    return "sign", at + 1
  end
  return "sign", at
end

--- A list of {kind, text, code}: `code` counts those that are no space.
local function tokens_of(text)
  local list, code, at = {}, {}, 1
  while at <= #text do
    local kind, to = next_token(text, at)
    local token = { kind = kind, text = text:sub(at, to) }
    list[#list + 1] = token
    if kind ~= "space" then
      code[#code + 1] = token
      token.at = #code
    end
    at = to + 1
  end
  return list, code
end

-- {== Names of a file ==================================================

local function is_kept(name)
  for _, pattern in ipairs(KEPT) do
    if name:find(pattern) then return true end
  end
  return false
end

--- Its text without comments, strings and what is in braces, but for enums.
local function outline(text)
  text = text:gsub("/%*.-%*/", " "):gsub('\\.', ""):gsub('"[^"\n]*"', '""')
  text = text:gsub("'[^'\n]*'", "0"):gsub("\n%s*#[^\n]*", "\n")
  text = text:gsub("enum%s*[%w_]*%s*(%b{})", function(body)
    return "enum (" .. body:sub(2, -2) .. ")"
  end)
  return (text:gsub("%b{}", "{}"))
end

--- What is defined at the level of the file, as a set.
local function names_of(text)
  local names = {}
  local function add(name)
    if name and name ~= "struct" and not is_kept(name) then names[name] = true end
  end
  for statement in outline(text):gmatch "[^;]+" do
    for body in statement:gmatch "enum (%b())" do
      for name in body:gmatch "[(,]%s*([%a_][%w_]*)" do add(name) end
    end
    -- One statement may hold several functions: they end with their braces.
    local before = ""
    for part in (statement .. "{}"):gmatch "(.-){}" do
      local static = part:match "%f[%w_]static(%f[^%w_].*)"
      add(part:match "struct%s+([%a_][%w_]*)%s*$")
      if before:find "static struct%s*$" then
        add(part:match "([%a_][%w_]*)")
      elseif static then
        add(static:match "([%a_][%w_]*)%s*[(=%[]" or static:match "([%a_][%w_]*)%s*$")
      end
      before = part
    end
    local typedef = statement:match "%f[%w_]typedef%f[^%w_](.*)"
    if typedef then
      add(typedef:match "%(%s*%*%s*([%a_][%w_]*)%s*%)" or typedef:match "([%a_][%w_]*)%s*$")
    end
  end
  return names
end

-- {== Renaming =========================================================

--- Whether the name at `i` is a field: of a struct that is declared here, in
-- whose braces it is, or of one that is used.
local function is_field(code, i, inside)
  local before = code[i - 1] and code[i - 1].text
  local after = code[i + 1] and code[i + 1].text
  if before == "->" then return true end
  if before == "." then return code[i - 2].text ~= "." end
  if inside == "offset" then return before == "," and (after == ")" or after == ".") end
  if inside == "pointer" then return before == "*" and code[i - 2].text == "(" and after == ")" end
  if inside ~= "struct" then return false end
  return after == ";" or after == "," or after == "[" or after == ":"
end

local function opens_struct(code, i)
  local before, first = code[i - 1], code[i - 2]
  return before and (before.text == "struct" or before.text == "union" or
    first and (first.text == "struct" or first.text == "union"))
end

--- What an opening token begins: the fields of a struct, a pointer to a
-- function among these, the arguments of a macro the last of which is a field,
-- or something else.
local function opened(code, at, outer)
  local before = code[at - 1] and code[at - 1].text
  if code[at].text == "{" then return opens_struct(code, at) and "struct" or "other" end
  if outer == "struct" then return "pointer" end
  return (before == "PERI_OF" or before == "offsetof") and "offset" or "other"
end

local function rename(text, suffix)
  local names = names_of(text)
  local list, code = tokens_of(text)
  local inside, out = {}, {}
  for _, token in ipairs(list) do
    local at = token.at
    if token.text == "{" or token.text == "(" then
      inside[#inside + 1] = opened(code, at, inside[#inside])
    elseif token.text == "}" or token.text == ")" then
      inside[#inside] = nil
    elseif token.kind == "name" and names[token.text] and
      not is_field(code, at, inside[#inside]) then
      token.text = token.text .. "_" .. suffix
    end
    out[#out + 1] = token.text
  end
  return table.concat(out)
end

-- {== Files ============================================================

local function suffix_of(path)
  return (path:gsub("^csrc/", ""):gsub("%.c$", ""):gsub("[/.]", "_"))
end

local function without_own_includes(text)
  return (text:gsub('#[ \t]*include[ \t]*"[^"]*"', ""))
end

local macros_of_headers = {}

--- The macros that a source defines and nobody had before, to be undefined.
local function end_macros(text)
  local lines, seen = {}, {}
  for name in text:gmatch "\n[ \t]*#[ \t]*define[ \t]+([%w_]+)" do
    local guarded = text:find("#[ \t]*ifndef[ \t]+" .. name .. "%f[^%w_]")
    if not guarded and not macros_of_headers[name] and not seen[name] then
      lines[#lines + 1] = "#undef " .. name .. "\n"
      seen[name] = true
    end
  end
  return table.concat(lines)
end

local function write_header(path)
  local text = read(path)
  for name in text:gmatch "#[ \t]*define[ \t]+([%w_]+)" do macros_of_headers[name] = true end
  io.write(without_own_includes(text), "\n")
end

local function write_source(path)
  local text = read(path)
  io.write(rename(without_own_includes(text), suffix_of(path)), end_macros(text), "\n")
end

-- Headers come in the order of what they include.
local written = {}
local known = {}
local function in_order(path, visit)
  if written[path] then return end
  written[path] = true
  local folder = path:match "^(.*/)"
  for name in read(path):gmatch '#[ \t]*include[ \t]*"([^"]*)"' do
    for _, below in ipairs { folder .. name, "csrc/" .. name } do
      if known[below] then in_order(below, visit) end
    end
  end
  visit(path)
end

local function is_io(path)
  return path:find "^csrc/io/" ~= nil
end

local function write_all(paths, io_too, write)
  for _, path in ipairs(paths) do
    if is_io(path) == io_too then write(path) end
  end
end

local headers, sources = {}, {}
for i = 2, #arg do
  local path = arg[i]
  known[path] = true
  table.insert(path:find "%.h$" and headers or sources, path)
end
local ordered = {}
for _, path in ipairs(headers) do
  in_order(path, function(p) ordered[#ordered + 1] = p end)
end

io.write [[
/*
** perilune in one file, made from its sources: an async runtime for Lua 5.4.
** To be compiled with Lua's headers, and libuv's unless PERILUNE_NO_UV is
** defined.
**
** SPDX-License-Identifier: MIT
*/
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#ifdef __GNUC__ /* what a table does not name is zero; not all is in use */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wunused-function"
#endif

#include "perilune.h"

]]
write_all(ordered, false, write_header)
io.write "#ifndef PERILUNE_NO_UV\n"
write_all(ordered, true, write_header)
io.write "#endif\n"
write_all(sources, false, write_source)
io.write "#ifndef PERILUNE_NO_UV\n"
write_all(sources, true, write_source)
io.write "#endif\n"
io.write(without_own_includes(read(arg[1])))
