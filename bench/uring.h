// The tcp load on io_uring: one system call sends the answers to all received messages. Makes raw system calls, so it
// needs no library. Included by load.c only.

#include <sys/mman.h>
#include <sys/syscall.h>
#if __has_include(<linux/io_uring.h>)
#include <linux/io_uring.h>
#endif

#ifndef IORING_SETUP_DEFER_TASKRUN // headers before Linux 6.1

static int by_uring(void) {
  return 0;
}

#else

enum { SUBMISSIONS = 4096, COMPLETIONS = 2 * SUBMISSIONS, BUFFERS = COMPLETIONS };
enum kind { RECV, SEND }; // with the connection's index, identifies a completion

static struct {
  int fd;
  unsigned queued, *sq_tail, *cq_head, *cq_tail;
  struct io_uring_sqe *sqes;
  struct io_uring_cqe *cqes;
  struct io_uring_buf_ring *buffers;
} ring;

static void *map(size_t size, off_t offset) {
  void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, offset);
  if (at == MAP_FAILED) fail("mmap");
  return at;
}

// Returns 0 where the kernel has no io_uring, forbids it, or is older than 6.1.
static int open_ring(void) {
  struct io_uring_params p = {
      .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
      .cq_entries = COMPLETIONS,
  };
  ring.fd = syscall(SYS_io_uring_setup, SUBMISSIONS, &p);
  if (ring.fd < 0) return 0;
  size_t cqes_end = p.cq_off.cqes + COMPLETIONS * sizeof *ring.cqes;
  size_t order_end = p.sq_off.array + SUBMISSIONS * sizeof(unsigned);
  char *queues = map(cqes_end > order_end ? cqes_end : order_end, IORING_OFF_SQ_RING);
  ring.sqes = map(SUBMISSIONS * sizeof *ring.sqes, IORING_OFF_SQES);
  ring.cqes = (void *)(queues + p.cq_off.cqes);
  ring.sq_tail = (void *)(queues + p.sq_off.tail);
  ring.cq_head = (void *)(queues + p.cq_off.head);
  ring.cq_tail = (void *)(queues + p.cq_off.tail);
  unsigned *order = (void *)(queues + p.sq_off.array);
  for (unsigned i = 0; i < SUBMISSIONS; i++) order[i] = i;
  return 1;
}

// Provides BUFFERS receive buffers, which all share the memory `in`: no code reads the received bytes. A used buffer can
// be provided again at once. Returns 0 on failure.
static int provide_buffers(void) {
  size_t size = BUFFERS * sizeof(struct io_uring_buf);
  ring.buffers = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (ring.buffers == MAP_FAILED) fail("mmap");
  for (int i = 0; i < BUFFERS; i++) {
    ring.buffers->bufs[i].addr = (uintptr_t)in;
    ring.buffers->bufs[i].len = ROOM;
  }
  ring.buffers->tail = BUFFERS;
  struct io_uring_buf_reg reg = {.ring_addr = (uintptr_t)ring.buffers, .ring_entries = BUFFERS};
  return !syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_PBUF_RING, &reg, 1);
}

// The kernel finds a registered socket faster.
static int register_sockets(void) {
  int *fds = calloc(run.conns, sizeof *fds);
  for (int i = 0; i < run.conns; i++) fds[i] = run.all[i].fd;
  long result = syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, fds, run.conns);
  free(fds);
  return !result;
}

// Submits the queued operations, and waits for `wait` completions.
static void enter(unsigned wait) {
  int n = syscall(SYS_io_uring_enter, ring.fd, ring.queued, wait, IORING_ENTER_GETEVENTS, NULL, 0);
  if (n < 0 && errno != EINTR && errno != EAGAIN && errno != EBUSY) fail("io_uring_enter");
  if (n > 0) ring.queued -= n;
}

static void queue(struct io_uring_sqe sqe, enum kind kind, int index) {
  while (ring.queued == SUBMISSIONS) enter(0);
  unsigned tail = *ring.sq_tail;
  sqe.user_data = (uint64_t)kind << 32 | index;
  ring.sqes[tail % SUBMISSIONS] = sqe;
  __atomic_store_n(ring.sq_tail, tail + 1, __ATOMIC_RELEASE);
  ring.queued++;
}

// A multishot receive: it completes once per batch of arrived bytes.
static void queue_recv(int index) {
  struct io_uring_sqe sqe = {.opcode = IORING_OP_RECV, .fd = index};
  sqe.flags = IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
  sqe.ioprio = IORING_RECV_MULTISHOT | IORING_RECVSEND_POLL_FIRST;
  queue(sqe, RECV, index);
}

// MSG_WAITALL: the kernel sends all bytes. CQE_SKIP_SUCCESS: only a failure completes. Two sends of one connection may
// interleave, because all bytes are the same.
static void queue_send(int index, long bytes) {
  struct io_uring_sqe sqe = {.opcode = IORING_OP_SEND, .fd = index};
  sqe.flags = IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS;
  sqe.msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
  sqe.addr = (uintptr_t)run.out;
  sqe.len = bytes;
  queue(sqe, SEND, index);
}

static void received(int index, int bytes, unsigned flags) {
  if (bytes <= 0 && bytes != -ENOBUFS) errno = bytes == 0 ? ECONNRESET : -bytes, fail("recv");
  if (flags & IORING_CQE_F_BUFFER) ring.buffers->tail++;
  if (!(flags & IORING_CQE_F_MORE)) queue_recv(index);
  long credit = bytes > 0 ? answer(&run.all[index], bytes) : 0;
  if (credit > 0) queue_send(index, credit);
}

static void completed(const struct io_uring_cqe *cqe) {
  if (cqe->user_data >> 32 == RECV) received((int)cqe->user_data, cqe->res, cqe->flags);
  else errno = cqe->res < 0 ? -cqe->res : ECONNRESET, fail("send");
}

static int is_empty(void) {
  return *ring.cq_head == __atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE);
}

// Busy-polls before it sleeps. To wake a sleeping load, the server's core would have to interrupt ours. That would slow
// the server down: the faster the server, the more.
static void enter_until_completion(void) {
  double end = now() + run.spin_micros;
  do enter(0);
  while (is_empty() && now() < end);
  if (is_empty()) enter(1);
}

// Handles all completions. Frees the slot of each before handling it, because that may enter the kernel again.
static void reap(void) {
  while (!is_empty()) {
    unsigned head = *ring.cq_head;
    struct io_uring_cqe cqe = ring.cqes[head % COMPLETIONS];
    __atomic_store_n(ring.cq_head, head + 1, __ATOMIC_RELEASE);
    completed(&cqe);
  }
}

// Runs the load. Returns 0, without any effect, if io_uring cannot be used.
static int by_uring(void) {
  if (!open_ring()) return 0;
  if (!provide_buffers() || !register_sockets()) {
    close(ring.fd);
    return 0;
  }
  for (int i = 0; i < run.conns; i++) queue_recv(i), queue_send(i, run.size * run.depth);
  while (is_running()) {
    enter_until_completion();
    reap();
  }
  return 1;
}

#endif
