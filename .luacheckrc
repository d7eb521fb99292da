-- What luacheck takes for granted; `make lint` runs it.
std = "lua54"
max_line_length = 100
cache = false

-- Unused arguments document a callback's shape.
unused_args = false

files["spec"].std = "+busted"
-- Specs let go of objects to have them collected: `conn = nil`.
files["spec"].ignore = { "311" }

-- Scripts of guests, which have an environment of their own.
files["spec/embed/hostile"].read_globals = { "aio" }
files["spec/embed/hostile"].ignore = { "211", "241" }

-- Set by the hosts that run these scenarios (spec/host/oom.c).
files["spec/stress"].read_globals = { "stress_ready" }

-- Configuration files assign globals: that is what they are.
files["**/*.rockspec"].std = "+rockspec"
files[".luacheckrc"].std = "+luacheckrc"

-- Functions of the host, and what its prelude defines.
files["examples/lander"] = {
  globals = { "aio", "wait_until" },
  read_globals = {
    "ahead", "altitude", "announce", "burn", "burst", "caption", "cinema",
    "cruise", "deploy", "drift", "falling", "flying", "ground", "lamp",
    "landed", "offset", "reload", "row", "scene", "survey", "thrust", "turn",
  },
}
