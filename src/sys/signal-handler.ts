// Signals while JavaScript blocks the thread. Bun's own handlers only set a flag that its event loop reads, so they are
// of no use inside `blockOn`. This file compiles a handler that counts the signal and writes an eventfd, which wakes
// epoll_wait.
//
// Facts about Bun 1.4.5, signals and compilers (measured), and what they mean for this code:
// - `cc` of bun:ffi is TinyCC inside Bun. It compiles this program in 2 to 7 ms, also on a machine without C headers. So
//   the program declares what it needs, and is compiled on first use.
// - `cc` accepts only a file. A memfd is a file without a place, so nothing needs a writable folder.
// - struct sigaction of libc is the same in glibc and musl, on x64 and arm64.
// - The kernel runs the handler on any thread of the process that does not block the signal, and two threads may run it
//   at once. Another thread may be between reading `targets` and its write(2) when the last wait ends. So an eventfd is
//   never closed: a later file with its number would receive the write.
// - Bun or the user may have a handler of their own. This one calls it, and its removal restores it.

import { codedError } from "../base/coded-error.ts";
import { type Libc, libc } from "./libc.ts";
import type { Sys } from "./sys.ts";

/** One more than the highest signal number of Linux. */
const SIGNALS = 65;

const PROGRAM = `
typedef struct {
  void *handler;
  unsigned long mask[16];
  int flags;
  void *restorer;
} Action;
typedef void (*WithInfo)(int, void *, void *);
typedef void (*Plain)(int);

int sigaction(int, const Action *, Action *);
long write(int, const void *, unsigned long);
int *__errno_location(void);

enum { TARGETS = 4, EBUSY = 16 };
enum { SA_SIGINFO = 4, SA_ONSTACK = 0x08000000, SA_RESTART = 0x10000000 };

static volatile int counts[${SIGNALS}];
static Action former[${SIGNALS}];
/* The eventfds that each signal writes: one more than the fd; 0 for none. */
static volatile int targets[${SIGNALS}][TARGETS];

static volatile int *find(int signal, int target) {
  for (int i = 0; i < TARGETS; i++)
    if (targets[signal][i] == target) return &targets[signal][i];
  return 0;
}

static int is_caught(int signal) {
  for (int i = 0; i < TARGETS; i++)
    if (targets[signal][i] != 0) return 1;
  return 0;
}

static void on_signal(int signal, void *info, void *context) {
  int saved = *__errno_location();
  unsigned long one = 1;
  Action *next = &former[signal];
  counts[signal]++;
  for (int i = 0; i < TARGETS; i++) {
    int target = targets[signal][i];
    if (target != 0) write(target - 1, &one, sizeof one);
  }
  /* 0 is SIG_DFL, 1 is SIG_IGN. */
  if ((unsigned long)next->handler > 1) {
    if (next->flags & SA_SIGINFO) ((WithInfo)next->handler)(signal, info, context);
    else ((Plain)next->handler)(signal);
  }
  *__errno_location() = saved;
}

int catch_signal(int signal, int eventfd) {
  Action action = {0}, now = {0};
  volatile int *target = find(signal, eventfd + 1);
  if (target == 0) target = find(signal, 0);
  if (target == 0) return -EBUSY;
  *target = eventfd + 1;
  action.handler = (void *)on_signal;
  action.flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  if (sigaction(signal, 0, &now) == 0) {
    /* As the former handler it would call itself. (Other code may have replaced it since it was installed.) */
    if (now.handler == (void *)on_signal) return 0;
    former[signal] = now;
    if (sigaction(signal, &action, 0) == 0) return 0;
  }
  *target = 0;
  return -*__errno_location();
}

int release_signal(int signal, int eventfd) {
  Action now = {0};
  volatile int *target = find(signal, eventfd + 1);
  if (target != 0) *target = 0;
  if (target == 0 || is_caught(signal)) return 0;
  if (sigaction(signal, 0, &now) != 0) return -*__errno_location();
  /* Other code has replaced the handler: its own stays. */
  if (now.handler != (void *)on_signal) return 0;
  return sigaction(signal, &former[signal], 0) == 0 ? 0 : -*__errno_location();
}

int signal_count(int signal) { return counts[signal]; }
`;

const symbols = {
  catch_signal: { args: ["i32", "i32"], returns: "i32" },
  release_signal: { args: ["i32", "i32"], returns: "i32" },
  signal_count: { args: ["i32"], returns: "i32" },
} as const;

type Handler = Record<keyof typeof symbols, (...args: number[]) => number>;

/** The compiled program. Kept for as long as the thread lives: a handler in it may be running. */
let compiled: Handler | null = null;

function compile({ memfd_create, write, close, check }: Libc): Handler {
  const ffi = process.getBuiltinModule("bun:ffi" as "fs") as unknown as typeof import("bun:ffi");
  const name = Buffer.from("signal-handler.c\0");
  const fd = check(memfd_create(name, 1)); // MFD_CLOEXEC
  if (fd < 0) throw codedError("ERR_SIGNAL_UNAVAILABLE", `memfd_create failed with errno ${-fd}`);
  try {
    const text = Buffer.from(PROGRAM);
    if (write(fd, text, text.length) !== text.length)
      throw codedError("ERR_SIGNAL_UNAVAILABLE", "the memfd is full");
    return ffi.cc({ source: `/proc/self/fd/${fd}`, symbols }).symbols as unknown as Handler;
  } finally {
    close(fd);
  }
}

/** The calls of `Sys` for signals. */
export function signalCalls(): Pick<Sys, "catchSignal" | "releaseSignal" | "signalCount"> {
  return {
    catchSignal(signal, eventFd) {
      compiled ??= compile(libc());
      return compiled.catch_signal(signal, eventFd);
    },
    releaseSignal: (signal, eventFd) => compiled?.release_signal(signal, eventFd) ?? 0,
    signalCount: (signal) => compiled?.signal_count(signal) ?? 0,
  };
}
