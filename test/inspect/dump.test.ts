// The dump: who waits for what, who holds that, and where in its code each coroutine is.

import { expect, setDefaultTimeout, test } from "bun:test";
import {
  DeadlockError,
  type JoinHandle,
  Mutex,
  mpsc,
  Runtime,
  race,
  Semaphore,
  sleep,
  spawn,
  TcpListener,
  TcpStream,
  timeout,
  yieldNow,
} from "../../src/index.ts";
import { caught } from "../support/caught.ts";
import { Counting } from "../support/counting.ts";
import { untilIdle } from "../support/idle.ts";
import { root, run, start } from "../support/program.ts";
import { VirtualClock } from "../support/virtual-clock.ts";

setDefaultTimeout(60_000); // the machine may be slow

/** Runs `work` until each task waits. Returns the dump at that moment, without fds and ports that vary. */
function dumpOf(work: () => Generator<symbol, void, void>): string {
  using runtime = new Runtime();
  runtime.spawn(work, { name: "main" });
  runtime.blockOn(untilIdle());
  return runtime.dump();
}

/** The line of this file that contains `text`. */
async function lineOf(text: string): Promise<number> {
  const lines = (await Bun.file(import.meta.path).text()).split("\n");
  return lines.findIndex((line) => line.includes(text)) + 1;
}

function* inner() {
  yield* sleep(1e6); // innermost
}
function* outer() {
  yield* yieldNow();
  yield* inner(); // in between
}

test("the dump shows the stack of a coroutine through each `yield*`, the innermost first, without debug mode", async () => {
  const lines = dumpOf(outer)
    .split("\n")
    .filter((line) => line.includes(" at "))
    .map((line) => line.trim().replace(/\(.*test\.ts:(\d+):\d+\)/, "$1"));
  expect(lines).toEqual([
    `at inner ${await lineOf("// innermost")}`,
    `at outer ${await lineOf("// in between")}`,
  ]);
});

const withoutTimes = (text: string): string => text.replaceAll(/\d+ ms left/g, "N ms left");

test("debug mode shows where an async function waits, through the functions that it awaits", async () => {
  using runtime = new Runtime({ debug: true });
  const deep = async (): Promise<void> => {
    await yieldNow();
    await sleep(1e6); // in the async function
  };
  runtime.spawn(async function shallow() {
    await deep();
  });
  runtime.blockOn(untilIdle());
  const [task] = runtime.dumpJson().tasks;
  expect(task?.stack[0]).toMatch(
    new RegExp(`^\\S+ \\(.*dump\\.test\\.ts:${await lineOf("// in the async function")}:`),
  );
  expect(task?.stack.join("\n")).toContain("shallow (");
});

test("looking at the stacks polls no future that is awaited, wakes nothing, and leaves what tasks wait on", () => {
  using runtime = new Runtime({ clock: new VirtualClock() }); // the dump shows the time that is left
  const counting = new Counting<number>();
  const task = runtime.spawn(function* () {
    return yield* race(counting, sleep(1e6));
  });
  runtime.spawn(outer);
  runtime.blockOn(untilIdle());
  const look = (): object => ({
    polls: counting.polls,
    metrics: runtime.metrics(),
    tasks: withoutTimes(JSON.stringify(runtime.tasks())),
  });
  const before = look();
  expect(withoutTimes(runtime.dump())).toBe(withoutTimes(runtime.dump()));
  expect(look()).toEqual(before);
  counting.complete(7);
  expect(runtime.blockOn(task)).toBe(7);
});

test("a task that dumps its own runtime continues, and so do the others", () => {
  using runtime = new Runtime();
  const seen = runtime.blockOn(function* () {
    const other = spawn(function* () {
      yield* sleep(5);
      return "slept";
    });
    yield* yieldNow();
    const text = runtime.dump();
    return [text.includes("#1 blockOn: running"), yield* timeout(60_000, other)];
  });
  expect(seen).toEqual([true, "slept"]);
});

