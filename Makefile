# perilune's build.
#
#   make demo    builds it and runs the demonstration
#   make test    builds it and runs the specs
#   make help    lists the other targets
#
# Both install what they lack through the system's package manager; with
# SETUP=no they only say what that is. All output goes to build/.

# What one may set ------------------------------------------------------------

# Lua and libuv are asked for late (the variables below expand where they are
# used), because on a new machine the set-up brings them first.
LUA ?= $(shell for lua in lua5.4 lua-5.4 lua54; do \
  command -v $$lua && exit; done; echo lua)
CFLAGS ?= -O2 -g
SPEC ?= spec
SEEDS ?= 500
PREFIX ?= /usr/local
INST_LIBDIR ?= $(PREFIX)/lib/lua/5.4
INST_LUADIR ?= $(PREFIX)/share/lua/5.4
BUILD ?= build
SHOT ?= 460
OBJCOPY ?= objcopy
# Where a package manager such as luarocks knows better than pkg-config:
# LUA_INCDIR, UV_INCDIR and UV_LIBDIR.

# The specs that need no socket, and those that valgrind runs, being slow.
SCHED_SPEC ?= $(wildcard spec/core spec/task spec/sync spec/explore)
# What talks to other programs gains nothing from the harsh collector.
GCSTRESS_SPEC ?= $(SCHED_SPEC) $(filter-out spec/net/signal_spec.lua, \
  $(wildcard spec/net/*_spec.lua)) $(wildcard spec/fs spec/stdio spec/regress)
VALGRIND_SPEC ?= spec/sync $(addprefix spec/task/,future_spec.lua \
  generator_spec.lua group_spec.lua spawn_spec.lua) spec/core/close_spec.lua \
  spec/net/server_spec.lua spec/net/transport_spec.lua $(wildcard spec/fs \
  spec/process spec/regress)

.DEFAULT_GOAL := all
.PHONY: all test explore demo asan valgrind gcstress oom lint bench docs \
  install clean help setup test-sched module hosts variants library \
  install-library test-embed lander lander-shot test-lander amalgamation tsan FORCE
.SUFFIXES:
.DELETE_ON_ERROR:

# A quiet build shows what it does, V=1 how.
ifeq ($(V),)
  Q := @
endif

# No user's own Lua settings shall get in; the versioned names come first.
unexport LUA_INIT LUA_INIT_5_4 LUA_PATH_5_4 LUA_CPATH_5_4


# How much .ci/setup has to look for depends on what is to be made. SETUP=off
# leaves it out, for package managers, which have seen to that themselves.
SETUP_GROUP := $(strip $(if $(filter lint valgrind,$(MAKECMDGOALS)),ci, \
  $(if $(filter lander lander-shot,$(MAKECMDGOALS)),lander, \
  $(if $(filter-out all module variants install,$(or $(MAKECMDGOALS),all)), \
  base,build))))


# Compiling -------------------------------------------------------------------

# `X = $(eval X := ...)$(X)` runs a command once, when X is first used.
LUA_PC = $(eval LUA_PC := $(shell for name in lua5.4 lua-5.4 lua54 lua; do \
  pkg-config --exists "$$name >= 5.4" "$$name < 5.5" && echo $$name && exit; \
  done))$(LUA_PC)
LUA_CFLAGS = $(eval LUA_CFLAGS := $(if $(LUA_INCDIR),-I$(LUA_INCDIR),$(shell \
  pkg-config --cflags $(LUA_PC))))$(LUA_CFLAGS)
LUA_LIBS = $(eval LUA_LIBS := $(shell \
  pkg-config --libs $(LUA_PC)))$(LUA_LIBS)
UV_CFLAGS = $(eval UV_CFLAGS := $(if $(UV_INCDIR),-I$(UV_INCDIR),$(shell \
  pkg-config --cflags libuv)))$(UV_CFLAGS)
UV_LIBS = $(eval UV_LIBS := $(if $(UV_LIBDIR),-L$(UV_LIBDIR) -luv,$(shell \
  pkg-config --libs libuv)))$(UV_LIBS)

WARNINGS := -Wall -Wextra -Wshadow -Wpointer-arith -Wwrite-strings -Wundef \
  -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wvla \
  -Wformat=2 -Wimplicit-fallthrough
# What a table does not name is zero.
WARNINGS += -Wno-missing-field-initializers
ifeq ($(WERROR),1)
  WARNINGS += -Werror
endif

PERI_CPPFLAGS := -Icsrc -D_GNU_SOURCE
PERI_CFLAGS := -std=c11 -fPIC -fvisibility=hidden $(WARNINGS)

# The module takes Lua's functions from the program that loads it: linking it
# with a Lua of its own would make two. It stays loaded until the process ends,
# because threads and signal handlers of libuv may outlive a Lua state.
ifeq ($(shell uname -s),Darwin)
  MODULE_LDFLAGS := -bundle -undefined dynamic_lookup
else
  MODULE_LDFLAGS := -shared -Wl,-z,nodelete
  # Lua's functions are called all the time: that is one jump less each.
  PERI_CFLAGS += -fno-plt
endif

SCHED_SOURCES := $(wildcard csrc/*.c csrc/sched/*.c csrc/embed/*.c)
SOURCES := $(SCHED_SOURCES) $(wildcard csrc/io/*.c)

# What a host links with: all of it, with the Lua modules compiled in. The
# numbers are those of csrc/perilune.h; the first is that of the interface.
VERSION := 0.1.0
ABI := 0
LUA_MODULES := $(wildcard lua/perilune/*.lua)

# Where there is a Lua that raises errors by C++ exceptions: this sanitizer takes
# longjmp from a coroutine for something else.
TSAN_FLAGS := -fsanitize=thread -fexceptions
TSAN_PC := lua5.4-c++
TSAN_LIBS = $(shell pkg-config --libs $(TSAN_PC))

ASAN_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined \
  -fno-omit-frame-pointer

# $(call variant,NAME,FOLDER,SOURCES,CFLAGS,UV CFLAGS,UV LIBS) makes the rules
# for FOLDER/perilune/core.so. Objects depend on the flags as well, by way of a
# file that changes when they do.
define variant
$(1)_objects := $$(patsubst csrc/%.c,$(BUILD)/obj/$(1)/%.o,$(3))
$(1)_command = $$(CC) $$(PERI_CPPFLAGS) $$(CPPFLAGS) $$(PERI_CFLAGS) $(4) \
  $$(LUA_CFLAGS) $(5)

$(BUILD)/obj/$(1)/flags: FORCE | setup
	@mkdir -p $$(@D)
	@echo '$$($(1)_command)' | cmp -s - $$@ || \
	  echo '$$($(1)_command)' > $$@

$(BUILD)/obj/$(1)/%.o: csrc/%.c $(BUILD)/obj/$(1)/flags | setup
	@mkdir -p $$(@D)
	$$(if $$(Q),@echo "  CC  $$@")
	$$(Q)$$($(1)_command) -MMD -MP -c -o $$@ $$<

$(2)/perilune/core.so: $$($(1)_objects) | setup
	@mkdir -p $$(@D)
	$$(if $$(Q),@echo "  LD  $$@")
	$$(Q)$$(CC) $$(MODULE_LDFLAGS) $(4) $$(LDFLAGS) -o $$@ $$($(1)_objects) \
	  $(6)

-include $$($(1)_objects:.o=.d)
endef

NOUV_CFLAGS := -DPERILUNE_NO_UV -I$(BUILD)/obj/nouv/poison

$(eval $(call variant,plain,$(BUILD),$(SOURCES),\
  $$(CFLAGS),$$(UV_CFLAGS),$$(UV_LIBS)))
$(eval $(call variant,asan,$(BUILD)/asan,$(SOURCES),\
  -O1 -g $$(ASAN_FLAGS),$$(UV_CFLAGS),$$(UV_LIBS)))
$(eval $(call variant,tsan,$(BUILD)/tsan,$(SOURCES),\
  -O1 -g $$(TSAN_FLAGS),$$(UV_CFLAGS),$$(UV_LIBS)))
$(eval $(call variant,nouv,$(BUILD)/nouv,$(SCHED_SOURCES),\
  $$(CFLAGS),$$(NOUV_CFLAGS),))

# Without libuv, its header is not merely absent: including it is an error.
$(nouv_objects): | $(BUILD)/obj/nouv/poison/uv.h
$(BUILD)/obj/nouv/poison/uv.h:
	@mkdir -p $(@D)
	@echo '#error "this build has no libuv"' > $@

# $(call embedded,VARIANT) are the objects of a host's library: those of the
# module, with its Lua modules in place of nothing.
embedded = $(filter-out %/embed/none.o,$($(1)_objects)) \
  $(BUILD)/obj/$(1)/chunks.o

$(BUILD)/chunks.c: csrc/embed/chunks.lua $(LUA_MODULES) | setup
	@mkdir -p $(@D)
	$(Q)$(LUA) csrc/embed/chunks.lua $(LUA_MODULES) > $@

$(BUILD)/obj/%/chunks.o: $(BUILD)/chunks.c $(BUILD)/obj/%/flags
	$(if $(Q),@echo "  CC  $@")
	$(Q)$($*_command) -c -o $@ $<

# One object, so that no name but the public ones can meet those of a host.
$(BUILD)/libperilune.a: $(call embedded,plain) | setup
	$(if $(Q),@echo "  AR  $@")
	$(Q)$(LD) -r -o $(BUILD)/obj/perilune.o $(call embedded,plain)
	$(Q)$(OBJCOPY) --localize-hidden $(BUILD)/obj/perilune.o
	@rm -f $@
	$(Q)$(AR) rcs $@ $(BUILD)/obj/perilune.o

$(BUILD)/libperilune.so.$(VERSION): $(call embedded,plain) \
  csrc/embed/perilune.map | setup
	$(if $(Q),@echo "  LD  $@")
	$(Q)$(CC) -shared -Wl,-z,nodelete -Wl,-soname,libperilune.so.$(ABI) \
	  -Wl,--version-script=csrc/embed/perilune.map $(CFLAGS) $(LDFLAGS) \
	  -o $@ $(call embedded,plain) $(UV_LIBS) -lm -pthread
	@ln -sf libperilune.so.$(VERSION) $(BUILD)/libperilune.so.$(ABI)
	@ln -sf libperilune.so.$(VERSION) $(BUILD)/libperilune.so

# FORCE, as the prefix may be another one than when it was made.
$(BUILD)/perilune.pc: csrc/embed/perilune.pc.in FORCE | setup
	@mkdir -p $(@D)
	$(Q)sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' \
	  -e 's|@LUA@|$(LUA_PC)|' $< > $@

library: $(BUILD)/libperilune.a $(BUILD)/libperilune.so.$(VERSION) \
  $(BUILD)/perilune.pc ## build libperilune, for host programs in C and C++

# All of it in two files, for hosts that compile it along with their own.
AMALGAMATION := $(BUILD)/amalgamation
AMALGAMATED := $(wildcard csrc/*.h csrc/sched/*.h csrc/embed/*.h csrc/io/*.h) \
  $(wildcard csrc/sched/*.c csrc/*.c csrc/embed/*.c csrc/io/*.c)

$(AMALGAMATION)/perilune.c: csrc/embed/amalgamate.lua $(BUILD)/chunks.c \
  $(AMALGAMATED) | setup
	@mkdir -p $(@D)
	$(Q)$(LUA) csrc/embed/amalgamate.lua $(BUILD)/chunks.c $(filter-out \
	  csrc/perilune.h csrc/embed/none.c,$(AMALGAMATED)) > $@
	@cp csrc/perilune.h $(@D)

amalgamation: $(AMALGAMATION)/perilune.c ## write the library as one C file, build/amalgamation/perilune.c

# Hosts are programs with a Lua inside, for what no script can do.
HOST_CFLAGS = -std=c11 -D_GNU_SOURCE $(WARNINGS) $(LUA_CFLAGS)

$(BUILD)/host/oom: spec/host/oom.c | setup
	@mkdir -p $(@D)
	$(if $(Q),@echo "  LD  $@")
	$(Q)$(CC) $(HOST_CFLAGS) $(CFLAGS) -o $@ $< $(LUA_LIBS) -ldl

# A module for what specs need of POSIX.
PROCESS := $(BUILD)/host/process.so
$(PROCESS): spec/host/process.c | setup
	@mkdir -p $(@D)
	$(if $(Q),@echo "  LD  $@")
	$(Q)$(CC) $(MODULE_LDFLAGS) -fPIC $(HOST_CFLAGS) $(CFLAGS) -o $@ $< \
	  -pthread

$(BUILD)/asan/host/oom: spec/host/oom.c | setup
	@mkdir -p $(@D)
	$(if $(Q),@echo "  LD  $@")
	$(Q)$(CC) $(HOST_CFLAGS) -O1 -g $(ASAN_FLAGS) -o $@ $< $(LUA_LIBS) -ldl

$(BUILD)/asan/unpreload.so: spec/host/unpreload.c | setup
	@mkdir -p $(@D)
	$(Q)$(CC) -shared -fPIC -o $@ $<

# The tests of the C interface, with the library's objects inside.
EMBED_SOURCES := $(wildcard spec/embed/*.c)

# $(call embed_test,VARIANT,FOLDER,CFLAGS,LIBS[,LUA LIBS])
define embed_test
$(2)/embed/test: $(EMBED_SOURCES) spec/embed/test.h csrc/perilune.h \
  $$(call embedded,$(1)) | setup
	@mkdir -p $$(@D)
	$$(if $$(Q),@echo "  LD  $$@")
	$$(Q)$$(CC) $$(HOST_CFLAGS) -Icsrc $(3) -o $$@ $(EMBED_SOURCES) \
	  $$(call embedded,$(1)) $(or $(5),$$(LUA_LIBS)) $(4) -lm -pthread
endef

$(eval $(call embed_test,plain,$(BUILD),$$(CFLAGS) $$(UV_CFLAGS),$$(UV_LIBS)))
$(eval $(call embed_test,asan,$(BUILD)/asan,-O1 -g $$(ASAN_FLAGS) \
  $$(UV_CFLAGS),$$(UV_LIBS)))
$(eval $(call embed_test,tsan,$(BUILD)/tsan,-O1 -g $$(TSAN_FLAGS) \
  $$(UV_CFLAGS),$$(UV_LIBS),$$(TSAN_LIBS)))
$(eval $(call embed_test,nouv,$(BUILD)/nouv,$$(CFLAGS) $$(NOUV_CFLAGS),))

# A host with a window. SDL's headers are not held to our warnings.
LANDER := $(BUILD)/lander/lander
LANDER_SOURCES := $(wildcard examples/lander/*.c)
SDL_CFLAGS = $(patsubst -I%,-isystem %,$(shell pkg-config --cflags sdl2))

$(LANDER): $(LANDER_SOURCES) examples/lander/host.h csrc/perilune.h \
  $(BUILD)/libperilune.a | setup
	@mkdir -p $(@D)
	$(if $(Q),@echo "  LD  $@")
	$(Q)$(CC) $(HOST_CFLAGS) -Icsrc $(SDL_CFLAGS) $(CFLAGS) -o $@ \
	  $(LANDER_SOURCES) $(BUILD)/libperilune.a $(LUA_LIBS) $(UV_LIBS) \
	  $(shell pkg-config --libs sdl2) -lm -pthread

module: $(BUILD)/perilune/core.so

hosts: $(BUILD)/host/oom $(BUILD)/asan/perilune/core.so \
  $(BUILD)/asan/host/oom

# Everything that is compiled, for `make lint`: clang links nothing here, as
# its sanitizer libraries may be absent.
variants: $(plain_objects) $(asan_objects) $(nouv_objects)


# Running ---------------------------------------------------------------------

# $(call in_tree,FOLDER) sets the paths for running in this tree.
in_tree = LUA_PATH="lua/?.lua;lua/?/init.lua;;" LUA_CPATH="$(1)/?.so;;"
busted = $(LUA) spec/busted.lua

# The sanitizers' libraries must be there before everything else.
asan_env = \
  ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1:$(ASAN_OPTIONS) \
  UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
asan_preload = LD_PRELOAD="$(shell $(CC) -print-file-name=libasan.so) \
  $(shell $(CC) -print-file-name=libubsan.so) $(BUILD)/asan/unpreload.so"

# The specs' deadlines are stretched by this where everything runs slower.
slow = PERILUNE_SLOW=$(1)

all: module ## build the module (the default)

test: setup module $(PROCESS) ## build, then run the specs (SPEC=spec/net for a part)
	@$(call in_tree,$(BUILD)) $(busted) $(SPEC)

explore: setup module ## run scenarios in many orders (SEEDS=500), cancelled at each wait
	@$(call in_tree,$(BUILD)) PERILUNE_SEEDS=$(SEEDS) $(busted) spec/explore

demo: setup module ## build, then serve a thousand clients
	@$(call in_tree,$(BUILD)) $(LUA) examples/demo.lua

test-sched: setup $(BUILD)/nouv/perilune/core.so $(PROCESS) ## the scheduler's specs, built without libuv
	@$(call in_tree,$(BUILD)/nouv) PERILUNE_NO_UV=1 \
	  $(busted) $(or $(SCHED_SPEC),spec/core)

asan: setup $(BUILD)/asan/perilune/core.so $(BUILD)/asan/unpreload.so $(PROCESS) ## the specs with ASan, UBSan and LSan
	@$(call in_tree,$(BUILD)/asan) $(call slow,4) $(asan_env) $(asan_preload) \
	  $(busted) $(SPEC)

valgrind: setup module $(PROCESS) ## a part of the specs under valgrind (VALGRIND_SPEC)
	@$(call in_tree,$(BUILD)) $(call slow,30) valgrind --quiet \
	  --leak-check=full --show-leak-kinds=definite,indirect,possible \
	  --errors-for-leak-kinds=definite,indirect,possible \
	  --error-exitcode=99 --suppressions=spec/host/valgrind.supp \
	  --child-silent-after-fork=yes \
	  --num-callers=30 $(busted) $(or $(VALGRIND_SPEC),spec/core)

test-embed: setup library amalgamation $(BUILD)/embed/test $(BUILD)/nouv/embed/test $(BUILD)/asan/embed/test ## the tests of the C interface (CASE=kill for a part)
	+@LIBS="$(LUA_LIBS) $(UV_LIBS) -lm" LUA="$(LUA)" MAKE="$(MAKE)" \
	  spec/embed/headers "$(CC)" "$(CXX)" $(LUA_CFLAGS)
	@$(BUILD)/embed/test $(CASE)
	@$(BUILD)/nouv/embed/test $(CASE)
	@$(asan_env) $(BUILD)/asan/embed/test $(CASE)
	@$(if $(CASE),,spec/embed/lander "$(MAKE)" $(LANDER))

lander: setup $(LANDER) ## build and play examples/lander, which takes SDL2
	@$(LANDER)

lander-shot: setup $(LANDER) ## write build/lander.png, a picture of that
	@$(LANDER) --headless --frames $(SHOT) --shot $(SHOT) $(BUILD)/lander.png

test-lander: setup ## run examples/lander without a window, and compare
	@spec/embed/lander "$(MAKE)" $(LANDER)

# Addresses are not to be spread: the sanitizer knows where they may be.
TSAN_RUN = $(shell command -v setarch >/dev/null && \
  setarch -R true 2>/dev/null && echo setarch -R)

tsan_supp := suppressions=spec/host/tsan.supp

ifeq ($(shell pkg-config --exists $(TSAN_PC) && echo yes),yes)
tsan: setup $(BUILD)/tsan/embed/test ## the tests of the C interface with TSan (CASE=threads)
	@TSAN_OPTIONS=halt_on_error=1:die_after_fork=0:$(tsan_supp):$(TSAN_OPTIONS) \
	  $(TSAN_RUN) $(BUILD)/tsan/embed/test $(CASE)
else
tsan: setup
	@echo "skipped tsan: no $(TSAN_PC)"
	@echo "0 passed, 0 failed, 1 skipped"
endif

gcstress: setup module $(BUILD)/host/oom $(PROCESS) ## scenarios and specs with the harshest collector
	@spec/stress/run plain:gc
	@$(call in_tree,$(BUILD)) $(call slow,20) PERILUNE_GCSTRESS=1 \
	  $(busted) $(GCSTRESS_SPEC)

oom: setup module hosts ## scenarios with each allocation failing in turn
	@$(asan_env) spec/stress/run plain:once plain:lasting plain:malloc asan:once

lint: setup ## luacheck, and warnings as errors with gcc and clang
	@.ci/lint

bench: setup module $(BUILD)/libperilune.a ## measure speed against its limits
	@BENCH_LUA="$(LUA)" bench/run

docs: ## bring the reference up to date with the comments in the source
	@$(LUA) docs/generate.lua

setup: ## install what is missing for building and testing
	@$(if $(filter off,$(SETUP)),:,.ci/setup $(SETUP_GROUP))

install: module install-library ## install below PREFIX (and DESTDIR)
	@mkdir -p "$(DESTDIR)$(INST_LIBDIR)/perilune"
	install -m 755 $(BUILD)/perilune/core.so \
	  "$(DESTDIR)$(INST_LIBDIR)/perilune/core.so"
	@find lua -name '*.lua' | while read -r file; do \
	  to="$(DESTDIR)$(INST_LUADIR)/$${file#lua/}"; \
	  echo "install -m 644 $$file $$to"; \
	  mkdir -p "$$(dirname "$$to")" && install -m 644 "$$file" "$$to" || \
	    exit 1; \
	done

# For package managers of Lua, that want the module alone, with LIBRARY=off.
install-library: $(if $(filter off,$(LIBRARY)),,library)
ifneq ($(LIBRARY),off)
	@mkdir -p "$(DESTDIR)$(PREFIX)/include" \
	  "$(DESTDIR)$(PREFIX)/lib/pkgconfig"
	install -m 644 csrc/perilune.h "$(DESTDIR)$(PREFIX)/include"
	install -m 644 $(BUILD)/libperilune.a "$(DESTDIR)$(PREFIX)/lib"
	install -m 755 $(BUILD)/libperilune.so.$(VERSION) \
	  "$(DESTDIR)$(PREFIX)/lib"
	ln -sf libperilune.so.$(VERSION) \
	  "$(DESTDIR)$(PREFIX)/lib/libperilune.so.$(ABI)"
	ln -sf libperilune.so.$(VERSION) "$(DESTDIR)$(PREFIX)/lib/libperilune.so"
	install -m 644 $(BUILD)/perilune.pc \
	  "$(DESTDIR)$(PREFIX)/lib/pkgconfig"
endif

clean: ## remove all that was built
	rm -rf $(BUILD)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' Makefile | \
	  while IFS='|' read -r name text; do \
	    printf '  %-11s %s\n' "$$name" "$$text"; done
