-- The documentation: every public name has an entry, the entries are those of
-- the source, every example runs and prints what it says, and what the pages
-- name is there.
--
-- In an example, what stands behind `-->` is a line that it prints. One that
-- is meant to fail has `<!-- fails -->` above it; the text block that follows
-- it is what it writes to stderr, up to the traceback.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local helper = require "spec.helper"
local debugging = require "perilune.debug"
local testing = require "perilune.testing"

local docs = dofile "docs/generate.lua"
local read, list = docs.read, docs.list

local PAGES = { "README.md", "CONTRIBUTING.md", "CHANGELOG.md" }
for _, pattern in ipairs { "docs/*.md", "docs/reference/*.md" } do
  for _, path in ipairs(list(pattern)) do
    PAGES[#PAGES + 1] = path
  end
end

-- Names ---------------------------------------------------------------------------

-- Methods that only the library's own Lua part calls.
local INTERNAL = { ["group:starting"] = true }

-- What pages call an object, by the name of its metatable. Methods of all
-- awaitables are written x:name.
local OBJECTS = {
  ["perilune.future"] = { "x:", "f:" },
  ["perilune.task"] = { "x:", "task:" },
  ["perilune.callback"] = { "x:" },
  ["perilune.remote"] = { "remote:" },
  ["perilune.scope"] = { "scope:" },
  ["perilune.group"] = { "group:" },
  ["perilune.lock"] = { "lock:" },
  ["perilune.semaphore"] = { "semaphore:" },
  ["perilune.permit"] = { "permit:" },
  ["perilune.event"] = { "event:" },
  ["perilune.condition"] = { "condition:" },
  ["perilune.barrier"] = { "barrier:" },
  ["perilune.clock"] = { "clock:" },
  ["perilune.signal"] = { "signal:" },
  ["perilune.channel"] = { "channel:" },
  ["perilune.var"] = { "var:" },
  ["perilune.tcp"] = { "conn:" },
  ["perilune.unix"] = { "conn:" },
  ["perilune.stream"] = { "conn:" },
  ["perilune.raw"] = { "raw:" },
  ["perilune.udp"] = { "udp:" },
  ["perilune.scandir"] = { "listing:" },
  ["perilune.fs.watch"] = { "watch:" },
  ["perilune.file"] = { "file:" },
  ["perilune.subscription"] = { "signals:" },
  ["perilune.tcp.server"] = { "server:" },
  ["perilune.unix.server"] = { "server:" },
}

-- Metatables of objects that no user gets hold of, or that have no methods.
local HIDDEN = {
  ["perilune.run"] = true, ["perilune.watch"] = true, ["perilune.bound"] = true,
  ["perilune.generator"] = true, ["perilune.lookup"] = true, ["perilune.resolver"] = true,
  ["perilune.child"] = true,
  ["perilune.fs"] = true,
  ["perilune.signals"] = true, ["perilune.let"] = true,
  ["perilune.probe"] = true, ["perilune.select"] = true, ["perilune.operation"] = true,
  ["perilune.slow"] = true,
  ["perilune.key"] = true,
  ["perilune.error"] = true, ["perilune.cancelled"] = true,
  ["perilune.loop"] = true, -- has its methods in __index, see below
}

local function add_methods(names, methods, prefixes)
  for name in pairs(methods) do
    if type(name) == "string" and not name:find "^__" then
      local either = {}
      for i, prefix in ipairs(prefixes) do
        either[i] = prefix .. name
      end
      names[#names + 1] = either
    end
  end
end

local function add_table(names, t, prefix)
  for name, value in pairs(t) do
    if type(value) == "table" then
      add_table(names, value, prefix .. name .. ".")
    else
      names[#names + 1] = { prefix .. name }
    end
  end
end

-- All public names; each is a list of what pages may call it.
local function public_names()
  local names = {}
  add_table(names, aio, "aio.")
  add_table(names, testing, "testing.")
  add_table(names, debugging, "debug.")
  add_methods(names, getmetatable(aio.loop()).__index, { "loop:" })
  for name, prefixes in pairs(OBJECTS) do
    add_methods(names, assert(debug.getregistry()[name], name), prefixes)
  end
  helper.manual(function(clock)
    add_methods(names, getmetatable(clock), { "clock:" })
  end)
  return names
end

-- The names that pages have entries of, and which page it is.
local function documented()
  local found = {}
  for _, path in ipairs(list "docs/reference/*.md") do
    for name in read(path):gmatch "<!%-%- entry ([^\n]-) %-%->" do
      assert.is_nil(found[name], name .. " has two entries")
      found[name] = path
    end
  end
  return found
end

local function missing(names, found)
  local lost = {}
  for _, either in ipairs(names) do
    local has = INTERNAL[either[1]]
    for _, name in ipairs(either) do
      has = has or found[name]
    end
    lost[#lost + 1] = not has and table.concat(either, " or ") or nil
  end
  table.sort(lost)
  return table.concat(lost, ", ")
end

describe("the reference", function()
  it("has an entry for every public name", function()
    local names = public_names()
    assert.is_true(#names > 100)
    assert.equal("", missing(names, documented()))
  end)

  it("would miss one that has none", function()
    local found = documented()
    found["aio.sleep"], found["f:resolve"] = nil, nil
    assert.equal("aio.sleep, x:resolve or f:resolve",
      missing(public_names(), found))
  end)

  it("knows all types of objects", function()
    for name, value in pairs(debug.getregistry()) do
      if type(name) == "string" and name:find "^perilune%."
        and type(value) == "table" and value.__name then
        assert.is_truthy(OBJECTS[name] or HIDDEN[name], name)
      end
    end
  end)

  it("says of each entry what the source says", function()
    local entries, stale = docs.entries(), {}
    for _, path in ipairs(list "docs/reference/*.md") do
      local page = read(path)
      if docs.render(page, entries) ~= page then
        stale[#stale + 1] = path
      end
    end
    assert.equal("", table.concat(stale, ", "), "run `make docs`")
  end)

  it("has one order on all pages", function()
    for _, path in ipairs(list "docs/reference/*.md") do
      local page = read(path)
      if not path:find "README" then
        assert.is_truthy(page:find "^# [^\n]+\n\n[%u`]", path)
        assert.is_truthy(page:find "\n## Example\n[^#]*$"
          or page:find "\n## Example\n\n```%l+\n.*```\n$", path)
      end
    end
  end)
end)

-- The generator ----------------------------------------------------------------------

local PAGE = "<!-- entry aio.nap -->\nold\n<!-- end -->\n"

local function render(comment)
  return (docs.render(PAGE, docs.entries {
    { "csrc/x.c", comment .. "\nstatic int nap(lua_State *L) {\n" } }))
end

describe("docs/generate.lua", function()
  it("takes over what a comment says", function()
    local text = render "/* aio.nap(s) -> true. Raises for NaN. Waits. */"
    helper.has("### `aio.nap(s)`", text)
    helper.has("Raises for NaN.\n", text)
    helper.has("- Returns: true.\n", text)
    helper.has("- Waits: yes. From: tasks and the main chunk.", text)
    assert.is_nil(text:find "old")
  end)

  it("takes only the comment right above the function", function()
    local text = render("/* aio.nap(x) -> 1. Waits. */\nint x;\n"
      .. "/* aio.nap(s) -> 2.\n** Never waits. */")
    helper.has("- Returns: 2.", text)
    assert.is_nil(text:find("Returns: 1", 1, true))
  end)

  it("asks whether it waits", function()
    helper.has("does not say whether it waits",
      helper.raised(render, "/* aio.nap(s) -> true. */"))
  end)

  it("asks for a comment", function()
    helper.has("nothing in the source documents aio.nap",
      helper.raised(render, "/* naps */"))
  end)

  it("reads LDoc comments", function()
    local entries = docs.entries { { "lua/perilune/serve.lua",
      "--- Naps. Never waits.\n-- @param s seconds,\n--   many\n"
      .. "-- @return true\nfunction serve.nap(server, s)\n" } }
    local text = docs.render("<!-- entry server:nap -->\n<!-- end -->\n", entries)
    helper.has("### `server:nap(s)`\n\nNaps.\n\n- `s`: seconds, many\n"
      .. "- Returns: true.\n- Waits: no.", text)
  end)
end)

-- Examples ----------------------------------------------------------------------------

-- What a run prints, without what differs from run to run.
local function plain(text)
  return (text:gsub("/tmp/lua_%w+", "example.lua"):gsub("[ \t]+\n", "\n"))
end

-- All that stands behind `-->`, one line each.
local function promised(code)
  local lines = {}
  for text in code:gmatch "%-%->([^\n]*)" do
    lines[#lines + 1] = text:gsub("^ ", ""):gsub("%s+$", "") .. "\n"
  end
  return table.concat(lines)
end

-- The examples of a page: code, what it prints, what it fails with, line.
local function examples(path)
  local found, page = {}, read(path)
  for before, from, code, after in
    page:gmatch "([^\n]*)\n()```lua\n(.-)\n```\n()" do
    local _, line = page:sub(1, from):gsub("\n", "")
    found[#found + 1] = { name = path .. ":" .. line + 1, code = code .. "\n",
      prints = promised(code),
      fails = before == "<!-- fails -->"
        and assert(page:match("^\n```text\n(.-)\n```", after), path) or nil }
  end
  return found
end

local function run(example)
  local out, err, status = helper.script(example.code, 10)
  if example.fails then
    assert.equal(1, status)
    err = plain(err):gsub("^%S*lua%S*: ", "lua: "):gsub("\nstack traceback.*", "")
    assert.equal(example.fails, (err:gsub("%s+$", "")))
  else
    assert.equal("", err)
    assert.equal(0, status)
  end
  assert.equal(example.prints, plain(out))
end

describe("examples in the documentation:", function()
  local count = 0
  for _, path in ipairs(PAGES) do
    for _, example in ipairs(examples(path)) do
      count = count + 1
      it(example.name .. " does what it says", function()
        run(example)
      end)
    end
  end

  it("there are some on every page of the reference", function()
    assert.is_true(count >= #list "docs/reference/*.md" - 1)
    for _, path in ipairs(list "docs/reference/*.md") do
      local in_c = read(path):find("\n```c\n", 1, true) -- for make test-embed
      assert.is_true(#examples(path) > 0 or (in_c or path:find "README") ~= nil, path)
    end
    assert.is_true(#examples "README.md" > 0)
  end)

  it("one that prints something else would fail", function()
    for _, example in ipairs {
      { code = "print(1) --> 2\n", prints = "2\n" },
      { code = "error 'x'\n", prints = "" },
      { code = "error('x', 0)", prints = "", fails = "lua: y" },
      { code = "print(1)", prints = "1\n", fails = "lua: y" },
    } do
      assert.is_false((pcall(run, example)))
    end
  end)
end)

-- What pages name ---------------------------------------------------------------------

-- Calls fn(what) for each match in the pages; fails with what it returned.
local function each(pages, pattern, fn)
  local wrong, n = {}, 0
  for _, path in ipairs(pages) do
    for what in read(path):gmatch(pattern) do
      n = n + 1
      local problem = fn(what, path)
      wrong[#wrong + 1] = problem and ("%s: %s"):format(path, problem) or nil
    end
  end
  assert.is_true(n > 0, "nothing to check")
  assert.equal("", table.concat(wrong, "\n"))
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then
    file:close()
  end
  return file ~= nil
end

local function sources()
  local text = {}
  for _, pattern in ipairs { "csrc/*.[ch]", "csrc/*/*.[ch]", "lua/perilune/*.lua",
    "spec/*.lua" } do
    for _, path in ipairs(list(pattern)) do
      text[#text + 1] = read(path)
    end
  end
  return table.concat(text, "\n")
end

-- The anchor that a heading is given.
local function anchors(path)
  local found = {}
  for heading in ("\n" .. read(path)):gmatch "\n#+ ([^\n]+)" do
    found[heading:lower():gsub("[^%w%s_-]", ""):gsub(" ", "-")] = true
  end
  return found
end

describe("the documentation", function()
  it("names commands that the Makefile has", function()
    local makefile = "\n" .. read "Makefile"
    each(PAGES, "[`\n]make ([a-z][a-z-]*)", function(target)
      if not makefile:find("\n" .. target:gsub("%-", "%%-") .. ":") then
        return "make " .. target
      end
    end)
  end)

  it("gives the two commands in the README", function()
    local page = read "README.md"
    helper.has("make demo\n", page)
    helper.has("make test\n", page)
    helper.has([[LUA_PATH="lua/?.lua;lua/?/init.lua;;" LUA_CPATH="build/?.so;;"]],
      page)
  end)

  it("names files that are there", function()
    each(PAGES, "`([%w_.]+/[%w_./-]*%.%l+)`", function(path)
      return not exists(path) and not exists("csrc/" .. path)
        and not path:find "^build/" and not path:find "NNN" and path or nil
    end)
  end)

  it("has links that lead somewhere", function()
    each(PAGES, "%]%(([^)]+)%)", function(link, page)
      local file, anchor = link:match "^([^#]*)#?(.*)$"
      if link:find "^https?:" then
        return
      end
      local path = file == "" and page or page:gsub("[^/]*$", "") .. file
      repeat
        local n
        path, n = path:gsub("[^/]+/%.%./", "", 1)
      until n == 0
      if not exists(path) and not os.execute(("test -d '%s'"):format(path))
        or anchor ~= "" and not anchors(path)[anchor] then
        return link
      end
    end)
  end)

  it("names functions that the source has", function()
    local text = sources()
    each({ "docs/internals.md" }, "%f[%w_]([%w]+_[%w_]+)%f[^%w_]",
      function(name)
        if not text:find("%f[%w_]" .. name .. "%f[^%w_]") then
          return name
        end
      end)
  end)

  it("quotes C as it is", function()
    local text = sources()
    each({ "docs/internals.md" }, "```c\n(.-)```", function(code)
      if not text:find(code, 1, true) then
        return code
      end
    end)
  end)

  it("keeps lines short, but for tables and links", function()
    each(PAGES, "[^\n]+", function(line)
      if utf8.len(line) > 100 and not line:find "^|" and not line:find "%-%->"
        and not line:find "^### " and not line:find "^[%w]+: "
        and not line:find "^lua: " then
        return line
      end
    end)
  end)
end)
