--- Files and directories.
--
-- The functions of the core check their arguments, and name those here in their
-- messages; these say what they are.
--
-- SPDX-License-Identifier: MIT

local check = require "perilune.check"
local core = require "perilune.core"

local LIMIT = 1024 -- events that a watch keeps

local call = core.fs
local fs = {}

-- Options of `fname`, the third argument or the second, that are all booleans.
local function check_options(fname, arg, opts, known)
  if opts ~= nil and type(opts) ~= "table" then
    check.fail(arg, fname, "table expected, got " .. check.typename(opts), 1)
  end
  for name, value in pairs(opts or {}) do
    if name ~= known then
      check.fail(arg, fname, ("unknown option '%s'"):format(tostring(name)), 1)
    elseif type(value) ~= "boolean" then
      check.fail(arg, fname, ("option '%s' must be a boolean"):format(known), 1)
    end
  end
end

-- A listing of all that is below a directory: the listings that are being read, the
-- innermost last. The first one stays, and answers when all is told, or closed.
local Tree = { __name = "perilune.scandir" }
Tree.__index = Tree

function Tree:close()
  if getmetatable(self) ~= Tree then
    local got = check.typename(self)
    check.fail(1, "close", "listing expected, got " .. got .. "; call it with ':'")
  end
  for i = #self, 1, -1 do
    self[i].entries:close()
    self[i + 1] = nil
  end
  return true
end
Tree.__close = Tree.close

