// Counts the syscalls of whole programs with strace.

import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Program, run, start } from "./support/program.ts";

setDefaultTimeout(60_000); // the machine may be slow

/** False if strace is missing or is not permitted to trace. */
const canTrace = await (async () => {
  if (Bun.which("strace") === null) return false;
  return (await run(["strace", "-o", "/dev/null", "true"])).code === 0;
})();

async function portOf(server: Program): Promise<number> {
  return Number((await server.until(/(?:listening on [\d.]+:|port )(\d+)/))[1]);
}

/** Runs a program under strace. Returns the trace of its main thread, line by line. */
async function traceOf(command: string[]): Promise<string[]> {
  const directory = mkdtempSync(join(tmpdir(), "guillotine-"));
  try {
    const file = join(directory, "trace");
    const { code } = await run(["strace", "-o", file, ...command]);
    expect(code).toBe(0);
    return readFileSync(file, "utf8").split("\n");
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Finds our epoll fd, and the lines from its creation on. (Bun opened an epoll of its own before.) */
function runtimePartOf(trace: string[]): { epoll: string; lines: string[] } {
  const timerfd = trace.findIndex((line) => line.startsWith("timerfd_create"));
  const opened = trace.findLastIndex(
    (line, index) => index < timerfd && line.startsWith("epoll_create1"),
  );
  const epoll = /= (\d+)$/.exec(trace[opened] ?? "")?.[1] ?? "none";
  return { epoll, lines: trace.slice(opened) };
}

test.skipIf(!canTrace).each([
  ["blockOn", "examples/tcp.ts 0"],
  ["guest mode", "bench/peers/servers/guillotine.ts guest"],
])("an idle echo server makes no syscall on its main thread: %s", async (_, program) => {
  const directory = mkdtempSync(join(tmpdir(), "guillotine-"));
  const file = join(directory, "trace");
  // We trace from the start, because attaching would interrupt the epoll_wait that we want to observe.
  const shell = `echo pid $$; exec bun run ${program}`;
  // Without this, a timer of Bun checks every second whether to collect garbage.
  const env = { BUN_GC_TIMER_DISABLE: "1" };
  await using server = start(["strace", "-o", file, "sh", "-c", shell], env);
  const pid = Number((await server.until(/pid (\d+)/))[1]);
  try {
    const port = await portOf(server);
    const client = `import socket; s = socket.create_connection(("127.0.0.1", ${port}));
s.sendall(b"x"); s.recv(1); print("up", flush=True); input()`;
    await using connected = start(["python3", "-c", client]);
    await connected.until(/up/);
    // The echo may start a compilation or a garbage collection in Bun, which ends after some time. A periodic
    // wake of ours would show in every interval of two seconds.
    let during = "not measured yet";
    for (let tries = 0; tries < 8 && during !== ""; tries++) {
      const before = readFileSync(file, "utf8").length;
      await Bun.sleep(2000);
      during = readFileSync(file, "utf8").slice(before);
    }
    expect(during).toBe("");
    expect(readFileSync(file, "utf8")).toMatch(/epoll_p?wait2?\(\d+, $/);
  } finally {
    process.kill(pid, "SIGKILL");
    rmSync(directory, { recursive: true });
  }
});

test.skipIf(!canTrace)(
  "an echo makes one recv, one send and at most one epoll_wait that returns an event",
  async () => {
    const directory = mkdtempSync(join(tmpdir(), "guillotine-"));
    const file = join(directory, "trace");
    const shell = "echo pid $$; exec bun run examples/tcp.ts 0";
    await using server = start(["strace", "-o", file, "sh", "-c", shell]);
    const pid = Number((await server.until(/pid (\d+)/))[1]);
    try {
      const port = await portOf(server);
      const client = `import socket; s = socket.create_connection(("127.0.0.1", ${port}))
for i in range(500): s.sendall(b"x"); assert s.recv(1) == b"x"`;
      expect((await run(["python3", "-c", client])).code).toBe(0);
      await server.until(/^- /m);
    } finally {
      process.kill(pid, "SIGKILL");
    }
    const lines = readFileSync(file, "utf8").split("\n");
    rmSync(directory, { recursive: true });
    const echoes = lines.slice(lines.findIndex((line) => /recvfrom\(.*"x"/.test(line)));
    const calls = Map.groupBy(echoes, (line) => /^\w+/.exec(line)?.[0] ?? "");
    const count = (name: string): number => calls.get(name)?.length ?? 0;
    // The first read may find that it has to wait; the last one reads the end.
    expect(count("sendto")).toBe(500);
    expect(count("recvfrom")).toBeGreaterThanOrEqual(501);
    expect(count("recvfrom")).toBeLessThanOrEqual(503);
    // Those that return no event are the spin before a sleep; their number varies.
    const waits = echoes.filter((line) => /^epoll_p?wait2?\(.* = [^0]/.test(line));
    expect(waits.length).toBeGreaterThan(0);
    expect(waits.length).toBeLessThanOrEqual(505);
    for (const name of ["epoll_ctl", "read", "write", "timerfd_settime", "ioctl", "fcntl"]) {
      expect([name, Math.min(count(name), 3)]).toEqual([name, count(name)]);
    }
  },
);

test.skipIf(!canTrace)("sleep.ts opens one timerfd for all its sleeps", async () => {
  const trace = await traceOf(["bun", "run", "examples/sleep.ts"]);
  const { epoll, lines } = runtimePartOf(trace);
  const timerfds = lines.filter((line) => line.startsWith("timerfd_create"));
  expect(timerfds).toHaveLength(1);
  const fd = /= (\d+)$/.exec(timerfds[0] ?? "")?.[1];
  const adds = lines.filter((line) => line.startsWith(`epoll_ctl(${epoll}, EPOLL_CTL_ADD`));
  expect(adds).toHaveLength(1);
  expect(adds[0]).toStartWith(`epoll_ctl(${epoll}, EPOLL_CTL_ADD, ${fd},`);
  expect(lines.filter((line) => line.startsWith("eventfd2"))).toEqual([]);
});

test.skipIf(!canTrace)(
  "with eager eventfds, each task has one eventfd, one EPOLL_CTL_ADD, and one write per wake",
  async () => {
    const trace = await traceOf(["bun", "run", "examples/sleep.ts", "eager"]);
    const { epoll, lines } = runtimePartOf(trace);
    const opened = lines.filter((line) => line.startsWith("eventfd2"));
    const fds = opened.map((line) => /= (\d+)$/.exec(line)?.[1] ?? "none");
    // One for blockOn, which joins the naps, and one for each of ten naps.
    expect(new Set(fds).size).toBe(11);
    const writes = fds.map((fd) => {
      const adds = lines.filter((line) =>
        line.startsWith(`epoll_ctl(${epoll}, EPOLL_CTL_ADD, ${fd},`),
      );
      expect(adds).toHaveLength(1);
      const wakes = lines.filter(
        (line) => line.startsWith(`write(${fd}, `) && line.includes(", 8)"),
      );
      return wakes.length;
    });
    // Its deadline wakes each nap. The end of a nap wakes blockOn, which joins one after the other. If two naps
    // end in the same turn, as on a slow machine, only the first wakes it.
    const [root, ...naps] = writes;
    expect(naps).toEqual(new Array<number>(10).fill(1));
    expect(root).toBeGreaterThan(0);
    expect(root).toBeLessThanOrEqual(10);
  },
);
