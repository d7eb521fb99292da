--- Writes the entries of the reference pages from the comments in the source.
--
--   lua5.4 docs/generate.lua           brings docs/reference/*.md up to date
--   lua5.4 docs/generate.lua --check   only says which are not; exit status 1
--
-- A page is written by hand, but for its entries. What stands between
--
--   <!-- entry aio.sleep -->
--   <!-- end -->
--
-- is replaced by what the comment at the definition says: in csrc, a comment
-- that begins with the call, above a `static int`; in lua/perilune, an LDoc
-- comment above a function. Each must say whether it waits.
--
-- SPDX-License-Identifier: MIT

local docs = {}

-- What a function of a Lua module is called by users: by file, then by the
-- variable it is a field of.
local PUBLIC = {
  ["init"] = { aio = "aio." },
  ["run"] = { run = "aio.", methods = "loop:" },
  ["group"] = { group = "aio.", meta = "group:" },
  ["many"] = { many = "aio." },
  ["tree"] = { tree = "aio." },
  ["every"] = { every = "aio." },
  ["tcp"] = { tcp = "aio.tcp." },
  ["unix"] = { unix = "aio.unix." },
  ["process"] = { process = "aio.process.", Process = "process:" },
  ["dns"] = { dns = "aio.dns." },
  ["udp"] = { udp = "aio.udp." },
  ["fs"] = { fs = "aio.fs." },
  ["stdio"] = { open = "aio." },
  ["tty"] = { tty = "aio.tty." },
  ["serve"] = { serve = "server:" },
  ["debug"] = { debug = "debug." },
  ["testing"] = { testing = "testing.", Clock = "clock:" },
}

-- What a comment in C begins with if it is about something public, and what
-- the page says instead.
local PREFIXES = {
  { "aio%.", "aio." }, { "context%.", "aio.context." },
  { "x:" }, { "f:" }, { "task:" }, { "scope:" }, { "group:" },
  { "channel:" }, { "event:" }, { "lock:" }, { "semaphore:" }, { "permit:" },
  { "condition:" }, { "barrier:" }, { "var:" }, { "loop:" }, { "conn:" },
  { "server:" }, { "clock:" }, { "signal:" }, { "udp:" }, { "signals:" },
  { "remote:" }, { "listing:" }, { "raw:" }, { "watch:" }, { "file:" },
}

-- Files ------------------------------------------------------------------------

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

local function list(pattern)
  local pipe = assert(io.popen("ls " .. pattern .. " 2>/dev/null"))
  local paths = {}
  for path in pipe:lines() do
    paths[#paths + 1] = path
  end
  pipe:close()
  return paths
end

docs.read, docs.list = read, list

-- Comments in C ------------------------------------------------------------------

local function public_name(name)
  for _, prefix in ipairs(PREFIXES) do
    if name:find("^" .. prefix[1]) then
      return prefix[2] and name:gsub("^" .. prefix[1], prefix[2]) or name
    end
  end
end

-- The text of a comment as one line.
local function flat(comment)
  return (comment:gsub("\n%s*%*%*?", " "):gsub("%s+", " ")
    :gsub("^ ", ""):gsub(" $", ""))
end

-- Splits "call -> returns. Text." Loops and operators are in the form of an
-- expression: "#channel", "`for conn in server do`".
local function parse_c(text)
  local name, args, rest = text:match "^([%a_][%w_.]*[.:][%w_]+)(%b())(.*)$"
  local call
  if name then
    name = public_name(name)
    call = name and name .. args
  else
    call, rest = text:match "^`(for [^`]+)`:? ?(.*)$"
    if not call then
      call, rest = text:match "^(#%w+)(.*)$"
    end
    name = call
  end
  if not name then
    return nil
  end
  -- The same function under another name: "loop:time(), aio.now() -> ...".
  local alias, alias_args, after = rest:match "^, ([%a_][%w_.]*[.:][%w_]+)(%b())(.*)$"
  if alias then
    rest = after
  end
  local returns
  if rest:find "^ %->" then
    returns, rest = (rest .. " "):match "^ %-> (.-)%. (.*)$"
  end
  rest = rest:gsub("^[%s.:,]+", ""):gsub("%s+$", "")
  return { name = name, call = call, returns = returns, text = rest },
    alias and { name = alias, call = alias .. alias_args, returns = returns, text = rest }
end

local function add(entries, entry)
  local all = entries[entry.name] or {}
  entries[entry.name] = all
  all[#all + 1] = entry
end

local function scan_c(entries, path, source)
  for comment in source:gmatch "/%*(.-)%*/\nstatic int [%w_]+%(" do
    -- A lazy match may begin at an earlier comment: only the last one counts.
    comment = comment:match ".*/%*(.-)$" or comment
    for _, entry in ipairs { parse_c(flat(comment)) } do
      entry.path = path
      add(entries, entry)
    end
  end
end

-- Comments in Lua ------------------------------------------------------------------

local function parse_tags(lines)
  local entry, into = { text = "", params = {} }, nil
  for _, line in ipairs(lines) do
    local tag, rest = line:match "^@(%w+)%s+(.*)$"
    if line == "@field" then
      entry.field = true
    elseif tag == "param" then
      into = { rest }
      entry.params[#entry.params + 1] = into
    elseif tag == "return" then
      into = { rest }
      entry.returns = into
    elseif into then
      into[1] = into[1] .. " " .. line:gsub("^%s+", "")
    else
      entry.text = entry.text .. (entry.text == "" and "" or " ") .. line
    end
  end
  entry.returns = entry.returns and entry.returns[1]:gsub("%.$", "")
  return entry
end

local function scan_lua(entries, path, source)
  local names = PUBLIC[path:match "([%w_]+)%.lua$"] or {}
  local lines
  for line in (source .. "\n"):gmatch "(.-)\n" do
    local first, more = line:match "^%-%-%-%s*(.*)$", line:match "^%-%- ?(.*)$"
    local var, dot, field, args = line:match "^function ([%w_]+)([.:])([%w_]+)(%b())"
    if first then
      lines = { first }
    elseif more and lines then
      lines[#lines + 1] = more
    else
      if lines and var and names[var] then
        local entry = parse_tags(lines)
        entry.name = names[var] .. field
        if dot == "." and entry.name:find ":" then -- the object is spelled out
          args = args:gsub("^%([%w_]+,? ?", "(")
        end
        entry.call = entry.field and entry.name or entry.name .. args
        entry.path = path
        -- A wrapper in Lua is what users call, not what it wraps.
        entries[entry.name] = { entry }
      end
      lines = nil
    end
  end
end

--- All that is documented in the source: public name -> list of entries.
-- @param sources paths and texts, nil: those of this tree
function docs.entries(sources)
  local entries = {}
  if not sources then
    sources = {}
    for _, pattern in ipairs { "csrc/*.c", "csrc/*/*.c", "lua/perilune/*.lua" } do
      for _, path in ipairs(list(pattern)) do
        sources[#sources + 1] = { path, read(path) }
      end
    end
  end
  for _, source in ipairs(sources) do
    local scan = source[1]:find "%.c$" and scan_c or scan_lua
    scan(entries, source[1], source[2])
  end
  return entries
end

-- Entries --------------------------------------------------------------------------

local ANYWHERE = "anywhere: tasks, callbacks, the main chunk"
local WAITING = "tasks and the main chunk"

-- Whether it waits and where it can be called, as two texts; nil if the
-- comment does not say.
local function waiting(text)
  local lower = text:lower()
  local when = lower:match "waits only (if [^.]*)"
  if lower:find "only in the main chunk" then
    return "yes", "the main chunk only"
  elseif when then
    return "only " .. when, WAITING
  elseif lower:find "the iterator waits" then
    return "no, but the iterator does", ANYWHERE
  elseif lower:find "closing waits" then
    return "no, but closing does", WAITING
  elseif lower:find "in callbacks it never" then
    return "yes, but never in callbacks", ANYWHERE
  elseif lower:find "waits if" then
    return "if what it calls does", ANYWHERE
  elseif lower:find "never waits" or lower:find "does not wait" then
    return "no", lower:find "not in callbacks" and WAITING or ANYWHERE
  elseif lower:find "waits" then
    return "yes", WAITING
  end
end

-- Sentences that the list below the text repeats.
local function strip(text)
  for _, sentence in ipairs { "Waits%.", "Never waits%.", "Does not wait%.",
    "The iterator waits%.", "Waits if fn does%.", "Only in the main chunk%.",
    "Not in callbacks%." } do
    text = (" " .. text):gsub(" " .. sentence, "", 1):gsub("^ ", "")
  end
  return text
end

-- Replaces in what is not code yet.
local function outside_code(text, pattern)
  return ((text .. "``"):gsub("([^`]*)(`[^`]*`)", function(plain, code)
    return plain:gsub(pattern, "`%0`") .. code
  end):gsub("``$", ""))
end

-- Calls, names of ours and what HTML would take for a tag become code.
local function mark(text)
  for _, pattern in ipairs { "<close>", "%f[%w_][%a_][%w_.:]*%b()",
    "%f[%w]aio%.[%w_.]*[%w_]", "math%.huge", "__close" } do
    text = outside_code(text, pattern)
  end
  return text
end

-- A sentence, unless it begins with a name.
local function capital(text)
  return text:find "^%l+[ ,]" and text:gsub("^%l", string.upper) or text
end

local function wrap(text, indent)
  local lines, line = {}, ""
  for word in text:gmatch "%S+" do
    if #line + #word + 1 > 80 and line ~= "" then
      lines[#lines + 1] = line
      line = indent .. word
    else
      line = line == "" and word or line .. " " .. word
    end
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n")
end

local function render_entry(entry)
  local out = {}
  local text = strip(entry.text)
  local waits, from = waiting(entry.text)
  if not waits then
    error(("%s: the comment of %s does not say whether it waits")
      :format(entry.path, entry.name), 0)
  end
  out[#out + 1] = ("### `%s`\n"):format(entry.call)
  if text ~= "" then
    out[#out + 1] = wrap(mark(capital(text)), "") .. "\n"
  end
  for _, param in ipairs(entry.params or {}) do
    local name, what = param[1]:match "^(%S+)%s+(.*)$"
    out[#out + 1] = wrap(("- `%s`: %s"):format(name, mark(what)), "  ")
  end
  if entry.returns then
    out[#out + 1] = wrap("- Returns: " .. mark(entry.returns) .. ".", "  ")
  end
  out[#out + 1] = wrap("- Waits: " .. waits .. ". From: " .. from .. ".", "  ")
  return table.concat(out, "\n")
end

--- The page with its entries brought up to date.
-- @param page text
-- @param entries as of docs.entries
-- @return text; names of the entries in it
function docs.render(page, entries)
  local names = {}
  local text = page:gsub("(<!%-%- entry ([^\n]-) %-%->\n).-(<!%-%- end %-%->)",
    function(from, name, to)
      local all = entries[name]
      if not all then
        error("nothing in the source documents " .. name, 0)
      end
      local blocks = {}
      for i, entry in ipairs(all) do
        blocks[i] = render_entry(entry)
      end
      names[#names + 1] = name
      return from .. table.concat(blocks, "\n\n") .. "\n" .. to
    end)
  return text, names
end

-- The program -----------------------------------------------------------------------

local function main(check)
  local entries, stale = docs.entries(), 0
  for _, path in ipairs(list "docs/reference/*.md") do
    local page = read(path)
    local text = docs.render(page, entries)
    if text ~= page then
      stale = stale + 1
      print(path .. (check and " is not up to date; run `make docs`" or ""))
      if not check then
        local file = assert(io.open(path, "wb"))
        file:write(text)
        file:close()
      end
    end
  end
  os.exit(not check or stale == 0)
end

if arg and arg[0] and arg[0]:find "generate%.lua$" then
  main(arg[1] == "--check")
end

return docs
