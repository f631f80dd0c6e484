// TcpStream.connect: names and their addresses (RFC 8305), the local address, the time limit, and self-connects.

import { heapStats } from "bun:jsc";
import { expect, setDefaultTimeout, test } from "bun:test";
import {
  type Clock,
  ConnectError,
  type Coroutine,
  orUndefined,
  Runtime,
  race,
  SysError,
  sleep,
  TcpListener,
  TcpStream,
  TimeoutError,
  yieldNow,
} from "../../src/index.ts";
import { EALREADY, ECONNREFUSED, EINPROGRESS, ENETUNREACH } from "../../src/sys/index.ts";
import { caught } from "../support/caught.ts";
import { newFds, openFds } from "../support/fds.ts";
import { Names } from "../support/names.ts";
import { hasNamespaces, runInNamespace } from "../support/namespace.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

class VirtualClock implements Clock {
  #nowMs = 0;
  now(): number {
    return this.#nowMs;
  }
  advanceTo(deadlineMs: number): void {
    this.#nowMs = deadlineMs;
  }
}

/** The sockets that are open now, and were not before. (Bun may close some of its own meanwhile.) */
const newSockets = (before: Map<number, string>): string[] =>
  newFds(before).filter((target) => target.startsWith("socket:"));

/** What happens to a connect to an address: it stays unanswered, fails, or (undefined) reaches the kernel. */
type Fate = "no answer" | number | undefined;

/** A runtime in which `name.test` has the addresses in `fates`. `tried` lists each connect with its time. */
function network(fates: Readonly<Record<string, Fate>>) {
  const { faults } = new Names({ "name.test": Object.keys(fates) });
  const clock = new VirtualClock();
  const tried: [ip: string, atMs: number][] = [];
  const fds = new Set<number>();
  faults.on("connect", (_, fd, address) => {
    const { hostname } = address.decode();
    if (!fds.has(fd)) tried.push([hostname, clock.now()]);
    const isFirst = !fds.has(fd);
    fds.add(fd);
    const fate = fates[hostname];
    if (fate === "no answer") return isFirst ? -EINPROGRESS : -EALREADY;
    return fate ?? null;
  });
  faults.on("close", (close, fd) => {
    fds.delete(fd);
    return close(fd);
  });
  return { runtime: new Runtime({ sys: faults.sys, clock }), tried, faults, clock };
}

test("a connect to a name reaches the server and reports the address that won", () => {
  const { runtime } = network({ "127.0.0.1": undefined });
  using _ = runtime;
  using listener = TcpListener.bind("127.0.0.1:0");
  const { port } = listener.localAddress;
  runtime.blockOn(function* () {
    using stream = yield* TcpStream.connect(`name.test:${port}`);
    expect(stream.remoteAddress).toEqual({ hostname: "127.0.0.1", port });
    using byObject = yield* TcpStream.connect({ hostname: "name.test", port });
    expect(byObject.remoteAddress).toEqual({ hostname: "127.0.0.1", port });
  });
});

test("the next address is tried after 250 ms without an answer, and the loser's socket is closed", () => {
  const before = openFds();
  {
    const { runtime, tried } = network({ "2001:db8::1": "no answer", "127.0.0.1": undefined });
    using _ = runtime;
    using listener = TcpListener.bind("127.0.0.1:0");
    const { port } = listener.localAddress;
    const stream = runtime.blockOn(TcpStream.connect(`name.test:${port}`));
    expect(stream.remoteAddress.hostname).toBe("127.0.0.1");
    expect(tried).toEqual([
      ["2001:db8::1", 0],
      ["127.0.0.1", 250],
    ]);
    stream.close();
  }
  expect(newSockets(before)).toEqual([]);
});

