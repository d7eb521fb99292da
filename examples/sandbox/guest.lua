--- What a guest may use, and nothing that leads further: see docs/sandbox.md.
--
-- Run once, in a Lua state of the guest's own that has all of Lua's libraries,
-- after perilune_open and before any code of the guest. Returns its environment.
--
-- SPDX-License-Identifier: MIT

local aio, print = ...

local debug, gsub = debug, string.gsub
local PATTERN_COST <const> = 1e8 -- steps that a pattern may take
local MOVED <const> = 1e6 -- elements that table.move moves at once

local function copy(from, names)
  local to = {}
  for name in names:gmatch "[%w_]+" do
    to[name] = assert(from[name], name)
  end
  return to
end

local env = copy(
  _G,
  "_VERSION assert error ipairs next pairs pcall rawequal rawget rawlen rawset select tonumber "
    .. "tostring type xpcall"
)
env._G = env
env.print = print

-- The first hole: code that is not text -----------------------------------------

-- What functions of C call is Lua code, which slices count: never C again.
local function counted(fn)
  if type(fn) ~= "function" then
    return fn
  end
  return function(...)
    return (fn(...))
  end
end

-- Lua trusts binary chunks. There is no string.dump, and load takes text alone.
function env.load(chunk, name, _, own)
  return load(counted(chunk), name, "t", own == nil and env or own)
end

env.string = copy(string, "byte char format len lower pack packsize reverse sub unpack upper")

-- The second hole: what all share, and what runs on its own ---------------------

-- Finalizers run where no slice counts. The library sets metatables by the
-- global function, so those of its own objects are none either.
local real, mine = setmetatable, setmetatable({}, { __mode = "k" })

function _G.setmetatable(object, meta)
  if type(meta) == "table" and rawget(meta, "__gc") ~= nil then
    error("a guest has no finalizers", 2)
  end
  return real(object, meta)
end

function env.setmetatable(object, meta)
  _G.setmetatable(object, meta)
  if meta ~= nil then
    mine[meta] = true
  end
  return object
end

-- Only what the guest has set itself is shown.
function env.getmetatable(object)
  local meta = type(object) == "table" and debug.getmetatable(object)
  return meta and mine[meta] and getmetatable(object) or nil
end

-- Objects made in C: what one finds in them is methods, and no metatable.
local function seal(meta)
  local methods = {}
  for name, method in pairs(meta) do
    if type(name) == "string" and not name:find "^__" then
      methods[name] = method
    end
  end
  meta.__index = methods
end

for name, meta in pairs(debug.getregistry()) do
  local ours = type(name) == "string" and name:find "^perilune%." and type(meta) == "table"
  if ours and rawget(meta, "__index") == meta then
    seal(meta)
  end
end

function env.collectgarbage(what)
  assert(what == "count", "a guest only counts")
  return collectgarbage "count"
end

-- The third hole: C functions that take for ever --------------------------------

-- An empty text, repeated 2^60 times, takes no memory.
function env.string.rep(s, n, sep)
  if #s + #(sep or "") == 0 then
    return ""
  end
  return string.rep(s, n, sep)
end

-- At each place of the text it may look at all of the pattern, and once more for
-- each item that repeats at all that follows.
local function check(s, pattern)
  s, pattern = tostring(s), tostring(pattern)
  local _, repeats = gsub(pattern, "[*+?-]", "")
  if (#s + 1.0) ^ (repeats + 1) * (#pattern + 1) > PATTERN_COST then
    error("the text is too long for this pattern", 3)
  end
end

for name in ("find match gmatch"):gmatch "%a+" do
  local fn = string[name]
  env.string[name] = function(s, pattern, ...)
    check(s, pattern)
    return fn(s, pattern, ...)
  end
end

function env.string.gsub(s, pattern, by, ...)
  check(s, pattern)
  return gsub(s, pattern, counted(by), ...)
end

-- A length that a metamethod makes up is as long as it likes.
local function check_length(t)
  local meta = debug.getmetatable(t)
  if meta and rawget(meta, "__len") ~= nil then
    error("a table with a length of its own", 3)
  end
end

env.table = copy(table, "pack")
for name in ("concat insert remove unpack"):gmatch "%a+" do
  local fn = table[name]
  env.table[name] = function(t, ...)
    check_length(t)
    return fn(t, ...)
  end
end

function env.table.sort(t, less)
  check_length(t)
  return table.sort(t, counted(less))
end

function env.table.move(from, first, last, at, to)
  assert(math.type(first) == "integer" and math.type(last) == "integer")
  if last >= first and (last - first < 0 or last - first > MOVED) then
    error("too many elements to move", 2)
  end
  return table.move(from, first, last, at, to)
end

-- The rest ----------------------------------------------------------------------

env.math = copy(
  math,
  [[abs acos asin atan ceil cos deg exp floor fmod huge log max maxinteger min mininteger
  modf pi rad random randomseed sin sqrt tan tointeger type ult]]
)
env.utf8 = copy(utf8, "char charpattern codepoint codes len offset")
env.os = copy(os, "clock difftime time")
env.coroutine = copy(aio.coroutine, "close create resume status wrap")
env.coroutine.isyieldable, env.coroutine.running = coroutine.isyieldable, coroutine.running
env.coroutine.yield = coroutine.yield
env.aio = copy(
  aio,
  [[all as_completed await barrier channel check condition event every future
  group is_awaitable is_cancelled lock map next_frame now pcall race scope select semaphore
  shield sleep spawn task time_left timeout wait yield]]
)

-- Methods of strings are those of the guest: ("x"):dump() as well.
local strings = debug.getmetatable ""
strings.__index, strings.__metatable = env.string, false

return env