test("tasks are shown below their spawner, and an ended spawner is named", () => {
  const text = dumpOf(function* () {
    yield* spawn(
      function* () {
        spawn(sleep(1e6), { name: "orphan" }).detach();
      },
      { name: "parent" },
    );
    spawn(sleep(1e6), { name: "child" }).detach();
    yield* sleep(1e6);
  });
  expect(text).toMatch(/^ {2}#\d child: waits on sleep/m);
  expect(text).toMatch(/^#\d orphan: waits on sleep.*\n {4}spawned by #\d, which has ended$/m);
});

test("tasks that wait for each other are a cycle, in the dump and in the DeadlockError", () => {
  using runtime = new Runtime();
  const first = new Mutex(1, { name: "first" });
  const second = new Mutex(2, { name: "second" });
  function* lockBoth(one: Mutex<number>, other: Mutex<number>) {
    using _one = yield* one.lock();
    yield* yieldNow();
    using _other = yield* other.lock();
  }
  runtime.spawn(lockBoth(first, second), { name: "left" });
  runtime.spawn(lockBoth(second, first), { name: "right" });
  runtime.spawn(first.lock(), { name: "victim" });
  runtime.blockOn(untilIdle());
  const { cycles, tasks } = runtime.dumpJson();
  expect(cycles).toEqual([[1, 2]]);
  expect(tasks.map(({ name, waitsFor }) => [name, waitsFor])).toEqual([
    ["left", [2]],
    ["right", [1]],
    ["victim", [1]],
  ]);
  expect(runtime.dump()).toContain("cycle: #1 left waits for #2 right waits for #1 left\n");
  const error = caught(() => runtime.block()) as DeadlockError;
  expect(error).toBeInstanceOf(DeadlockError);
  expect(error.message).toEndWith("A cycle: left waits for right waits for left");
  expect(error.dump).toContain("at lockBoth (");
});

test("a task that waits for permits or a join waits for the tasks that hold them, also inside a combinator", () => {
  using runtime = new Runtime();
  const slots = new Semaphore(1, { name: "slots" });
  const holder = runtime.spawn(
    function* () {
      using _ = yield* slots.acquire();
      yield* sleep(1e6);
    },
    { name: "holder" },
  );
  runtime.spawn(timeout(1e6, slots.acquire()), { name: "permits" });
  runtime.spawn(
    async () => {
      await holder;
    },
    { name: "join" },
  );
  runtime.blockOn(untilIdle());
  expect(runtime.dumpJson().tasks.map(({ name, waitsFor }) => [name, waitsFor])).toEqual([
    ["holder", []],
    ["permits", [1]],
    ["join", [1]],
  ]);
});

test("in debug mode, a task that waits for a channel waits for the user of the other end", () => {
  using runtime = new Runtime({ debug: true });
  const requests = mpsc<number>(1, { name: "requests" });
  const replies = mpsc<number>(1, { name: "replies" });
  runtime.spawn(
    function* () {
      yield* replies.sender.send(0);
      yield* requests.receiver.recv();
    },
    { name: "server" },
  );
  runtime.spawn(
    function* () {
      yield* requests.sender.send(1);
      for (;;) yield* replies.receiver.recv();
    },
    { name: "client" },
  );
  runtime.blockOn(untilIdle());
  const [client] = runtime.dumpJson().tasks;
  expect(client).toMatchObject({ name: "client", waitsFor: [1] });
  expect(runtime.dump()).toContain('client: waits on recv on channel "replies"');
  expect(runtime.dump()).toContain("    for #1, which has ended\n");
  const full = mpsc<number>(1, { name: "full" });
  runtime.spawn(
    function* () {
      yield* full.receiver.recv();
      yield* sleep(1e6);
    },
    { name: "slow" },
  );
  runtime.spawn(
    function* () {
      for (;;) yield* full.sender.send(1);
    },
    { name: "fast" },
  );
  runtime.blockOn(untilIdle());
  const [, slow, fast] = runtime.dumpJson().tasks;
  expect(fast).toMatchObject({ name: "fast", waitsFor: [slow?.id] });
  expect(runtime.dump()).toContain(`    for #${slow?.id} slow\n`);
});

test("in debug mode, two tasks that each receive what only the other sends are a cycle", () => {
  using runtime = new Runtime({ debug: true });
  const there = mpsc<number>(1);
  const back = mpsc<number>(1);
  function* relay(from: typeof there, to: typeof there) {
    yield* to.sender.send(0);
    for (;;) yield* from.receiver.recv(); // forgets to send on
  }
  runtime.spawn(relay(there, back), { name: "ping" });
  runtime.spawn(relay(back, there), { name: "pong" });
  const error = caught(() => runtime.block()) as DeadlockError;
  expect(error.message).toEndWith("A cycle: ping waits for pong waits for ping");
});

test("a task that waits for a socket shows its fd, its address and that of its peer", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    using listener = TcpListener.bind("127.0.0.1:0");
    const accept = spawn(listener.accept(), { name: "acceptor" });
    using client = yield* TcpStream.connect(listener.localAddress);
    using server = yield* accept;
    spawn(server.read(new Uint8Array(1)), { name: "reader" }).abortOnDrop();
    spawn(listener.accept(), { name: "acceptor" }).abortOnDrop();
    yield* untilIdle();
    const { localAddress, remoteAddress } = client;
    const [reader, acceptor] = runtime.dumpJson().tasks.slice(-2);
    const text = ({ hostname, port }: { hostname: string; port: number }) => `${hostname}:${port}`;
    expect(reader?.fds).toEqual([
      { fd: expect.any(Number), local: text(remoteAddress), remote: text(localAddress) },
    ]);
    expect(acceptor?.fds).toMatchObject([{ local: text(remoteAddress), remote: null }]);
    expect(runtime.dump()).toContain(`: ${text(remoteAddress)}, peer ${text(localAddress)}\n`);
    for (const task of [reader, acceptor]) expect(task?.state).toBe("waiting");
  });
});

