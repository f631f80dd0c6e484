// The load generator of the socket benchmarks. Connects to 127.0.0.1.
//
//   load tcp PORT CONNS SIZE DEPTH MS    each connection with DEPTH messages of SIZE bytes in flight
//   load proxy PORT CONNS SIZE DEPTH MS  like tcp, but does not busy-poll: the upstream of the proxy shares the load's core
//   load udp PORT WINDOW SIZE MS         WINDOW datagrams in flight; sends again for lost datagrams
//   load connect PORT CONNS MS           CONNS connections at a time: connect, send and receive 64 bytes, close
//   load idle PORT CONNS                 echoes once on each connection, prints `idle`, keeps the connections open
//
// Prints the number of operations and the time they took, in µs. In tcp mode the measurement starts when each
// connection has echoed once and all messages are in flight. If a message or a connection is lost, prints an error and
// exits with a failure.
//
// tcp mode uses io_uring where the kernel has it. With epoll, which needs two system calls per message, the load would
// cost as much as a server in C and become the bottleneck. LOAD_EPOLL=1 selects epoll.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// Receive buffer in bytes; events per epoll_wait; connections opened at once; grace period in seconds; busy-poll in µs.
enum { ROOM = 1 << 18, EVENTS = 1024, BATCH = 100, PATIENCE = 10, SPIN_MICROS = 100 };

struct connection {
  int fd;
  long credit;   // bytes that may still be sent
  long received; // bytes received of the current message
};

// The state of `tcp` and `idle`.
static struct {
  struct connection *all;
  int conns, depth;
  long size;
  double ms;
  char *out;      // the bytes to send: as many as a connection may have in flight
  int spin_micros; // how long to busy-poll before sleeping
  long in_flight;  // messages sent and not yet received back
  long echoes;
  double start, micros; // start: 0 until the measurement starts. micros: 0 until it ends
} run;

static char in[ROOM];
static struct epoll_event events[EVENTS];
static struct sockaddr_in at;

// The monotonic clock, in µs.
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

static const char *awaited;

static void late(int signal) {
  (void)signal;
  if (write(2, awaited, strlen(awaited))) {} // the result is ignored: there is no other way to report
  _exit(1);
}

// Ends the process with the message `what` after `seconds` + PATIENCE, unless `expect` is called again before.
static void expect(const char *what, double seconds) {
  awaited = what;
  signal(SIGALRM, late);
  alarm((unsigned)seconds + PATIENCE);
}

