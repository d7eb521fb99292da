/*
** client.c - load for the servers that bench/run compares.
**
**   client echo  PORT SIZE CONNECTIONS SECONDS PID
**   client line  PORT SIZE CONNECTIONS SECONDS PID
**   client udp   PORT SIZE CONNECTIONS SECONDS PID
**   client churn PORT SIZE CONNECTIONS SECONDS PID
**   client idle  PORT SIZE CONNECTIONS -       PID
**
** Each connection has one message under way: it is sent, its echo read, and
** the next one sent. In "line" a message is 100 lines of SIZE bytes, each of
** which counts. In "udp" it is a datagram, and a connection a socket for them.
** In "churn" every message has a connection of its own. PID is the server,
** whose CPU time is read when measuring begins and ends. Not measured are the
** first message of each connection, and a fifth of SECONDS after that. One
** line is printed:
**
**   MESSAGES WALL_SECONDS SERVER_CPU_SECONDS
**
** "idle" opens all connections, has one message echoed on each, and prints
** by how many bytes of memory the server has grown for each of them.
**
** One thread, one epoll. For Linux.
**
** SPDX-License-Identifier: MIT
*/
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

#define LINES 100       /* in a message of "line" */
#define EVENTS 256
#define ROOM (1 << 18)  /* for what is read at once */
#define PATIENCE 10000  /* milliseconds without an answer */

typedef struct connection {
  int fd;
  size_t sent, received; /* of the message under way */
  unsigned waits_to_send : 1; /* epoll is asked for room to write */
  unsigned proven : 1;   /* a first echo was compared byte by byte */
} connection;

static enum { ECHO, LINE, UDP, CHURN, IDLE } mode;
static struct sockaddr_in server;
static pid_t server_pid;
static char *message;
static size_t size;
static int epoll;
static long long messages;
static int proven; /* connections that had a first echo */

static _Noreturn void fail(const char *what) {
  fprintf(stderr, "client: %s%s%s\n", what, errno ? ": " : "",
          errno ? strerror(errno) : "");
  exit(1);
}

static double seconds(clockid_t clock) {
  struct timespec t;
  if (clock_gettime(clock, &t)) fail("clock");
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double server_cpu(void) {
  clockid_t clock;
  errno = clock_getcpuclockid(server_pid, &clock);
  if (errno) fail("the server's clock");
  return seconds(clock);
}

/* The server's resident memory in bytes. */
static long server_memory(void) {
  char path[64];
  long pages;
  snprintf(path, sizeof path, "/proc/%d/statm", (int)server_pid);
  FILE *f = fopen(path, "r");
  if (!f || fscanf(f, "%*d %ld", &pages) != 1) fail(path);
  fclose(f);
  return pages * sysconf(_SC_PAGESIZE);
}

/* {== A connection ===================================================== */

static void watch(connection *c, int op) {
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
  if (c->waits_to_send) e.events |= EPOLLOUT;
  if (epoll_ctl(epoll, op, c->fd, &e)) fail("epoll_ctl");
}

/* From many addresses in turn: so many connections in a row would run out
** of ports, each being reserved for a while after it was closed. */
static void spread(int fd) {
  static unsigned turn;
  int one = 1;
  struct sockaddr_in from = {.sin_family = AF_INET};
  from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + turn++ % 250);
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&from, sizeof from)) fail("bind");
}

static void open_connection(connection *c) {
  int one = 1, type = mode == UDP ? SOCK_DGRAM : SOCK_STREAM;
  memset(c, 0, sizeof *c);
  c->fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c->fd < 0) fail("socket");
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (mode == CHURN) spread(c->fd);
  if (connect(c->fd, (struct sockaddr *)&server, sizeof server) &&
      errno != EINPROGRESS)
    fail("connect");
  c->waits_to_send = 1; /* which is possible once it is connected */
  watch(c, EPOLL_CTL_ADD);
}

static void send_some(connection *c) {
  while (c->sent < size) {
    ssize_t n = write(c->fd, message + c->sent, size - c->sent);
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) fail("write");
    c->sent += (size_t)n;
  }
  if (c->waits_to_send == (c->sent < size)) return;
  c->waits_to_send = c->sent < size;
  watch(c, EPOLL_CTL_MOD);
}