test("the text is short although there are 20,000 tasks of one name, and counts them", () => {
  using runtime = new Runtime();
  for (let task = 0; task < 20_000; task++) runtime.spawn(sleep(1e6), { name: "connection" });
  runtime.blockOn(untilIdle());
  const text = runtime.dump();
  expect(text.split("\n").length).toBeLessThan(20);
  expect(text).toContain("and 19990 more named connection\n");
  expect(text).toContain("by name: connection 20000");
  expect(runtime.dumpJson().tasks.length).toBe(20_000);
});

test("the text shows a thousand tasks when each has a name of its own, and their stacks", () => {
  using runtime = new Runtime();
  for (let task = 0; task < 3000; task++) runtime.spawn(outer, { name: `client ${task}` });
  runtime.blockOn(untilIdle());
  const lines = runtime.dump().split("\n");
  const { tasks } = runtime.dumpJson();
  expect(lines.filter((line) => line.includes(": waits on sleep")).length).toBe(1000);
  expect(lines.filter((line) => line.startsWith("    at outer")).length).toBe(1000);
  expect(lines.slice(-4, -2)).toEqual([
    expect.stringContaining("    at outer"),
    "and 2000 more tasks",
  ]);
  expect(tasks.map(({ stack }) => stack.length > 0).lastIndexOf(true)).toBe(999);
  expect(tasks.length).toBe(3000);
});

test("a chain of 20,000 tasks that each spawned and join the next is shown, and is no cycle", () => {
  using runtime = new Runtime();
  function* link(left: number): Generator<symbol, void, void> {
    if (left === 0) yield* sleep(1e6);
    else yield* spawn(link(left - 1), { name: `link ${left}` });
  }
  runtime.spawn(link(20_000));
  runtime.blockOn(function* () {
    while (runtime.tasks().length < 20_002) yield* sleep(1);
  });
  const lines = runtime
    .dump()
    .split("\n")
    .map((line) => line.trim());
  expect(lines.filter((line) => line.includes("waits on join link ")).length).toBe(1000);
  expect(lines).toContain("and 1 more task");
  expect(runtime.dumpJson().cycles).toEqual([]);
});

