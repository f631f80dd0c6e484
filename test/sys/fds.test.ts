// Every fd that this library opens is close-on-exec and non-blocking, and closes with its owner.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Runtime, sleep, spawn, TcpListener, TcpStream } from "../../src/index.ts";
import { linux } from "../../src/sys/index.ts";
import { openFds } from "../support/fds.ts";
import { rawPair, streamPair } from "../support/sockets.ts";

const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;

function flagsOf(fd: number): number {
  const info = readFileSync(`/proc/self/fdinfo/${fd}`, "utf8");
  return Number.parseInt(/^flags:\s*(\d+)/m.exec(info)![1]!, 8);
}

test("every fd that a call opens is close-on-exec and non-blocking", () => {
  const sys = linux();
  const [connected, accepted] = rawPair();
  const fds = [sys.eventfd(), sys.timerfdCreate(), sys.socket(10, 2), connected, accepted];
  for (const fd of fds) {
    expect(flagsOf(fd) & (O_CLOEXEC | O_NONBLOCK)).toBe(O_CLOEXEC | O_NONBLOCK);
    sys.close(fd);
  }
  // An epoll fd cannot be read, so O_NONBLOCK has no meaning there.
  const epoll = sys.epollCreate();
  expect(flagsOf(epoll) & O_CLOEXEC).toBe(O_CLOEXEC);
  sys.close(epoll);
});

test("every fd that a runtime opens is close-on-exec, and is closed when the runtime is disposed", () => {
  const real = linux();
  const opened: number[] = [];
  const recorded =
    <A extends unknown[]>(open: (...args: A) => number) =>
    (...args: A): number => {
      const fd = open(...args);
      if (fd >= 0) opened.push(fd);
      return fd;
    };
  const sys = {
    ...real,
    epollCreate: recorded(real.epollCreate),
    eventfd: recorded(real.eventfd),
    timerfdCreate: recorded(real.timerfdCreate),
    socket: recorded(real.socket),
    accept: recorded(real.accept),
  };
  const before = openFds();
  {
    using runtime = new Runtime({ eventfd: "eager", sys });
    runtime.blockOn(function* () {
      spawn(sleep(1e9)); // opens the timerfd
      using _listener = TcpListener.bind("[::1]:0");
      const [a, b] = yield* streamPair();
      using _a = a;
      using _b = b;
      expect(opened.length).toBeGreaterThanOrEqual(7); // epoll, timerfd, eventfds, four sockets
      const open = [...openFds().keys()];
      const made = open.filter((fd) => opened.includes(fd) || !before.has(fd));
      for (const fd of made) expect(flagsOf(fd) & O_CLOEXEC).toBe(O_CLOEXEC);
    });
  }
  // Only new fds: a runtime of an earlier test may be closed meanwhile.
  expect([...openFds()].filter(([fd, target]) => before.get(fd) !== target)).toEqual([]);
});

test("a subprocess inherits none of our sockets", async () => {
  using listener = TcpListener.bind("127.0.0.1:0");
  const inode = [...openFds().values()].find((target) => target.startsWith("socket:"));
  expect(inode).toBeDefined();
  using runtime = new Runtime();
  using _stream = runtime.blockOn(TcpStream.connect(listener.localAddress));
  const ours = [...openFds().values()].filter((target) => /^socket:|eventpoll/.test(target));
  // Bun passes its own stderr on by default. That may be a socket: `bun test --parallel` runs this file in such a process.
  const child = Bun.spawn(["sh", "-c", "ls -l /proc/self/fd"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const listed = await new Response(child.stdout).text();
  await child.exited;
  for (const target of ours.filter((name) => name.startsWith("socket:"))) {
    expect(listed).not.toContain(target);
  }
  expect(listed).not.toContain("eventpoll");
});