test("the next address is tried at once after a failure, and delayMs sets the delay", () => {
  const { runtime, tried } = network({
    "2001:db8::1": -ENETUNREACH,
    "127.0.0.2": "no answer",
    "2001:db8::2": "no answer",
    "127.0.0.1": undefined,
  });
  using _ = runtime;
  using listener = TcpListener.bind("127.0.0.1:0");
  const { port } = listener.localAddress;
  using stream = runtime.blockOn(TcpStream.connect(`name.test:${port}`, { delayMs: 10 }));
  expect(stream.remoteAddress.hostname).toBe("127.0.0.1");
  expect(tried).toEqual([
    ["2001:db8::1", 0],
    ["127.0.0.2", 0],
    ["2001:db8::2", 10],
    ["127.0.0.1", 20],
  ]);
});

test("the families alternate, each in the order of the resolver", () => {
  const { runtime, tried } = network({
    "2001:db8::1": -ECONNREFUSED,
    "2001:db8::2": -ECONNREFUSED,
    "2001:db8::3": -ECONNREFUSED,
    "10.0.0.1": -ECONNREFUSED,
  });
  using _ = runtime;
  expect(() => runtime.blockOn(TcpStream.connect("name.test:80"))).toThrow(ConnectError);
  expect(tried.map(([ip]) => ip)).toEqual([
    ...["2001:db8::1", "10.0.0.1"],
    ...["2001:db8::2", "2001:db8::3"],
  ]);
});

test("the error of a name lists each address and its error; one address throws its own", () => {
  const before = openFds();
  {
    const { runtime } = network({ "2001:db8::1": -ENETUNREACH, "10.0.0.1": -ECONNREFUSED });
    using _ = runtime;
    const error = caught(() => runtime.blockOn(TcpStream.connect("name.test:80"))) as ConnectError;
    expect(error).toBeInstanceOf(ConnectError);
    expect(error).toMatchObject({ code: "ENETUNREACH", hostname: "name.test", port: 80 });
    expect(error.message).toBe(
      "connect name.test:80: all 2 addresses failed: connect ENETUNREACH 2001:db8::1:80; connect ECONNREFUSED 10.0.0.1:80",
    );
    expect(error.errors.map(({ code, address }) => [code, address])).toEqual([
      ["ENETUNREACH", "2001:db8::1"],
      ["ECONNREFUSED", "10.0.0.1"],
    ]);
  }
  const { runtime } = network({ "10.0.0.1": -ECONNREFUSED });
  using _ = runtime;
  expect(caught(() => runtime.blockOn(TcpStream.connect("name.test:80")))).toBeInstanceOf(SysError);
  expect(newSockets(before)).toEqual([]);
});

test("a dropped connect closes its sockets, at each step", () => {
  const before = openFds();
  {
    const { runtime } = network({ "2001:db8::1": "no answer", "10.0.0.1": "no answer" });
    using _ = runtime;
    for (const limitMs of [0, 1, 251, 1000]) {
      runtime.blockOn(race(TcpStream.connect("name.test:80"), sleep(limitMs)));
    }
    const never = TcpStream.connect("name.test:80"); // not polled
    never.drop();
  }
  expect(newSockets(before)).toEqual([]);
});

test("timeoutMs limits the lookup and the connect together, and the error says what was pending", () => {
  const { runtime, clock } = network({ "10.0.0.1": "no answer", "10.0.0.2": "no answer" });
  using _ = runtime;
  const error = caught(() =>
    runtime.blockOn(TcpStream.connect("name.test:80", { timeoutMs: 1000 })),
  );
  expect(error).toBeInstanceOf(TimeoutError);
  expect((error as Error).message).toContain("connect 10.0.0.1:80, connect 10.0.0.2:80");
  expect(clock.now()).toBe(1000);
  const slow = new Names();
  using waiting = new Runtime({ sys: slow.faults.sys, clock: new VirtualClock() });
  expect(() => waiting.blockOn(TcpStream.connect("slow.test:80", { timeoutMs: 5 }))).toThrow(
    "lookup slow.test",
  );
});

