// The load of the echo benchmarks: CONNS connections, each with DEPTH messages of SIZE bytes under
// way, for MS milliseconds. Prints how many echoes came back, and in how many microseconds.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 1 << 18 };

struct connection {
  int fd;
  long credit;   // bytes that may still be sent
  long received; // of the message that is coming back
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

int main(int argc, char **argv) {
  if (argc != 6) return 2;
  int port = atoi(argv[1]), conns = atoi(argv[2]), depth = atoi(argv[4]), on = 1;
  long size = atol(argv[3]), echoes = 0;
  double ms = atof(argv[5]);
  char *out = calloc(1, size * depth), *in = malloc(ROOM);
  struct connection *all = calloc(conns, sizeof *all);
  int epoll = epoll_create1(0);
  struct epoll_event events[1024];
  struct sockaddr_in at = {
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  for (int i = 0; i < conns; i++) {
    struct connection *c = &all[i];
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (struct sockaddr *)&at, sizeof at)) return 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->credit = size * depth;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
  }
  double start = now(), end = start + ms * 1e3;
  while (now() < end) {
    int count = epoll_wait(epoll, events, 1024, 10);
    for (int i = 0; i < count; i++) {
      struct connection *c = events[i].data.ptr;
      // One recv and one send per message, as a rule: a short recv has drained the socket, and what
      // comes after it is a new edge.
      ssize_t n;
      do {
        n = recv(c->fd, in, ROOM, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN)) return 1;
        if (n < 0) break;
        c->received += n;
        while (c->received >= size) c->received -= size, c->credit += size, echoes++;
      } while (n == ROOM);
      if (c->credit > 0) {
        n = send(c->fd, out, c->credit, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) return 1;
        if (n > 0) c->credit -= n;
      }
    }
  }
  printf("%ld %.0f\n", echoes, now() - start);
  return 0;
}
