// The console's server: what it refuses, what it shows, and that nothing of it is left once it is closed. browser.test.ts
// shows the page to a browser.

import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import {
  Barrier,
  type Context,
  Future,
  fromPromise,
  interval,
  Mutex,
  mpsc,
  Notify,
  OnceCell,
  oneshot,
  Pending,
  type Poll,
  Runtime,
  race,
  sleep,
  spawnBlocking,
  TcpListener,
  timeout,
  watch,
  yieldNow,
} from "../../src/index.ts";
import type { View } from "../../src/inspect/console/views.ts";
import { type Inspection, type InspectOptions, inspect } from "../../src/inspect/index.ts";
import { caught } from "../support/caught.ts";
import { newFds, openFds } from "../support/fds.ts";
import { untilIdle } from "../support/idle.ts";
import { captureConsoleError } from "../support/output.ts";
import { root, run, start } from "../support/program.ts";

setDefaultTimeout(60_000); // the machine may be slow

const opened: Inspection[] = [];
afterEach(() => {
  for (const one of opened.splice(0)) one.close();
});

/** Opens a console without its line on stderr. */
function open(options?: InspectOptions): Inspection {
  using _ = captureConsoleError();
  const inspection = inspect(options);
  opened.push(inspection);
  return inspection;
}

type Content<V> = Extract<NonNullable<View["content"]>, { view: V }>;

/** A console, and the runtime to show: other tests of this process may have left some. */
type Place = readonly [url: string, runtime?: Runtime];

/** Asks for what the page shows. */
async function look<V extends string>(
  [url, runtime]: Place,
  view: V,
  query: Record<string, string> = {},
): Promise<View & { readonly content: Content<V> }> {
  const data = new URL("data", url);
  const params = new URLSearchParams({ view, ...query });
  params.set("token", new URL(url).searchParams.get("token") ?? "");
  const number = runtime?.dumpJson().runtime;
  if (number !== undefined) params.set("runtime", `${number}`);
  data.search = params.toString();
  const response = await fetch(data);
  expect(response.status).toBe(200);
  const found = (await response.json()) as View;
  const warnings = found.warnings.filter((warning) => (number ?? 1) === warning.runtime);
  return { ...found, warnings, content: found.content as Content<V> };
}

/** Asks until `isThere`: the console learns twice a second. */
async function until<V extends string>(
  place: Place,
  view: V,
  query: Record<string, string>,
  isThere: (found: View & { readonly content: Content<V> }) => boolean,
): Promise<View & { readonly content: Content<V> }> {
  for (;;) {
    const found = await look(place, view, query);
    if (isThere(found)) return found;
    await Bun.sleep(50);
  }
}

const warned =
  (part: string) =>
  ({ warnings }: View): boolean =>
    warnings.some(({ text }) => text.includes(part));

/** Counts the Workers of this process. (JavaScriptCore starts and ends threads of its own.) */
function workers(): number {
  const names = readdirSync("/proc/self/task").map((thread) => {
    try {
      return readFileSync(`/proc/self/task/${thread}/comm`, "utf8").trim();
    } catch {
      return "ended";
    }
  });
  return names.filter((name) => name === "Worker").length;
}

test("nothing listens and no thread starts unless somebody asks for it", () => {
  const fds = openFds();
  const before = workers();
  using _ = new Runtime();
  expect(newFds(fds).filter((target) => !/eventpoll/.test(target))).toEqual([]);
  expect(workers()).toBe(before);
});

test("a request without the token, or with another one, gets a 403", async () => {
  const { url } = open();
  const { origin, search } = new URL(url);
  const token = search.slice("?token=".length);
  expect(token).toMatch(/^[0-9a-f]{32}$/);
  const wrong = ["", "?token=", `?token=${token}0`, `?token=${token.slice(0, -1)}`, "?tokens=1"];
  for (const query of wrong) {
    for (const path of ["/", "/data", "/nothing"]) {
      const response = await fetch(`${origin}${path}${query}`);
      expect(response.status).toBe(403);
      expect(await response.text()).not.toContain(token);
    }
  }
  expect((await fetch(url)).status).toBe(200);
  expect((await fetch(`${origin}/nothing${search}`)).status).toBe(404);
});