test("localAddress is the address that the peer sees, and restricts the family", () => {
  const { runtime, tried } = network({ "2001:db8::1": undefined, "127.0.0.1": undefined });
  using _ = runtime;
  using listener = TcpListener.bind("127.0.0.1:0");
  const { port } = listener.localAddress;
  runtime.blockOn(function* () {
    using stream = yield* TcpStream.connect(`name.test:${port}`, { localAddress: "127.0.0.3:0" });
    using served = yield* listener.accept();
    expect(served.remoteAddress.hostname).toBe("127.0.0.3");
    expect(stream.localAddress).toEqual(served.remoteAddress);
    const { port: localPort } = stream.localAddress;
    stream.close();
    served.close();
    const again = { hostname: "127.0.0.4", port: localPort };
    using fixed = yield* TcpStream.connect(`127.0.0.1:${port}`, { localAddress: again });
    expect(fixed.localAddress).toEqual(again);
    expect(() => TcpStream.connect(`127.0.0.1:${port}`, { localAddress: "[::1]:0" })).toThrow(
      "connect: localAddress must be of the family of the address; got IPv6",
    );
  });
  expect(tried[0]?.[0]).toBe("127.0.0.1");
});

test("a local address that this machine lacks throws EADDRNOTAVAIL and leaves no socket", () => {
  using runtime = new Runtime();
  const before = openFds();
  expect(() =>
    runtime.blockOn(TcpStream.connect("127.0.0.1:1", { localAddress: "192.0.2.77:0" })),
  ).toThrow("bind EADDRNOTAVAIL 192.0.2.77:0");
  expect(newSockets(before)).toEqual([]);
});

test.each([
  [{ delayMs: -1 }, "connect: delayMs must be a number >= 0; got -1"],
  [{ timeoutMs: Number.NaN }, "connect: timeoutMs must be a number >= 0; got NaN"],
  [{ localAddress: "name.test:0" }, "must be an IPv4 or IPv6 literal"],
  [7, "connect: options must be an object; got 7"],
])("connect refuses the options %p", (options, message) => {
  expect(() => TcpStream.connect("127.0.0.1:1", options as object)).toThrow(message);
});

test.each(["127.0.0.1", "0.0.0.0", "::1", "::", "::ffff:0.0.0.0"])(
  "a connect to %s that meets itself is closed and tried again, and refused in the end",
  (hostname) => {
    const before = openFds();
    // Bind the socket to the port it connects to: what the kernel does by chance.
    const { runtime, faults } = network({});
    using _ = runtime;
    const meet = (times: number) => {
      let left = times;
      faults.on("connect", (_connect, fd, address) => {
        if (left-- > 0) faults.sys.bind(fd, address);
        return null;
      });
    };
    using probe = TcpListener.bind({ hostname, port: 0 });
    const { port } = probe.localAddress;
    probe.close();
    const address = { hostname, port };
    meet(1);
    expect(() => runtime.blockOn(TcpStream.connect(address))).toThrow("ECONNREFUSED");
    expect(faults.count("socket")).toBe(2);
    meet(100);
    expect(() => runtime.blockOn(TcpStream.connect(address))).toThrow("ECONNREFUSED");
    expect(faults.count("socket")).toBe(2 + 6);
    // A caller that asks for it gets it.
    faults.heal("connect");
    using own = runtime.blockOn(TcpStream.connect(address, { localAddress: address }));
    expect(own.localAddress).toEqual(own.remoteAddress);
    own.close();
    expect(newSockets(before)).toEqual([]);
  },
);

test("the remote address of a connect to a wildcard is the address that it has reached", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    for (const [any, hostname] of [
      ["0.0.0.0", "127.0.0.1"],
      ["0::0", "::1"],
    ] as const) {
      using listener = TcpListener.bind({ hostname: any, port: 0 });
      const { port } = listener.localAddress;
      using stream = yield* TcpStream.connect({ hostname: any, port });
      expect(stream.remoteAddress).toEqual({ hostname, port });
    }
  });
});

