// What the kernel is asked, counted by strace.

import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Program, run, start } from "./support/program.ts";

setDefaultTimeout(60_000); // a slow machine is no failure

/** strace may be missing, or not be allowed to trace. */
const canTrace = await (async () => {
  if (Bun.which("strace") === null) return false;
  return (await run(["strace", "-o", "/dev/null", "true"])).code === 0;
})();

async function portOf(server: Program): Promise<number> {
  return Number((await server.until(/(?:listening on [\d.]+:|port )(\d+)/))[1]);
}

/** The lines of a trace of a whole program; of its main thread, unless `isFollowing`. */
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

/** The calls after the one that opened our epoll: Bun has its own. */
function oursOf(trace: string[]): { epoll: string; lines: string[] } {
  const timerfd = trace.findIndex((line) => line.startsWith("timerfd_create"));
  const opened = trace.findLastIndex(
    (line, index) => index < timerfd && line.startsWith("epoll_create1"),
  );
  const epoll = /= (\d+)$/.exec(trace[opened] ?? "")?.[1] ?? "none";
  return { epoll, lines: trace.slice(opened) };
}

test.skipIf(!canTrace).each([
  ["blockOn", "examples/tcp.ts 0"],
  ["guest mode", "bench/peers/guillotine.ts guest"],
])("an idle echo server makes no syscall on the main thread: %s", async (_, program) => {
  const directory = mkdtempSync(join(tmpdir(), "guillotine-"));
  const file = join(directory, "trace");
  // Traced from its start: to attach interrupts the epoll_wait that we want to see undisturbed.
  const shell = `echo pid $$; exec bun run ${program}`;
  // Bun's loop looks every second whether to collect garbage; that is not ours.
  const env = { BUN_GC_TIMER_DISABLE: "1" };
  await using server = start(["strace", "-o", file, "sh", "-c", shell], env);
  const pid = Number((await server.until(/pid (\d+)/))[1]);
  try {
    const port = await portOf(server);
    const client = `import socket; s = socket.create_connection(("127.0.0.1", ${port}));
s.sendall(b"x"); s.recv(1); print("up", flush=True); input()`;
    await using connected = start(["python3", "-c", client]);
    await connected.until(/up/);
    // It has echoed. Once what that set off (a compilation, a collection) is over, two tasks wait.
    let before = "";
    while (!/epoll_p?wait2?\(\d+, $/.test(before)) {
      await Bun.sleep(100);
      before = readFileSync(file, "utf8");
    }
    await Bun.sleep(2000);
    const during = readFileSync(file, "utf8").slice(before.length);
    expect(during).toBe("");
  } finally {
    process.kill(pid, "SIGKILL");
    rmSync(directory, { recursive: true });
  }
});

test.skipIf(!canTrace)("sleep.ts: one timerfd, however many sleeps", async () => {
  const trace = await traceOf(["bun", "run", "examples/sleep.ts"]);
  const { epoll, lines } = oursOf(trace);
  const timerfds = lines.filter((line) => line.startsWith("timerfd_create"));
  expect(timerfds).toHaveLength(1);
  const fd = /= (\d+)$/.exec(timerfds[0] ?? "")?.[1];
  const adds = lines.filter((line) => line.startsWith(`epoll_ctl(${epoll}, EPOLL_CTL_ADD`));
  expect(adds).toHaveLength(1);
  expect(adds[0]).toStartWith(`epoll_ctl(${epoll}, EPOLL_CTL_ADD, ${fd},`);
  expect(lines.filter((line) => line.startsWith("eventfd2"))).toEqual([]);
});

test.skipIf(!canTrace)(
  "eager: an eventfd, an ADD, and a write per wake, for each task",
  async () => {
    const trace = await traceOf(["bun", "run", "examples/sleep.ts", "eager"]);
    const { epoll, lines } = oursOf(trace);
    const made = lines.filter((line) => line.startsWith("eventfd2"));
    const fds = made.map((line) => /= (\d+)$/.exec(line)?.[1] ?? "none");
    // The blockOn that joins them, and ten naps.
    expect(new Set(fds).size).toBe(11);
    const writes = fds.map((fd) => {
      const adds = lines.filter((line) =>
        line.startsWith(`epoll_ctl(${epoll}, EPOLL_CTL_ADD, ${fd},`),
      );
      expect(adds).toHaveLength(1);
      const eight = lines.filter(
        (line) => line.startsWith(`write(${fd}, `) && line.includes(", 8)"),
      );
      return eight.length;
    });
    // Each nap is woken by its deadline; blockOn by the end of each nap, for which it waits in turn.
    expect(writes).toEqual([10, ...new Array<number>(10).fill(1)]);
  },
);