test("a token of the user is accepted, and each console without one has its own", async () => {
  for (const token of ["a & b = ?#/é", "é".repeat(256)]) {
    expect((await fetch(open({ token }).url)).status).toBe(200);
  }
  expect(open().url.split("token=")[1]).not.toBe(open().url.split("token=")[1]);
});

test("a method other than GET and HEAD gets a 405", async () => {
  const { url } = open();
  for (const method of ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"]) {
    const response = await fetch(url, { method });
    expect([method, response.status, response.headers.get("allow")]).toEqual([
      method,
      405,
      "GET, HEAD",
    ]);
  }
  const head = await fetch(url, { method: "HEAD" });
  expect([head.status, await head.text()]).toEqual([200, ""]);
});

test.each([
  ["127.0.0.1", 200],
  ["127.0.0.1:80", 200],
  ["[::1]:80", 200],
  ["localhost", 200],
  ["LOCALHOST:1", 200],
  ["evil.example", 403],
  ["127.0.0.1.evil.example", 403],
  ["localhost.evil.example:80", 403],
  ["[::1].evil.example", 403],
])("a request for the host %s gets a %d, against DNS rebinding", async (host, status) => {
  expect((await fetch(open().url, { headers: { host } })).status).toBe(status);
});

test("a request for a host that only looks like an address gets a 400, and prints nothing", async () => {
  await using child = start(program("guest"), { GUILLOTINE_INSPECT: "0" });
  const [line, url = ""] = await child.until(/.*inspect this process at (http:\S+)\n/);
  for (const host of ["127.0.0.1:99999", "999.999.999.999", "[:]", "[%]:1"]) {
    const response = await fetch(url, { headers: { host } });
    expect([host, response.status]).toEqual([host, 400]);
  }
  child.end();
  expect(await child.exited).toBe(0);
  expect(child.output()).toBe(line);
});