-- A directory that is gone before it could be read has nothing in it.
local function next_entry(self, level)
  local ok, entry = core.pcall(level.entries)
  if ok then return entry end
  local again = entry.code == "EBUSY" or level == self[1]
  if not again and self[#self] == level then self[#self] = nil end
  if again or entry.code ~= "ENOENT" then error(entry, 0) end
end

function Tree:__call()
  local level, entry
  repeat
    level = self[#self]
    entry = next_entry(self, level)
    if not entry and #self > 1 and self[#self] == level then
      self[#self] = nil
    end
  until entry or level == self[1]
  if not entry then return nil end
  entry.path = level.path .. entry.name
  if entry.type == "directory" then
    self[#self + 1] = { path = entry.path .. "/", entries = call.scandir(entry.path) }
  end
  return entry
end

--- What is in a directory: `for entry in aio.fs.scandir(path) do`. It is opened by
-- the loop, and closed at its end; hold the listing in a `<close>` variable to have it
-- closed early. Never waits.
-- @param path of the directory
-- @param opts table or nil: `recursive` (false): also what is in the directories in
--   it, each after the entry of its directory. Links are not followed. As many
--   directories are open as are inside one another. One that cannot be read raises,
--   and asking on goes on behind it
-- @return listing
function fs.scandir(path, opts)
  check_options("scandir", 2, opts, "recursive")
  local entries = call.scandir(path)
  if not (opts and opts.recursive) then return entries end
  local prefix = path:sub(-1) == "/" and path or path .. "/"
  return setmetatable({ { path = prefix, entries = entries } }, Tree)
end

-- Neither a socket nor a FIFO that nobody reads can be opened as files are.
local function open_other(path, message)
  local kind = call.stat(path)
  kind = kind and kind.type
  if kind == "socket" and core.unix then
    return require "perilune.unix".connect(path)
  elseif kind == "fifo" then
    message = message .. ": nobody has it open for reading"
  end
  return nil, message, "ENXIO"
end

--- Opens a file, to be read and written in pieces, with the methods of transports and
-- a few more. A FIFO, a terminal or a socket becomes a transport; reading a FIFO waits
-- for who opens it for writing, but opening it for writing does not wait for a reader:
-- without one it fails, with code ENXIO. Waits.
-- @param path of the file, or of a device
-- @param mode as that of `io.open`: "r" (the default), "w", "a", "r+", "w+", "a+";
--   a "b" at its end means nothing
-- @return file or transport; or nil, message, code
function fs.open(path, mode)
  local file, message, code = call.open(path, mode)
  if code == "ENXIO" then return open_other(path, message) end
  return file, message, code
end

--- Reads a whole file. Waits.
-- @param path of the file; a FIFO or a socket is refused, with code ESPIPE, and a
--   device that does not end, /dev/zero, with ELIMIT after 16 MiB
-- @return string; or nil, message, code
function fs.read_file(path)
  return call.read_file(path)
end

--- Writes a whole file, which is made if it is not there. Waits.
-- @param path of the file; a FIFO or a socket is refused, with code ESPIPE
-- @param data string or number
-- @param opts table or nil: `atomic` (false): writes a temporary file beside it,
--   has the system store that, and renames it, so that at any time the file is
--   the old one or the new one, also if this fails. The new one keeps the mode of
--   the old one, but not its owner; a link stays, and what it leads to is replaced
-- @return true; or nil, message, code
function fs.write_file(path, data, opts)
  check_options("write_file", 3, opts, "atomic")
  return call.write_file(path, data, opts and opts.atomic)
end

--- Writes at the end of a file, which is made if it is not there. Waits.
-- @param path of the file; a FIFO or a socket is refused, with code ESPIPE
-- @param data string or number
-- @return true; or nil, message, code
function fs.append_file(path, data)
  return call.append_file(path, data)
end

--- Tells what is known of a file, or of what a link leads to. Waits.
-- @param path of anything
-- @return table: `type` ("file", "directory", "link", "fifo", "socket", "char",
--   "block", "unknown"), `mode` (the permissions), `size` in bytes, `uid`, `gid`,
--   `nlink`, `ino`, `dev`, and in seconds since 1970 `atime`, `mtime`, `ctime`,
--   `birthtime`; or nil, message, code
function fs.stat(path)
  return call.stat(path)
end

--- The same, of a link itself. Waits.
-- @param path of anything
-- @return table; or nil, message, code
function fs.lstat(path)
  return call.lstat(path)
end

--- Asks whether there is something by that name. A link that leads nowhere is not.
-- Waits.
-- @param path of anything
-- @return true or false; or nil, message, code where that cannot be told
function fs.exists(path)
  return call.exists(path)
end

--- Makes a directory. Waits.
-- @param path of the directory; the one that it is in must be there
-- @param mode permissions (511, which is 777 in octal), less the umask
-- @return true; or nil, message, code
function fs.mkdir(path, mode)
  return call.mkdir(path, mode)
end

--- Removes an empty directory. Waits.
-- @param path of the directory
-- @return true; or nil, message, code
function fs.rmdir(path)
  return call.rmdir(path)
end

--- Makes a directory with a name that nothing has, for this user only. Waits.
-- @param template path that ends with XXXXXX, which is replaced
-- @return its path; or nil, message, code
function fs.mkdtemp(template)
  if type(template) == "string" and not template:find "XXXXXX$" then
    check.fail(1, "mkdtemp", "path that ends with XXXXXX expected")
  end
  return call.mkdtemp(template)
end

--- Gives a file or directory another name, in the same file system. A file that
-- has the name is replaced. Waits.
-- @param from path
-- @param to path
-- @return true; or nil, message, code
function fs.rename(from, to)
  return call.rename(from, to)
end

--- Removes a file, or a link. Waits.
-- @param path of the file
-- @return true; or nil, message, code
function fs.unlink(path)
  return call.unlink(path)
end

--- Copies a file, with its mode. A file that has the name is overwritten; where this
-- fails, it is removed. Waits.
-- @param from path; a FIFO or a socket is refused, with code ESPIPE, a device that does
--   not end with ELIMIT
-- @param to path; the same
-- @return true; or nil, message, code
function fs.copy(from, to)
  return call.copy(from, to)
end

--- Gives a file one more name, in the same file system. Waits.
-- @param path of the file
-- @param new path
-- @return true; or nil, message, code
function fs.link(path, new)
  return call.link(path, new)
end

--- Makes a symbolic link. Waits.
-- @param target what it leads to, as seen from the directory that it is in
-- @param path of the link
-- @return true; or nil, message, code
function fs.symlink(target, path)
  return call.symlink(target, path)
end

--- Tells where a symbolic link leads. Waits.
-- @param path of the link
-- @return its target; or nil, message, code
function fs.readlink(path)
  return call.readlink(path)
end

--- Makes a path absolute, without links and dots. Waits.
-- @param path of something that is there
-- @return path; or nil, message, code
function fs.realpath(path)
  return call.realpath(path)
end

--- Changes the permissions of a file or directory. Waits.
-- @param path of anything; if it is a link, of what that leads to
-- @param mode permissions, from 0 to 4095
-- @return true; or nil, message, code
function fs.chmod(path, mode)
  return call.chmod(path, mode)
end

--- Changes the times of a file or directory. Waits.
-- @param path of anything; if it is a link, of what that leads to
-- @param atime when it was last read, in seconds since 1970 (now)
-- @param mtime when it was last written (`atime`)
-- @return true; or nil, message, code
function fs.utime(path, atime, mtime)
  return call.utime(path, atime, mtime)
end

local function check_limit(opts)
  if opts ~= nil and type(opts) ~= "table" then
    check.fail(2, "watch", "table expected, got " .. check.typename(opts), 1)
  end
  for name, value in pairs(opts or {}) do
    if name ~= "limit" then
      check.fail(2, "watch", ("unknown option '%s'"):format(tostring(name)), 1)
    elseif math.type(value) ~= "integer" or value < 1 then
      check.fail(2, "watch", "option 'limit' must be a positive integer", 1)
    end
  end
end

--- Watches a directory or a file: `for event in watch do` has what changes from
-- now on. What is in the directories of a directory is not watched. A file is
-- followed by its new name if it gets one, and no more once it is removed; so
-- whoever wants the next file of that name watches the directory. Never waits.
-- @param path of the directory or file
-- @param opts table or nil: `limit` (1024): so many events are kept that nobody has
--   taken yet
-- @return watch; or nil, message, code
function fs.watch(path, opts)
  check_limit(opts)
  return call.watch(path, opts and opts.limit or LIMIT)
end

return fs