test("connects to a free loopback port in the ephemeral range are all refused", () => {
  using runtime = new Runtime();
  const before = openFds();
  // One in 28,000 local ports is the port itself.
  runtime.blockOn(function* () {
    for (let tries = 0; tries < 60_000; tries++) {
      try {
        using stream = yield* TcpStream.connect("127.0.0.1:45678");
        throw new Error(`connected from ${stream.localAddress.port} after ${tries} tries`);
      } catch (error) {
        if ((error as SysError).code !== "ECONNREFUSED") throw error;
      }
    }
  });
  expect(newSockets(before)).toEqual([]);
});

/** `GUILLOTINE_CONNECTS=1000 bun test test/net/connect.test.ts` makes fewer connects. */
const numConnects = Number(process.env.GUILLOTINE_CONNECTS ?? 100_000);

/** Returns the number of objects that are still in use. */
function countObjects(): number {
  Bun.gc(true);
  return heapStats().objectCount;
}

test(`${numConnects} connects to a name, some refused and some dropped, leave no fd and no object`, () => {
  const before = openFds();
  {
    const names = new Names({ "name.test": ["127.0.0.2", "127.0.0.1"] }); // the first one refuses
    using runtime = new Runtime({ sys: names.faults.sys });
    using listener = TcpListener.bind("127.0.0.1:0");
    const { port } = listener.localAddress;
    let dropped = 0;
    function* connectMany(count: number) {
      for (let round = 0; round < count; round++) {
        // A reset leaves no TIME_WAIT.
        const connect = TcpStream.connect(`name.test:${port}`, { options: { lingerMs: 0 } });
        if (round % 10 === 0) {
          const steps = Math.floor(round / 10) % 4;
          using late = yield* race(connect, yields(steps));
          if (late === undefined) dropped++;
          (yield* orUndefined(0, listener.accept()))?.close(); // the kernel may have connected it
          continue;
        }
        using stream = yield* connect;
        const accepted = yield* listener.accept();
        stream.close();
        accepted.close();
      }
    }
    runtime.blockOn(connectMany(1000));
    names.asked.length = 0;
    const objects = countObjects();
    const { sources } = runtime.metrics();
    runtime.blockOn(connectMany(numConnects));
    names.asked.length = 0;
    expect(countObjects() - objects).toBeLessThan(5000 + numConnects / 100); // not one per connect
    expect(dropped).toBeGreaterThan(numConnects / 100);
    expect(newSockets(before).length).toBeLessThan(2); // the listener
    expect(runtime.metrics()).toMatchObject({ sources, timers: 0, tasksAlive: 0 });
  }
  expect(newSockets(before)).toEqual([]);
});

function* yields(count: number): Coroutine<undefined> {
  for (let step = 0; step < count; step++) yield* yieldNow();
}

test.skipIf(!hasNamespaces)("a blackholed IPv6 address costs 250 ms, and IPv4 wins", async () => {
  // The packets come back through lo, for an address that is not local: the kernel drops them without an answer.
  const program = `
    import { Runtime, TcpListener, TcpStream } from "./src/index.ts";
    import { Names } from "./test/support/names.ts";
    const names = new Names({ "name.test": ["2001:db8::1", "127.0.0.1"] });
    using runtime = new Runtime({ sys: names.faults.sys });
    using listener = TcpListener.bind("127.0.0.1:7000");
    const startMs = performance.now();
    using stream = runtime.blockOn(TcpStream.connect("name.test:7000"));
    console.log(stream.remoteAddress.hostname, performance.now() - startMs >= 249);`;
  const setup = [
    "ip link set lo up",
    "ip -6 addr add 2001:db8::2/128 dev lo nodad",
    "ip -6 route add 2001:db8::1/128 dev lo",
  ];
  const result = await runInNamespace(setup, program);
  expect(result).toEqual({ code: 0, output: "127.0.0.1 true\n" });
});
