// Echo server in C on edge-triggered epoll: an upper bound for one thread. `epoll udp` echoes datagrams. `epoll tcp 50`
// busy-polls for 50 µs before it sleeps.

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

// The size of a connection's buffer in bytes: SMALL until a read fills it, then LARGE.
enum { SMALL = 512, LARGE = 64 * 1024 };

struct connection {
  int fd;
  int size;
  int length, sent; // the bytes of `buffer` from `sent` to `length` are not written yet
  char *buffer;
  char first[SMALL];
};

// Echoes until the socket would block or has ended. A short read has drained the socket. If the peer has ended its side
// (`hup`), read again after a short read: the end follows without another edge.
static void echo(struct connection *c, int hup) {
  for (int n = c->size;;) {
    while (c->sent < c->length) {
      ssize_t n = send(c->fd, c->buffer + c->sent, c->length - c->sent, MSG_NOSIGNAL);
      if (n < 0 && errno == EAGAIN) return;
      if (n < 0) goto end;
      c->sent += n;
    }
    if (n < c->size && !hup) return;
    if (c->length == SMALL && c->size == SMALL) {
      c->buffer = malloc(LARGE);
      c->size = LARGE;
    }
    n = recv(c->fd, c->buffer, c->size, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) goto end;
    c->length = n;
    c->sent = 0;
  }
end:
  close(c->fd);
  if (c->buffer != c->first) free(c->buffer);
  free(c);
}

static void udp(struct sockaddr_in *at) {
  static char buffer[64 * 1024];
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in from;
  socklen_t size = sizeof *at;
  if (bind(fd, (struct sockaddr *)at, size)) exit(1);
  getsockname(fd, (struct sockaddr *)at, &size);
  printf("port %d\n", ntohs(at->sin_port));
  fflush(stdout);
  for (;;) {
    size = sizeof from;
    ssize_t n = recvfrom(fd, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &size);
    if (n >= 0) sendto(fd, buffer, n, 0, (struct sockaddr *)&from, size);
  }
}

// Waits for events. Busy-polls for `spin_micros` µs before it sleeps.
static int next(int epoll, struct epoll_event *events, int spin_micros) {
  if (spin_micros == 0) return epoll_wait(epoll, events, 1024, -1);
  struct timespec now, start;
  clock_gettime(CLOCK_MONOTONIC, &start);
  do {
    int count = epoll_wait(epoll, events, 1024, 0);
    if (count != 0) return count;
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while ((now.tv_sec - start.tv_sec) * 1000000 + (now.tv_nsec - start.tv_nsec) / 1000 < spin_micros);
  return epoll_wait(epoll, events, 1024, -1);
}

int main(int argc, char **argv) {
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof at;
  int spin_micros = argc > 2 ? atoi(argv[2]) : 0;
  if (argc > 1 && strcmp(argv[1], "udp") == 0) udp(&at);
  if (bind(listener, (struct sockaddr *)&at, size) || listen(listener, 4096)) return 1;
  getsockname(listener, (struct sockaddr *)&at, &size);
  printf("port %d\n", ntohs(at.sin_port));
  fflush(stdout);
  int epoll = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[1024];
  epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    int count = next(epoll, events, spin_micros);
    for (int i = 0; i < count; i++) {
      if (events[i].data.ptr != NULL) {
        echo(events[i].data.ptr, events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
        continue;
      }
      int fd;
      while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *c = malloc(sizeof *c);
        c->fd = fd;
        c->size = SMALL;
        c->buffer = c->first;
        c->length = c->sent = 0;
        event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
        event.data.ptr = c;
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
      }
    }
  }
}