test("a long name and a long cycle are cut", () => {
  using runtime = new Runtime();
  const all: JoinHandle<unknown>[] = [];
  for (let task = 0; task < 50; task++) {
    const next = (task + 1) % 50;
    const name = `${task} ${"x".repeat(100_000)}`;
    all.push(
      runtime.spawn(
        function* () {
          yield* all[next]!;
        },
        { name },
      ),
    );
  }
  runtime.blockOn(untilIdle());
  const text = runtime.dump();
  expect(text.length).toBeLessThan(200_000);
  const cycle = text.split("\n").find((line) => line.startsWith("cycle: "));
  expect(
    cycle
      ?.replaceAll(/x+\.\.\./g, "x")
      .split(" waits for ")
      .slice(-3),
  ).toEqual(["#20 19 x", "30 more tasks", "#1 0 x"]);
});

test("a name cannot forge a line of the dump", () => {
  using runtime = new Runtime();
  runtime.spawn(sleep(1e6), { name: "evil\n#2 innocent\u001b[2J\u202e" });
  runtime.blockOn(untilIdle());
  expect(runtime.dump()).toContain("#1 evil\\u000a#2 innocent\\u001b[2J\\u202e: waits on sleep");
});

test("an observed runtime dumps polls, times and ages", () => {
  using runtime = new Runtime();
  using _ = runtime.observe();
  runtime.spawn(sleep(1e6), { name: "sleeper" });
  runtime.blockOn(untilIdle());
  expect(runtime.dump()).toMatch(
    /sleeper: waits on sleep, \d+ ms left \(1 poll, busy [\d.]+ ms, longest poll [\d.]+ ms, age [\d.]+ m?s\)/,
  );
});

test.each(["blockOn", "guest"])("SIGUSR2 prints a dump of a hung program in %s", async (mode) => {
  await using program = start(["bun", `${root}test/support/programs/dumping.ts`, mode], {
    GUILLOTINE_DUMP: "SIGUSR2",
  });
  await program.until(/hung/);
  for (const times of [1, 2]) {
    process.kill(program.pid, "SIGUSR2");
    await program.until(
      new RegExp(`(waits on lock "database", held by task forgetful[\\s\\S]*){${times}}`),
    );
  }
  expect(program.output()).toMatch(/at hung \(.*dumping\.ts:\d+/);
});

test.each([
  ["USR2", 'GUILLOTINE_DUMP must be the name of a signal, such as SIGUSR2; got "USR2"'],
  ["SIGKILL", "GUILLOTINE_DUMP must be the name of a signal that a process can handle"],
])("GUILLOTINE_DUMP=%s is refused", async (name, message) => {
  const { code, output } = await run(["bun", `${root}test/support/programs/traced.ts`], {
    env: { GUILLOTINE_DUMP: name },
  });
  expect(code).toBe(1);
  expect(output).toContain(message);
  expect(output).toContain("ERR_SIGNAL_UNAVAILABLE");
});

test("a name cannot forge a sentence of a DeadlockError, and a long cycle is cut", () => {
  using runtime = new Runtime();
  const all: JoinHandle<unknown>[] = [];
  for (let task = 0; task < 30; task++) {
    const next = (task + 1) % 30;
    const work = function* () {
      yield* all[next]!;
    };
    all.push(runtime.spawn(work, { name: `${task}\n` }));
  }
  const { message } = caught(() => runtime.block()) as DeadlockError;
  expect(message).not.toContain("\n");
  expect(message).toContain("Stuck: 0\\u000a waits on join 1\\u000a; 1");
  expect(message).toEndWith(
    "18\\u000a waits for 19\\u000a waits for 10 more tasks waits for 0\\u000a",
  );
});