// Opens the connections in batches, and echoes once on each connection before the next batch. So no listen queue
// overflows, and every connection is warm.
static void dial(void) {
  enum { PART = 1 << 16 }; // bytes sent before we read: the socket buffers can hold them
  int on = 1;
  const char *message = run.out != NULL ? run.out : in;
  run.all = calloc(run.conns, sizeof *run.all);
  struct connection *end = run.all + run.conns, *last;
  expect("no echo of a first message\n", 0);
  for (struct connection *first = run.all; first < end; first = last) {
    last = first + (end - first < BATCH ? end - first : BATCH);
    for (struct connection *c = first; c < last; c++) {
      c->fd = socket(AF_INET, SOCK_STREAM, 0);
      if (connect(c->fd, (struct sockaddr *)&at, sizeof at)) fail("connect");
      setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    for (long left = run.size, part; left > 0; left -= part) {
      part = left < PART ? left : PART;
      for (struct connection *c = first; c < last; c++)
        if (send(c->fd, message + run.size - left, part, MSG_NOSIGNAL) != part) fail("send");
      for (struct connection *c = first; c < last; c++)
        if (recv(c->fd, in, part, MSG_WAITALL) != part) fail("recv");
    }
  }
}

// Closes all connections and waits until the server has closed them too, so that it has no work left when the next
// measurement begins.
static void hang_up(void) {
  expect("a connection was not closed\n", 0);
  for (int i = 0; i < run.conns; i++) shutdown(run.all[i].fd, SHUT_WR);
  for (int i = 0; i < run.conns; i++)
    if (recv(run.all[i].fd, in, ROOM, 0)) fail("close");
}

// The idle mode: opens the connections and keeps them open until the process is killed.
static void hold(void) {
  dial();
  alarm(0);
  puts("idle");
  fflush(stdout);
  pause();
}

// Starts and ends the measurement. Returns 0 when all messages are back. The measurement starts when the number of
// echoes reaches the number of messages in flight: from then on the load is steady. After its end, the messages in
// flight must still arrive, but no new message is sent.
static int is_running(void) {
  if (run.start == 0 && run.echoes >= run.in_flight) run.start = now(), run.echoes = 0;
  if (run.start > 0 && run.micros == 0 && now() >= run.start + run.ms * 1e3) {
    run.micros = now() - run.start;
    expect("messages were lost\n", 0);
  }
  return run.in_flight > 0;
}

// Returns the number of bytes to send after `bytes` were received: one message per received message.
static long answer(struct connection *c, long bytes) {
  long whole = (c->received + bytes) / run.size;
  c->received = (c->received + bytes) % run.size;
  if (run.micros > 0) {
    run.in_flight -= whole;
    return 0;
  }
  run.echoes += whole;
  return whole * run.size;
}

// Receives until the socket is drained, then sends. Usually one recv and one send per message: a short recv has drained
// the socket, and later data causes a new edge.
static void exchange(struct connection *c) {
  ssize_t n;
  do {
    n = recv(c->fd, in, ROOM, MSG_DONTWAIT);
    if (n == 0) errno = ECONNRESET;
    if (n == 0 || (n < 0 && errno != EAGAIN)) fail("recv");
    if (n > 0) c->credit += answer(c, n);
  } while (n == ROOM);
  if (c->credit == 0) return;
  n = send(c->fd, run.out, c->credit, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n < 0 && errno != EAGAIN) fail("send");
  if (n > 0) c->credit -= n;
}

static void by_epoll(void) {
  int epoll = epoll_create1(0);
  for (int i = 0; i < run.conns; i++) {
    run.all[i].credit = run.size * run.depth;
    watch(epoll, run.all[i].fd, &run.all[i]);
  }
  while (is_running()) {
    int count = epoll_wait(epoll, events, EVENTS, -1);
    for (int i = 0; i < count; i++) exchange(events[i].data.ptr);
  }
}

#include "uring.h"

static long tcp(double *micros) {
  run.out = calloc(run.depth, run.size);
  // Each message is a line, for servers that read lines.
  for (long at = run.size; at <= run.depth * run.size; at += run.size) run.out[at - 1] = '\n';
  dial();
  run.in_flight = (long)run.conns * run.depth;
  expect("no more echoes\n", run.ms / 1e3);
  if (getenv("LOAD_EPOLL") != NULL || !by_uring()) by_epoll();
  hang_up();
  *micros = run.micros;
  return run.echoes;
}

// Sends and receives in batches, so that the load costs less than a server that receives one datagram at a time.
// Busy-polls before it sleeps, like the load for TCP.
static long udp(int window, long size, double ms, double *micros) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct timeval patience = {.tv_usec = 20000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (connect(fd, (struct sockaddr *)&at, sizeof at)) fail("connect");
  struct iovec data = {calloc(1, size), size}, room = {in, ROOM};
  struct mmsghdr *out = calloc(window, sizeof *out), *back = calloc(window, sizeof *back);
  for (int i = 0; i < window; i++) {
    out[i].msg_hdr = (struct msghdr){.msg_iov = &data, .msg_iovlen = 1};
    back[i].msg_hdr = (struct msghdr){.msg_iov = &room, .msg_iovlen = 1};
  }
  double start = now(), end = start + ms * 1e3, sent = start;
  long echoes = 0;
  int in_flight = 0;
  while (now() < end) {
    if (in_flight < window) {
      int count = sendmmsg(fd, out, window - in_flight, 0);
      if (count > 0) in_flight += count;
      sent = now();
    }
    int count = recvmmsg(fd, back, window, MSG_DONTWAIT, NULL);
    if (count < 0 && now() - sent > SPIN_MICROS) {
      count = recvmmsg(fd, back, window, MSG_WAITFORONE, NULL);
      if (count < 0) in_flight = 0; // lost
    }
    if (count > 0) in_flight -= count, echoes += count;
  }
  *micros = now() - start;
  // Receive the remaining datagrams: if they arrived after the close, the server would get an ICMP error.
  for (int count; in_flight > 0; in_flight -= count) {
    count = recvmmsg(fd, back, window, MSG_WAITFORONE, NULL);
    if (count < 0) break;
  }
  return echoes;
}

// Opens a connection. The source address rotates, because a closed connection keeps its port for a minute.
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

static void allow_all_files(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit)) fail("getrlimit");
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit)) fail("setrlimit");
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  at.sin_family = AF_INET;
  at.sin_port = htons(atoi(argv[2]));
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  allow_all_files();
  double micros = 0;
  long count = 0;
  int is_proxy = !strcmp(argv[1], "proxy");
  if ((!strcmp(argv[1], "tcp") || is_proxy) && argc == 7) {
    run.spin_micros = is_proxy ? 0 : SPIN_MICROS;
    run.conns = atoi(argv[3]), run.size = atol(argv[4]);
    run.depth = atoi(argv[5]), run.ms = atof(argv[6]);
    count = tcp(&micros);
  } else if (!strcmp(argv[1], "udp") && argc == 6)
    count = udp(atoi(argv[3]), atol(argv[4]), atof(argv[5]), &micros);
  else if (!strcmp(argv[1], "connect") && argc == 5)
    count = connects(atoi(argv[3]), atof(argv[4]), &micros);
  else if (!strcmp(argv[1], "idle") && argc == 4) {
    run.conns = atoi(argv[3]), run.size = 64;
    hold();
  } else
    return 2;
  if (count == 0) {
    fputs("no operation completed\n", stderr);
    return 1;
  }
  printf("%ld %.0f\n", count, micros);
  return 0;
}
