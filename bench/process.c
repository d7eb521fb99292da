/*
** process.c - runs "true" again and again in plain C on libuv, with pipes for
** what it writes: what bench/run compares the library's processes with.
**
**   process N      prints the CPU time of N runs as JSON
**
** SPDX-License-Identifier: MIT
*/
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <uv.h>

enum { OUT = 1, ERR, STREAMS };

static int left; /* runs that have not begun */
static int open_handles;
static uv_process_t process;
static uv_pipe_t pipes[STREAMS];
static char buffer[65536];

static void begin(void);

static void on_close(uv_handle_t *handle) {
  (void)handle;
  if (!--open_handles && left) begin();
}

static void on_exit_of(uv_process_t *p, int64_t code, int signal) {
  (void)code;
  (void)signal;
  uv_close((uv_handle_t *)p, on_close);
}

static void give_buffer(uv_handle_t *handle, size_t suggested,
                        uv_buf_t *buf) {
  (void)handle;
  (void)suggested;
  *buf = uv_buf_init(buffer, sizeof buffer);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  (void)buf;
  if (n < 0) uv_close((uv_handle_t *)stream, on_close);
}

static void begin(void) {
  char name[] = "true";
  char *args[] = {name, NULL};
  uv_stdio_container_t io[STREAMS] = {{.flags = UV_IGNORE}};
  uv_process_options_t o = {.file = name, .args = args, .stdio = io,
                            .stdio_count = STREAMS, .exit_cb = on_exit_of};
  left--;
  open_handles = STREAMS; /* the process, and two pipes */
  for (int i = OUT; i <= ERR; i++) {
    uv_pipe_init(uv_default_loop(), &pipes[i], 0);
    io[i].flags = (uv_stdio_flags)(UV_CREATE_PIPE | UV_WRITABLE_PIPE);
    io[i].data.stream = (uv_stream_t *)&pipes[i];
  }
  int status = uv_spawn(uv_default_loop(), &process, &o);
  if (status) {
    fprintf(stderr, "process: %s\n", uv_strerror(status));
    exit(1);
  }
  for (int i = OUT; i <= ERR; i++)
    uv_read_start((uv_stream_t *)&pipes[i], give_buffer, on_read);
}

static double cpu_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1;
  double begun = cpu_seconds();
  left = n;
  begin();
  uv_run(uv_default_loop(), UV_RUN_DEFAULT);
  printf("{\"n\":%d,\"cpu\":%.6f}\n", n, cpu_seconds() - begun);
  return 0;
}
