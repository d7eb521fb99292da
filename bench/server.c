/*
** server.c - an echo server in plain C on libuv: what a server on libuv can
** hope for, and what bench/run compares the library's with.
**
**   server [udp] PORT
**
** Listens on 127.0.0.1, prints READY, serves until it is killed. It does as
** little as libuv allows: all connections read into one buffer, and what was
** read is written at once. Only what the kernel does not take is copied, and
** nothing is read until it has left. A datagram is sent back at once.
**
** SPDX-License-Identifier: MIT
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define BACKLOG 4096

static char buffer[65536];

static _Noreturn void fail(const char *what, int status) {
  fprintf(stderr, "server: %s: %s\n", what, uv_strerror(status));
  exit(1);
}

static void on_close(uv_handle_t *handle) {
  free(handle);
}

static void give_buffer(uv_handle_t *handle, size_t suggested,
                        uv_buf_t *buf) {
  (void)handle;
  (void)suggested;
  *buf = uv_buf_init(buffer, sizeof buffer);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void on_written(uv_write_t *request, int status) {
  if (!status) uv_read_start(request->handle, give_buffer, on_read);
  free(request);
}

/* The bytes follow the request in memory. */
static void write_later(uv_stream_t *stream, const char *bytes, size_t n) {
  uv_write_t *request = malloc(sizeof *request + n);
  if (!request) fail("write", UV_ENOMEM);
  uv_buf_t rest = uv_buf_init((char *)(request + 1), (unsigned)n);
  memcpy(rest.base, bytes, n);
  uv_read_stop(stream);
  uv_write(request, stream, &rest, 1, on_written);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  if (n < 0) {
    uv_close((uv_handle_t *)stream, on_close);
  } else if (n > 0) {
    uv_buf_t all = uv_buf_init(buf->base, (unsigned)n);
    int sent = uv_try_write(stream, &all, 1);
    if (sent < 0) sent = 0;
    if (sent < n) write_later(stream, buf->base + sent, (size_t)(n - sent));
  }
}

static void on_connection(uv_stream_t *server, int status) {
  uv_tcp_t *connection = malloc(sizeof *connection);
  if (status || !connection) fail("connection", status);
  uv_tcp_init(server->loop, connection);
  uv_accept(server, (uv_stream_t *)connection);
  uv_tcp_nodelay(connection, 1);
  uv_read_start((uv_stream_t *)connection, give_buffer, on_read);
}

static void on_datagram(uv_udp_t *socket, ssize_t n, const uv_buf_t *buf,
                        const struct sockaddr *from, unsigned flags) {
  (void)flags;
  if (n < 0) fail("receive", (int)n);
  uv_buf_t all = uv_buf_init(buf->base, (unsigned)n);
  if (from) uv_udp_try_send(socket, &all, 1, from);
}

static int serve_datagrams(const struct sockaddr *address) {
  static uv_udp_t socket;
  uv_udp_init(uv_default_loop(), &socket);
  int status = uv_udp_bind(&socket, address, 0);
  return status ? status
                : uv_udp_recv_start(&socket, give_buffer, on_datagram);
}

static int serve_streams(const struct sockaddr *address) {
  static uv_tcp_t server;
  uv_tcp_init(uv_default_loop(), &server);
  uv_tcp_bind(&server, address, 0);
  return uv_listen((uv_stream_t *)&server, BACKLOG, on_connection);
}

int main(int argc, char **argv) {
  struct sockaddr_in in;
  const struct sockaddr *address = (struct sockaddr *)&in;
  int udp = argc > 2;
  uv_ip4_addr("127.0.0.1", argc > 1 ? atoi(argv[1 + udp]) : 0, &in);
  int status = udp ? serve_datagrams(address) : serve_streams(address);
  if (status) fail("listen", status);
  puts("READY");
  fflush(stdout);
  return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
