// edhost.cpp - the same in C++: what is opened is closed by a destructor, and
// a scope for each line ends with the object that holds it.
//
//   c++ -Icsrc examples/edhost/edhost.cpp build/libperilune.a
//     $(pkg-config --cflags --libs lua5.4 libuv) -pthread -o edhost
//
// SPDX-License-Identifier: MIT
#include <lua.hpp>
#include <poll.h>

#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "perilune.h"

namespace {

int check(int rc) {
  if (rc < 0) throw std::runtime_error(perilune_strerror(rc));
  return rc;
}

struct close_state {
  void operator()(lua_State *L) const { lua_close(L); }
};

using state = std::unique_ptr<lua_State, close_state>;

class loop {
 public:
  explicit loop(lua_State *L) {
    check(perilune_open(L, nullptr, &p_));
    check(perilune_openlibs(p_, PERILUNE_LIB_ALL));
  }
  ~loop() {
    while (perilune_close(p_, 0, 1) == PERILUNE_BUSY) continue;
  }
  loop(const loop &) = delete;
  loop &operator=(const loop &) = delete;

  perilune_loop *get() const { return p_; }
  bool step() { return check(perilune_step(p_, nullptr, nullptr)) != PERILUNE_IDLE; }

  // Sleeps until a step is useful.
  void wait() {
    pollfd fd = {perilune_fd(p_), POLLIN, 0};
    int64_t ns = perilune_timeout(p_);
    poll(&fd, 1, ns < 0 ? -1 : static_cast<int>((ns + 999999) / 1000000));
  }

 private:
  perilune_loop *p_ = nullptr;
};

// Tasks of a scope end with it, whatever they are doing.
class scope {
 public:
  explicit scope(const loop &l) {
    check(perilune_scope_new(l.get(), nullptr, nullptr, this, &s_));
  }
  ~scope() {
    perilune_scope_kill(s_, PERILUNE_KILL_CLOSE);
    perilune_scope_release(s_);
  }
  scope(const scope &) = delete;
  scope &operator=(const scope &) = delete;

  void run(const loop &l, lua_State *L, const std::string &code) {
    if (luaL_loadstring(L, code.c_str())) {
      std::cout << lua_tostring(L, -1) << std::endl;
      lua_pop(L, 1);
      return;
    }
    check(perilune_spawn(l.get(), s_, L, 0, nullptr));
  }

 private:
  perilune_scope *s_ = nullptr;
};

}  // namespace

int main() {
  state L(luaL_newstate());
  luaL_openlibs(L.get());
  loop l(L.get());
  if (luaL_dostring(L.get(), "aio = require 'perilune'")) return 1;
  std::vector<std::unique_ptr<scope>> lines;
  for (std::string line; std::getline(std::cin, line);) {
    lines.push_back(std::unique_ptr<scope>(new scope(l)));
    lines.back()->run(l, L.get(), line);
  }
  while (l.step()) l.wait();
  return 0;
}
