// The load of the socket benchmarks, against 127.0.0.1.
//
//   load tcp PORT CONNS SIZE DEPTH MS    each connection with DEPTH messages of SIZE bytes under way
//   load udp PORT WINDOW SIZE MS         WINDOW datagrams under way; those that get lost are sent again
//   load connect PORT CONNS MS           CONNS at a time: connect, send 64 bytes, receive them, close
//   load idle PORT CONNS                 after an echo each, prints `idle`, and holds them
//
// Prints how many there were, and in how many microseconds. The clock starts when each connection has
// had its first echo.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 1 << 18, EVENTS = 1024 };

struct connection {
  int fd;
  long credit;   // bytes that may still be sent
  long received; // of the message that is coming back
  int is_warm;   // an echo has come back
};

static char in[ROOM];
static struct epoll_event events[EVENTS];
static struct sockaddr_in at;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void watch(int epoll, int fd, void *data) {
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = data};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
}

static void hold(int conns) {
  for (int i = 0; i < conns; i++) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&at, sizeof at)) fail("connect");
    if (send(fd, in, 64, MSG_NOSIGNAL) != 64 || recv(fd, in, 64, MSG_WAITALL) != 64) fail("echo");
  }
  puts("idle");
  fflush(stdout);
  pause();
}

static long tcp(int conns, long size, int depth, double ms, double *micros) {
  int epoll = epoll_create1(0), on = 1, cold = conns;
  char *out = calloc(depth, size);
  struct connection *all = calloc(conns, sizeof *all);
  for (int i = 0; i < conns; i++) {
    struct connection *c = &all[i];
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (struct sockaddr *)&at, sizeof at)) fail("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->credit = size * depth;
    watch(epoll, c->fd, c);
  }
  double start = now(), end = start + 10e6; // until all are warm: ten seconds at the most
  long echoes = 0;
  while (now() < end) {
    int count = epoll_wait(epoll, events, EVENTS, 10);
    for (int i = 0; i < count; i++) {
      struct connection *c = events[i].data.ptr;
      // One recv and one send per message, as a rule: a short recv has drained the socket, and what
      // comes after it is a new edge.
      ssize_t n;
      do {
        n = recv(c->fd, in, ROOM, MSG_DONTWAIT);
        if (n == 0) errno = ECONNRESET;
        if (n == 0 || (n < 0 && errno != EAGAIN)) fail("recv");
        if (n < 0) break;
        c->received += n;
        for (; c->received >= size; echoes++) {
          c->received -= size, c->credit += size;
          if (!c->is_warm) c->is_warm = 1, cold--;
        }
      } while (n == ROOM);
      if (c->credit > 0) {
        n = send(c->fd, out, c->credit, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) fail("send");
        if (n > 0) c->credit -= n;
      }
    }
    if (cold == 0) start = now(), end = start + ms * 1e3, echoes = 0, cold = -1;
  }
  if (cold > 0) fprintf(stderr, "%d connections had no echo\n", cold), exit(1);
  *micros = now() - start;
  return echoes;
}

static long udp(int window, long size, double ms, double *micros) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct timeval patience = {.tv_usec = 20000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (connect(fd, (struct sockaddr *)&at, sizeof at)) fail("connect");
  char *out = calloc(1, size);
  double start = now(), end = start + ms * 1e3;
  long echoes = 0;
  for (int under_way = 0; now() < end;) {
    for (; under_way < window; under_way++) send(fd, out, size, 0);
    if (recv(fd, in, ROOM, 0) < 0) under_way = 0; // lost
    else under_way--, echoes++;
  }
  *micros = now() - start;
  return echoes;
}

// The source address rotates: a closed connection keeps its port for a minute.
static void begin(int epoll, struct connection *c) {
  static unsigned count;
  int on = 1;
  struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000100 + count++ % 50000)};
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  if (bind(c->fd, (struct sockaddr *)&from, sizeof from)) fail("bind");
  if (connect(c->fd, (struct sockaddr *)&at, sizeof at) && errno != EINPROGRESS) fail("connect");
  c->credit = c->received = 64;
  watch(epoll, c->fd, c);
}

static long connects(int conns, double ms, double *micros) {
  int epoll = epoll_create1(0);
  struct connection *all = calloc(conns, sizeof *all);
  double start = now(), end = start + ms * 1e3;
  long done = 0;
  for (int i = 0; i < conns; i++) begin(epoll, &all[i]);
  while (now() < end) {
    int count = epoll_wait(epoll, events, EVENTS, 10);
    for (int i = 0; i < count; i++) {
      struct connection *c = events[i].data.ptr;
      if (c->credit > 0 && events[i].events & EPOLLOUT) {
        if (send(c->fd, in, 64, MSG_NOSIGNAL) != 64) fail("send");
        c->credit = 0;
      }
      ssize_t n = recv(c->fd, in, 64, MSG_DONTWAIT);
      if (n == 0 || (n < 0 && errno != EAGAIN)) fail("recv");
      if (n > 0) c->received -= n;
      if (c->received == 0) {
        close(c->fd);
        done++;
        begin(epoll, c);
      }
    }
  }
  *micros = now() - start;
  return done;
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  at.sin_family = AF_INET;
  at.sin_port = htons(atoi(argv[2]));
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  double micros = 0;
  long count = 0;
  if (!strcmp(argv[1], "tcp") && argc == 7)
    count = tcp(atoi(argv[3]), atol(argv[4]), atoi(argv[5]), atof(argv[6]), &micros);
  else if (!strcmp(argv[1], "udp") && argc == 6)
    count = udp(atoi(argv[3]), atol(argv[4]), atof(argv[5]), &micros);
  else if (!strcmp(argv[1], "connect") && argc == 5)
    count = connects(atoi(argv[3]), atof(argv[4]), &micros);
  else if (!strcmp(argv[1], "idle") && argc == 4)
    hold(atoi(argv[3]));
  else
    return 2;
  printf("%ld %.0f\n", count, micros);
  return 0;
}