test("the page may load nothing and run no other script, and no other site may frame or read it", async () => {
  const { headers } = await fetch(open().url);
  const policy = headers.get("content-security-policy") ?? "";
  expect(policy.replace(/nonce-[\w-]{22}/g, "nonce")).toBe(
    "default-src 'none'; script-src 'nonce'; style-src 'nonce'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  );
  expect(headers.get("x-content-type-options")).toBe("nosniff");
  expect(headers.get("referrer-policy")).toBe("no-referrer");
  expect(headers.get("access-control-allow-origin")).toBeNull();
  const again = await fetch(open().url);
  expect(again.headers.get("content-security-policy")).not.toBe(policy);
});

test("only this machine can reach the page by default", () => {
  expect(new URL(open().url).hostname).toBe("127.0.0.1");
  expect(new URL(open({ host: "::1" }).url).hostname).toBe("[::1]");
});

test("a closed console leaves no fd, no thread and no listener, and its runtimes are as before", async () => {
  using runtime = new Runtime();
  runtime.spawn(sleep(60_000), { name: "sleeper" }).unref().detach();
  const openAndClose = async (): Promise<void> => {
    const inspection = open();
    await until(
      [inspection.url, runtime],
      "tasks",
      {},
      ({ content }) => content?.rows.length === 1,
    );
    inspection.close();
    inspection.close();
    expect(await fetch(inspection.url).catch((error) => error.code)).toMatch(/refused/i);
  };
  await openAndClose(); // Bun opens some fds and threads once, and the runtime its timerfd
  const fds = openFds();
  const before = workers();
  for (let round = 0; round < 3; round++) await openAndClose();
  expect(runtime.metrics().sources).toBe(1);
  expect(runtime.tasks()[0]?.polls).toBeUndefined();
  while (workers() > before) await Bun.sleep(10); // a Worker ends in the background
  while (newFds(fds).length > 0) await Bun.sleep(10);
});

test("a port that is in use is an error with a code, and leaves no thread", async () => {
  const { port } = open();
  open({ port: 0 }).close();
  const before = workers();
  const error = caught(() => inspect({ port })) as Error & { code: string };
  expect(error.code).toBe("ERR_INSPECT_LISTEN");
  expect(error.message).toMatch(
    /^inspect: the console cannot listen on 127\.0\.0\.1, port \d+: EADDRINUSE /,
  );
  while (workers() > before) await Bun.sleep(10);
});

test.each([
  [{ port: -1 }, "inspect: options.port must be an integer from 0 to 65535; got -1"],
  [{ port: 1.5 }, "inspect: options.port must be an integer from 0 to 65535; got 1.5"],
  [{ port: "80" }, 'inspect: options.port must be an integer from 0 to 65535; got "80"'],
  [{ host: "" }, 'inspect: options.host must be a non-empty string; got ""'],
  [{ token: "short" }, "inspect: options.token must be a string of at least 8 characters; got 5"],
  [
    { token: "é".repeat(257) },
    "inspect: options.token must have at most 512 bytes of UTF-8; got 514",
  ],
  [null, "inspect: options must be an object; got null"],
])("inspect(%p) throws: %s", (options, message) => {
  expect(() => inspect(options as never)).toThrow(message);
});

test("the URL is printed once", () => {
  using errors = captureConsoleError();
  const inspection = inspect();
  opened.push(inspection);
  expect(errors.mock.calls).toEqual([[`guillotine: inspect this process at ${inspection.url}`]]);
});

test("the list has each task, and can be filtered, sorted, and shown as a tree", async () => {
  const { url } = open();
  using runtime = new Runtime();
  runtime
    .spawn(
      function* () {
        const { spawn } = runtime;
        for (const name of ["bee", "ant"]) {
          spawn.call(runtime, sleep(60_000), { name }).unref().detach();
        }
        yield* sleep(60_000);
      },
      { name: "queen" },
    )
    .unref()
    .detach();
  runtime.spawn(sleep(60_000), { name: "wasp" }).unref().detach();
  const names = async (query: Record<string, string>): Promise<string[]> =>
    (await look([url, runtime], "tasks", query)).content.rows.map(
      ({ name, depth }) => `${"> ".repeat(depth)}${name.replace(/^#\d+ /, "")}`,
    );
  await until([url, runtime], "tasks", {}, ({ content }) => content?.matching === 4);
  expect(await names({})).toEqual(["queen", "wasp", "bee", "ant"]);
  expect(await names({ sort: "name" })).toEqual(["ant", "bee", "queen", "wasp"]);
  expect(await names({ sort: "name", order: "desc" })).toEqual(["wasp", "queen", "bee", "ant"]);
  expect(await names({ filter: "A" })).toEqual(["queen", "wasp", "bee", "ant"]); // "waiting"
  expect(await names({ filter: "WASP" })).toEqual(["wasp"]);
  expect(await names({ tree: "1" })).toEqual(["queen", "> bee", "> ant", "wasp"]);
  expect(await names({ tree: "1", filter: "ant" })).toEqual(["queen", "> ant"]);
  expect(await names({ group: "bee" })).toEqual(["bee"]);
  expect(await names({ offset: "2" })).toEqual(["bee", "ant"]);
  expect(await names({ offset: "1e9" })).toEqual(["ant"]);
});

test("100 of many tasks are sent, with counts of all, and grouped by name", async () => {
  const { url } = open();
  using runtime = new Runtime();
  for (let index = 0; index < 5000; index++) {
    runtime
      .spawn(sleep(60_000), { name: index % 5 === 0 ? "fifth" : "other" })
      .unref()
      .detach();
  }
  const { content } = await until(
    [url, runtime],
    "tasks",
    {},
    (found) => found.content?.matching === 5000,
  );
  expect(content.rows.length).toBe(100);
  const groups = (await look([url, runtime], "groups", { sort: "count", order: "desc" })).content;
  expect(groups.rows.map(({ name, count }) => [name, count])).toEqual([
    ["other", 4000],
    ["fifth", 1000],
  ]);
});

test("the page of a task has its stack, its spawner, what it waits for, and a history", async () => {
  const { url } = open();
  using runtime = new Runtime();
  const room = new Mutex(0, { name: "room" });
  runtime
    .spawn(
      function* () {
        using _ = yield* room.lock();
        yield* sleep(60_000);
      },
      { name: "holder" },
    )
    .unref()
    .detach();
  const waiter = runtime.spawn(
    function* patient() {
      yield* room.lock();
    },
    { name: "waiter" },
  );
  waiter.unref().detach();
  const query = { task: `${waiter.id}` };
  const { content } = await until(
    [url, runtime],
    "task",
    query,
    ({ content: page }) => page?.isKnown === true && page.stack.length > 0,
  );
  if (!content.isKnown) throw new Error("the task is known");
  expect(content.stack[0]).toMatch(/^patient \(.*console\.test\.ts:\d+/);
  expect(content.waitsFor.map(({ name }) => name)).toEqual(["#1 holder"]);
  expect(content.resources).toEqual([
    {
      kind: "lock",
      text: 'lock "room", held by task holder',
      holders: [{ id: 1, name: "#1 holder", isEnded: false }],
      waiting: 1,
      queue: [
        { id: 2, name: "#2 waiter", isEnded: false, waitsOn: 'lock "room", held by task holder' },
      ],
    },
  ]);
  await until(
    [url, runtime],
    "task",
    query,
    ({ content: page }) => page.isKnown && page.history.length > 2,
  );
  waiter.abort();
  await until([url, runtime], "task", query, ({ content: page }) => page.isKnown && page.isEnded);
});

test("the resources are locks and channels with their queues, sockets with their tasks, and timers", async () => {
  using runtime = new Runtime();
  const { sender, receiver } = mpsc<number>(1, { name: "jobs" });
  const start = (name: string, work: () => Generator<symbol, unknown>): void =>
    runtime
      .spawn(work as never, { name })
      .unref()
      .detach();
  start("taker", function* () {
    yield* receiver.recv();
    yield* sleep(60_000);
  });
  for (const name of ["first", "second", "third"]) {
    start(name, function* () {
      yield* sender.send(1);
      yield* sender.send(2);
    });
  }
  start("server", function* () {
    using listener = TcpListener.bind("127.0.0.1:0");
    yield* listener.accept();
  });
  untilIdle(runtime); // a console that is open by now may see the sender "first" before it has ended
  const { url } = open();
  const { content } = await until(
    [url, runtime],
    "resources",
    {},
    (found) => found.content?.locks.total === 1 && found.content.sockets.total === 1,
  );
  const [channel] = content.locks.rows;
  expect(channel?.text).toBe('channel "jobs": 1 of 1 messages, senders: 1, receivers: 1');
  // The taker has received the first message, and the second one fills the channel.
  expect(channel?.queue.map(({ name }) => name.replace(/#\d /, ""))).toEqual(["second", "third"]);
  const [socket] = content.sockets.rows;
  expect(socket?.kind).toBe("TcpListener");
  expect(socket?.tasks.map(({ name }) => name)).toEqual(["#5 server"]);
  expect(content.timers.total).toBe(1);
  expect(content.timers.rows.map(({ task }) => task.name)).toEqual(["#1 taker"]);
  const { content: none } = await look([url, runtime], "resources", { filter: "nothing" });
  expect([none.locks.total, none.sockets.total]).toEqual([0, 0]);
});

test("the runtimes keep statistics while somebody looks, and stop soon after", async () => {
  const { url } = open();
  using runtime = new Runtime();
  runtime
    .spawn(function* () {
      for (;;) yield* sleep(5);
    })
    .unref()
    .detach();
  expect(runtime.metrics().observed).toBeUndefined();
  await until([url, runtime], "tasks", {}, ({ content }) => (content?.rows[0]?.polls ?? 0) > 0);
  expect(runtime.metrics().observed).toBeDefined();
  while (runtime.metrics().observed !== undefined) await Bun.sleep(50); // nobody looks any more
});

test("several runtimes are shown, those that end are not, and two consoles may look", async () => {
  const [{ url }, other] = [open(), open()];
  const first = new Runtime();
  first.spawn(sleep(60_000), { name: "one" }).unref().detach();
  using second = new Runtime();
  second.spawn(sleep(60_000), { name: "two" }).unref().detach();
  const { runtime: number } = first.dumpJson();
  const isThere = ({ runtimes }: View): boolean => runtimes.some(({ id }) => id === number);
  for (const at of [url, other.url]) {
    for (const [runtime, name] of [
      [first, "#1 one"],
      [second, "#1 two"],
    ] as const) {
      const found = await until(
        [at, runtime],
        "tasks",
        {},
        ({ content }) => content.matching === 1,
      );
      expect(found.content.rows.map((row) => row.name)).toEqual([name]);
      expect(isThere(found)).toBe(true);
    }
  }
  first[Symbol.dispose]();
  other.close();
  await until([url, second], "tasks", {}, (found) => !isThere(found));
});

/** Returned Pending, and remembered nobody to wake. */
class Forgetful extends Future<void> {
  override poll(_: Context): Poll<void> {
    return Pending;
  }
  override drop(): void {}
}

test("it warns of tasks that nobody can wake, and not of those that wait for a live holder or a timer", async () => {
  const { url } = open();
  using runtime = new Runtime();
  const start = (name: string, work: () => Generator<symbol, unknown>): void =>
    runtime
      .spawn(work as never, { name })
      .unref()
      .detach();
  const [left, right, room, held] = ["left", "right", "room", "held"].map(
    (name) => new Mutex(0, { name }),
  ) as [Mutex<number>, Mutex<number>, Mutex<number>, Mutex<number>];
  start("leaver", function* () {
    yield* room.lock();
  });
  start("stranded", function* () {
    yield* sleep(1);
    yield* room.lock();
  });
  start("holder", function* () {
    using _ = yield* held.lock();
    yield* sleep(60_000);
  });
  start("patient", function* () {
    yield* held.lock();
  });
  start("forgetful", function* () {
    yield* new Forgetful();
  });
  const fine: readonly [name: string, work: () => unknown][] = [
    ["async sleep", async () => await sleep(60_000)],
    ["async promise", async () => await new Promise(() => {})],
    ["promise", () => fromPromise(new Promise(() => {}))],
    ["oneshot", () => oneshot().receiver],
    ["notify", () => new Notify().notified()],
    ["barrier", () => new Barrier(2).wait()],
    ["watch", () => watch(1).receiver.changed()],
    ["cell", () => new OnceCell<void>().getOrInit(() => sleep(60_000))],
    ["join", () => runtime.spawn(sleep(60_000)).unref()],
    ["race", () => race(sleep(60_000), held.lock())],
    ["timeout", () => timeout(60_000, sleep(70_000))],
    ["tick", () => interval(60_000).tick()],
    ["blocking", () => spawnBlocking(() => {})],
  ];
  for (const [name, work] of fine)
    runtime
      .spawn(work as never, { name })
      .unref()
      .detach();
  for (const [name, one, two] of [
    ["castor", left, right],
    ["pollux", right, left],
  ] as const) {
    start(name, function* () {
      using _ = yield* one.lock();
      yield* sleep(1);
      yield* two.lock();
    });
  }
  // In the first pass, some tasks have not come that far.
  const isThere = (found: View): boolean => found.warnings.length >= 3;
  const { warnings } = await until([url, runtime], "tasks", {}, isThere);
  expect(warnings.map(({ text }) => text.replace(/#\d+/g, "#"))).toEqual([
    'nobody can wake # stranded: it waits on lock "room", held by task leaver, which has ended',
    "nobody can wake # forgetful: its future returned Pending, and nothing has its waker",
    "nobody can wake # castor, which waits for # pollux, which waits for # castor",
  ]);
});

test("it warns of a task that wakes itself in a loop", async () => {
  const { url } = open();
  using runtime = new Runtime();
  runtime
    .spawn(
      function* () {
        for (;;) yield* yieldNow();
      },
      { name: "spinner" },
    )
    .unref()
    .detach();
  const { warnings } = await until(
    [url, runtime],
    "tasks",
    {},
    warned("spinner wakes itself in a loop"),
  );
  expect(warnings[0]?.task).toBe(1);
});

test("it warns of a poll over 10 ms", async () => {
  const { url } = open();
  using runtime = new Runtime();
  runtime
    .spawn(
      function* () {
        for (;;) {
          const end = performance.now() + 30;
          while (performance.now() < end);
          yield* sleep(20);
        }
      },
      { name: "slow" },
    )
    .unref()
    .detach();
  const { warnings } = await until([url, runtime], "tasks", {}, warned("a poll of #1 slow took "));
  expect(warnings[0]?.kind).toBe("long poll");
});

test("it warns of a name that only grows, and not of one that comes and goes", async () => {
  const { url } = open();
  using runtime = new Runtime();
  let leaked = 0;
  const timer = setInterval(() => {
    leaked += 4;
    for (let index = 0; index < 4; index++) {
      runtime.spawn(sleep(60_000), { name: "leaked" }).unref().detach();
      runtime.spawn(sleep(700), { name: "busy" }).unref().detach();
    }
  }, 200);
  const { warnings } = await until([url, runtime], "tasks", {}, warned("tasks named leaked"));
  clearInterval(timer);
  expect(leaked).toBeGreaterThan(10);
  expect(warnings.map(({ text }) => text.replace(/\d[\d.]*/g, "N"))).toEqual([
    "N tasks named leaked: N more within N s, and none has ended",
  ]);
});

const program = (...args: string[]) => [
  "bun",
  `${root}test/support/programs/inspected.ts`,
  ...args,
];

test.each(["blockOn", "guest"])(
  "GUILLOTINE_INSPECT opens the console of a program in %s mode, and does not keep it alive",
  async (mode) => {
    await using child = start(program(mode), { GUILLOTINE_INSPECT: "127.0.0.1:0" });
    const [, url = ""] = await child.until(/inspect this process at (http:\S+)/);
    const { content, title } = await until(
      [url],
      "tasks",
      {},
      (found) => found.content?.matching === 2,
    );
    expect(content.rows.map(({ name }) => name)).toContain("#2 waiter");
    expect(title).toEndWith(`inspected.ts (pid ${child.pid})`);
    child.end();
    expect(await child.exited).toBe(0);
  },
);

test("a console of a thread that is stuck in a poll names its task, with its name, and shows the last list", async () => {
  await using child = start(program("stuck"), { GUILLOTINE_INSPECT: "0" });
  const [, url = ""] = await child.until(/inspect this process at (http:\S+)/);
  await until([url], "tasks", {}, (found) => found.content?.matching === 2);
  child.write("x");
  const { stuck, content } = await until([url], "tasks", {}, (found) => found.stuck !== null);
  expect(stuck?.text).toMatch(
    /^task #2 waiter has held the thread for \d\.\d s: its poll does not return, and no other task runs$/,
  );
  expect(stuck?.task).toBe(2);
  expect(content.total).toBe(2);
});

test("a console that is first looked at while the thread is stuck names the task, too", async () => {
  await using child = start(program("stuck"), { GUILLOTINE_INSPECT: "0" });
  const [, url = ""] = await child.until(/inspect this process at (http:\S+)/);
  child.write("x");
  await child.until(/stuck/);
  const { stuck, answeredMs } = await until([url], "tasks", {}, (found) => found.stuck !== null);
  expect(answeredMs).toBeNull();
  expect(stuck?.text).toMatch(/^task #2 waiter has held the thread for \d\.\d s/);
});

test("statistics that were on when the thread got stuck end once it continues and nobody looks", async () => {
  await using child = start(program("pause"), { GUILLOTINE_INSPECT: "0" });
  const [, url = ""] = await child.until(/inspect this process at (http:\S+)/);
  await until([url], "tasks", {}, (found) => found.content?.matching === 2);
  child.write("x");
  await until([url], "tasks", {}, (found) => found.stuck !== null);
  await child.until(/statistics have ended/);
});

test("a request from before the first runtime is answered by a runtime in blockOn", async () => {
  await using child = start(program("late"));
  const [, url = ""] = await child.until(/inspect this process at (http:\S+)/);
  await look([url], "tasks"); // the thread is blocked, so this is not its answer
  child.write("x");
  await until([url], "tasks", {}, (found) => found.content?.matching === 2);
});

test("a console of a thread that is stuck in other code says so", async () => {
  await using child = start(program("outside"), { GUILLOTINE_INSPECT: "0" });
  const [, url = ""] = await child.until(/inspect this process at (http:\S+)/);
  const { stuck } = await until([url], "tasks", {}, (found) => found.stuck !== null);
  expect(stuck?.text).toMatch(/^the thread has not answered for \d\.\d s, and no task is being/);
});

test("a program whose port is in use says so, and runs without the console", async () => {
  const { port } = open();
  const { code, output } = await run(program("guest"), {
    env: { GUILLOTINE_INSPECT: `127.0.0.1:${port}` },
  });
  expect(code).toBe(0);
  expect(output).toMatch(/^guillotine: inspect: the console cannot listen on .*EADDRINUSE.*\n$/);
});

test.each(["yes", "127.0.0.1", "127.0.0.1:http", ":80"])(
  "GUILLOTINE_INSPECT=%s is an error",
  async (value) => {
    const { code, output } = await run(program("guest"), { env: { GUILLOTINE_INSPECT: value } });
    expect(code).toBe(1);
    expect(output).toContain("GUILLOTINE_INSPECT must be a port, or an address and a port such as");
  },
);
