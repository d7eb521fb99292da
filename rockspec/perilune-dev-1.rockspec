rockspec_format = "3.0"
package = "perilune"
version = "dev-1"

-- Built from a working tree, with `luarocks make` from its root:
--
--   luarocks --lua-version=5.4 make rockspec/perilune-dev-1.rockspec
source = {
  url = "git+file://.",
}

description = {
  summary = "An async runtime for Lua 5.4, on libuv",
  detailed = [[
    Tasks that wait in any function, structured concurrency, cancellation that
    is not lost, context that follows the work; sockets, files, processes and
    signals, on libuv.
  ]],
  license = "MIT",
  labels = { "async", "concurrency", "network", "libuv" },
}

supported_platforms = { "unix" }

dependencies = {
  "lua >= 5.4, < 5.5",
}

external_dependencies = {
  UV = {
    header = "uv.h",
    library = "uv",
  },
}

build = {
  type = "make",
  build_target = "module",
  install_target = "install",
  -- luarocks has looked for everything itself, so nothing is to be set up.
  variables = {
    SETUP = "off",
    LIBRARY = "off",
  },
  build_variables = {
    CC = "$(CC)",
    CFLAGS = "$(CFLAGS)",
    LUA_INCDIR = "$(LUA_INCDIR)",
    UV_INCDIR = "$(UV_INCDIR)",
    UV_LIBDIR = "$(UV_LIBDIR)",
  },
  install_variables = {
    CFLAGS = "$(CFLAGS)",
    CC = "$(CC)",
    LUA_INCDIR = "$(LUA_INCDIR)",
    UV_INCDIR = "$(UV_INCDIR)",
    UV_LIBDIR = "$(UV_LIBDIR)",
    INST_LIBDIR = "$(LIBDIR)",
    INST_LUADIR = "$(LUADIR)",
  },
}