/* True once the whole echo has arrived. */
static int receive_some(connection *c) {
  static char room[ROOM];
  ssize_t n = read(c->fd, room, sizeof room);
  if (n < 0 && errno == EAGAIN) return 0;
  if (n <= 0) fail("read: the server closed a connection");
  if ((size_t)n > size - c->received) fail("the echo is too long");
  if (!c->proven && memcmp(room, message + c->received, (size_t)n))
    fail("the echo differs from what was sent");
  c->received += (size_t)n;
  return c->received == size;
}

static void next_message(connection *c) {
  messages++;
  if (mode == IDLE) return;
  if (mode == CHURN) {
    close(c->fd);
    open_connection(c);
    return;
  }
  if (!c->proven) proven++;
  c->proven = 1;
  c->sent = c->received = 0;
  send_some(c);
}

/* }===================================================================== */

static void handle_events(int timeout) {
  struct epoll_event events[EVENTS];
  int n = epoll_wait(epoll, events, EVENTS, timeout);
  if (n < 0 && errno != EINTR) fail("epoll_wait");
  if (n == 0 && timeout == PATIENCE) fail("no answer");
  for (int i = 0; i < n; i++) {
    connection *c = events[i].data.ptr;
    if (events[i].events & EPOLLOUT) send_some(c);
    if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) &&
        receive_some(c))
      next_message(c);
  }
}

/* Never sleeps: to wake us would cost the server much, and how often it had
** to would depend on which of us is faster. */
static void run_for(double duration) {
  double end = seconds(CLOCK_MONOTONIC) + duration;
  while (seconds(CLOCK_MONOTONIC) < end) handle_events(0);
}

static void measure_load(connection *all, int count, double duration) {
  for (int i = 0; i < count; i++) open_connection(&all[i]);
  while (mode != CHURN && proven < count) handle_events(PATIENCE);
  run_for(duration / 5);
  double wall = seconds(CLOCK_MONOTONIC), cpu = server_cpu();
  long long before = messages;
  run_for(duration);
  cpu = server_cpu() - cpu;
  wall = seconds(CLOCK_MONOTONIC) - wall;
  if (messages == before) fail("no answer");
  printf("%lld %.6f %.6f\n",
         (messages - before) * (mode == LINE ? LINES : 1), wall, cpu);
}

/* The backlog is not to overflow, which would cost seconds. */
static void measure_memory(connection *all, int count) {
  long before = server_memory();
  for (int i = 0; i < count; i++) {
    open_connection(&all[i]);
    while (messages < i - 200) handle_events(PATIENCE);
  }
  while (messages < count) handle_events(PATIENCE);
  printf("%.0f\n", (double)(server_memory() - before) / count);
}

static void make_message(size_t length) {
  size_t count = mode == LINE ? LINES : 1;
  size = length * count;
  message = malloc(size);
  if (!message || !length) fail("message");
  for (size_t i = 0; i < size; i++) message[i] = (char)('a' + i % 23);
  if (mode != LINE) return;
  for (size_t i = 1; i <= count; i++) message[i * length - 1] = '\n';
}

int main(int argc, char **argv) {
  static const char *const modes[] = {"echo", "line", "udp", "churn",
                                      "idle"};
  if (argc != 7) {
    fputs("usage: client MODE PORT SIZE CONNECTIONS SECONDS PID\n", stderr);
    return 2;
  }
  while (mode <= IDLE && strcmp(argv[1], modes[mode])) mode++;
  if (mode > IDLE) fail("no such mode");
  server.sin_family = AF_INET;
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  server.sin_port = htons((unsigned short)atoi(argv[2]));
  make_message((size_t)atol(argv[3]));
  int count = atoi(argv[4]);
  server_pid = (pid_t)atol(argv[6]);
  connection *all = calloc((size_t)count, sizeof *all);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  if (!all || epoll < 0) fail("set-up");
  errno = 0;
  if (mode == IDLE)
    measure_memory(all, count);
  else
    measure_load(all, count, atof(argv[5]));
  return 0;
}
