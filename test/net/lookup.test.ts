// lookup(): the system's resolver, sharing of equal lookups, cancellation, errors, and names where an address is wanted.

import { expect, setDefaultTimeout, test } from "bun:test";
import { networkInterfaces } from "node:os";
import {
  AbortError,
  joinAll,
  LookupError,
  lookup,
  Runtime,
  race,
  TcpListener,
  TcpStream,
  timeout,
  UdpSocket,
  yieldNow,
} from "../../src/index.ts";
import { AF_INET, AF_INET6, EMFILE } from "../../src/sys/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { FaultSys } from "../support/fault-sys.ts";
import { countFds, newFds, openFds } from "../support/fds.ts";
import { untilIdle } from "../support/idle.ts";
import { Names } from "../support/names.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

/** Waits until as many sockets are open as before: a helper closes its end of a lookup after it has sent the answer. */
async function untilSockets(count: number): Promise<void> {
  for (let tries = 0; countFds("socket") > count && tries < 500; tries++) await Bun.sleep(10);
  expect(countFds("socket")).toBeLessThanOrEqual(count); // Bun may have closed sockets of other tests
}

test("a name resolves to the addresses in /etc/hosts while the thread is blocked, and in guest mode", async () => {
  using runtime = new Runtime();
  const expected = [{ address: "127.0.0.1", family: 4 as const }];
  expect(runtime.blockOn(lookup("localhost", { family: 4 }))).toEqual(expected);
  expect(await lookup("localhost", { family: 4 })).toEqual(expected);
  expect(await runtime.run(lookup("localhost", { family: 4 }))).toEqual(expected);
});

test("an IP literal is its own address, without a lookup", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  expect(runtime.blockOn(lookup("10.1.2.3"))).toEqual([{ address: "10.1.2.3", family: 4 }]);
  expect(runtime.blockOn(lookup("fe80::1%lo", { family: 6 }))).toEqual([
    { address: "fe80::1%lo", family: 6 },
  ]);
  expect(() => runtime.blockOn(lookup("10.1.2.3", { family: 6 }))).toThrow(
    "getaddrinfo ENOTFOUND 10.1.2.3",
  );
  expect(faults.count("lookup")).toBe(0);
});

test("a name that does not exist throws an error with the fields of Node's", () => {
  using runtime = new Runtime();
  const error = caught(() => runtime.blockOn(lookup("missing.invalid"))) as LookupError;
  expect(error).toBeInstanceOf(LookupError);
  expect(["ENOTFOUND", "EAI_AGAIN"]).toContain(error.code); // EAI_AGAIN without a network
  expect(error).toMatchObject({
    syscall: "getaddrinfo",
    hostname: "missing.invalid",
    message: `getaddrinfo ${error.code} missing.invalid`,
  });
});

test.each([
  [-2, "ENOTFOUND", -3008],
  [-5, "ENOTFOUND", -3007],
  [-3, "EAI_AGAIN", -3001],
  [-4, "EAI_FAIL", -3004],
  [-11, "EAI_FAIL", -3004],
])("the result %p of getaddrinfo becomes %s", (result, code, errno) => {
  using runtime = new Runtime({ sys: new Names({ "a.test": result }).faults.sys });
  expect(caught(() => runtime.blockOn(lookup("a.test")))).toMatchObject({ code, errno });
});

test("an answer without an address is ENOTFOUND", () => {
  using runtime = new Runtime({ sys: new Names({ "a.test": [] }).faults.sys });
  expect(() => runtime.blockOn(lookup("a.test"))).toThrow("getaddrinfo ENOTFOUND a.test");
});

test("the family reaches getaddrinfo, and addresses of another family are left out", () => {
  const names = new Names({ "a.test": ["::1", "10.0.0.1"] });
  using runtime = new Runtime({ sys: names.faults.sys });
  expect(runtime.blockOn(lookup("a.test"))).toHaveLength(2);
  expect(runtime.blockOn(lookup("a.test", { family: 4 }))).toEqual([
    { address: "10.0.0.1", family: 4 },
  ]);
  expect(runtime.blockOn(lookup("a.test", { family: 6 }))).toEqual([{ address: "::1", family: 6 }]);
  expect(names.asked.map(({ family }) => family)).toEqual([0, AF_INET, AF_INET6]);
});

test("equal lookups in flight are one, a later one asks again, and other names and families are separate", () => {
  const names = new Names();
  const before = openFds();
  using runtime = new Runtime({ sys: names.faults.sys });
  const one = () => lookup("a.test");
  const tasks = [one(), one(), lookup("b.test"), lookup("a.test", { family: 4 }), one()].map(
    (work) => runtime.spawn(work),
  );
  untilIdle(runtime);
  expect(names.asked.map(({ hostname }) => hostname)).toEqual(["a.test", "b.test", "a.test"]);
  for (const { answer } of names.asked) answer(["10.0.0.1"]);
  const results = runtime.blockOn(joinAll(tasks));
  expect(results).toEqual(new Array(5).fill([{ address: "10.0.0.1", family: 4 }]));
  const again = runtime.spawn(one());
  untilIdle(runtime);
  expect(names.asked).toHaveLength(4);
  names.asked[3]?.answer(["10.0.0.2"]);
  expect(runtime.blockOn(again)).toEqual([{ address: "10.0.0.2", family: 4 }]);
  runtime[Symbol.dispose]();
  expect(newFds(before)).toEqual([]);
});

test("a dropped lookup leaves the others waiting, and the last one closes the fd at once", () => {
  const names = new Names();
  using runtime = new Runtime({ sys: names.faults.sys });
  const [first, second] = [runtime.spawn(lookup("a.test")), runtime.spawn(lookup("a.test"))];
  untilIdle(runtime);
  const before = countFds();
  first.abort();
  untilIdle(runtime);
  expect(countFds()).toBe(before);
  names.asked[0]?.answer(["10.0.0.1"]);
  expect(runtime.blockOn(second)).toHaveLength(1);
  const third = runtime.spawn(lookup("b.test"));
  untilIdle(runtime);
  const open = countFds();
  third.abort();
  expect(runtime.blockOn(failureOf(third))).toBeInstanceOf(AbortError);
  expect(countFds()).toBe(open - 1);
});

test("a task that gives up on a lookup goes on at once", () => {
  using runtime = new Runtime({ sys: new Names().faults.sys });
  expect(() => runtime.blockOn(timeout(1, lookup("slow.test")))).toThrow(
    "the work was waiting on lookup slow.test",
  );
});

test("the helper closes its end of a lookup that was dropped", async () => {
  const before = countFds("socket");
  using runtime = new Runtime();
  for (let round = 0; round < 20; round++) {
    try {
      runtime.blockOn(race(lookup("missing.invalid"), yieldNow()));
    } catch (error) {
      expect(error).toBeInstanceOf(LookupError); // the helper was faster
    }
  }
  await untilSockets(before);
});

test("a lookup without a free fd throws EMFILE, and the next one works", () => {
  const faults = new FaultSys().fail("lookup", -EMFILE);
  using runtime = new Runtime({ sys: faults.sys });
  expect(() => runtime.blockOn(lookup("localhost"))).toThrow("lookup EMFILE");
  expect(runtime.blockOn(lookup("localhost")).length).toBeGreaterThan(0);
});

test("a thousand lookups at once leave no fd", async () => {
  const before = countFds("socket");
  using runtime = new Runtime();
  const families = [4, undefined] as const;
  const work = Array.from({ length: 1000 }, (_, index) =>
    lookup("localhost", { family: families[index % 2] }),
  );
  const results = runtime.blockOn(joinAll(work));
  expect(results.every((addresses) => addresses.length > 0)).toBe(true);
  await untilSockets(before);
});

test.each([
  ["", '""'],
  ["1.2.3", '"1.2.3"'],
  ["1.2.3.04", '"1.2.3.04"'],
  ["a b", '"a b"'],
  ["a..b", '"a..b"'],
  ["a\0b", String.raw`"a\u0000b"`],
  ["x".repeat(300), "xxx"],
  [7, "got 7"],
])("lookup refuses the name %p", (name, message) => {
  expect(() => lookup(name as string)).toThrow(TypeError);
  expect(() => lookup(name as string)).toThrow(message);
});

test("lookup refuses an unknown family", () => {
  expect(() => lookup("a.test", { family: 5 as 4 })).toThrow(
    "lookup: family must be 4, 6 or undefined; got 5",
  );
  expect(() => lookup("a.test", 4 as never)).toThrow("lookup: options must be an object; got 4");
});

test("a name outside ASCII is looked up in punycode", () => {
  const names = new Names({ "xn--bcher-kva.example": ["10.0.0.1"] });
  using runtime = new Runtime({ sys: names.faults.sys });
  expect(runtime.blockOn(lookup("bücher.example"))).toHaveLength(1);
});

test("a listener and a UDP socket bind to the first address of a name", () => {
  using runtime = new Runtime({
    sys: new Names({ "a.test": ["127.0.0.2", "::1"], "b.test": -2 }).faults.sys,
  });
  using listener = runtime.blockOn(TcpListener.bindByName("a.test:0"));
  expect(listener.localAddress.hostname).toBe("127.0.0.2");
  using udp = runtime.blockOn(UdpSocket.bindByName({ hostname: "a.test", port: 0 }));
  expect(udp.localAddress.hostname).toBe("127.0.0.2");
  expect(() => runtime.blockOn(TcpListener.bindByName("b.test:0"))).toThrow("ENOTFOUND b.test");
});

test("a listener that a dropped bind has opened is closed", () => {
  using runtime = new Runtime({ sys: new Names({ "a.test": ["127.0.0.1"] }).faults.sys });
  const before = countFds("socket");
  const binding = TcpListener.bindByName("a.test:0");
  binding.reclaim(runtime.blockOn(TcpListener.bindByName("a.test:0")));
  binding.drop();
  expect(countFds("socket")).toBe(before);
});

test("a UDP socket sends to a name, and connects to one, in its own family", () => {
  const names = new Names({ "a.test": ["::1", "127.0.0.1"] });
  using runtime = new Runtime({ sys: names.faults.sys });
  using receiver = UdpSocket.bind("127.0.0.1:0");
  using sender = UdpSocket.bind("127.0.0.1:0");
  const { port } = receiver.localAddress;
  const buffer = new Uint8Array(8);
  runtime.blockOn(function* () {
    expect(yield* sender.sendTo(new Uint8Array(3), { hostname: "a.test", port })).toBe(3);
    expect((yield* receiver.recvFrom(buffer)).bytes).toBe(3);
    yield* sender.connectByName(`a.test:${port}`);
    yield* sender.send(new Uint8Array(2));
    expect((yield* receiver.recvFrom(buffer)).bytes).toBe(2);
  });
  expect(names.asked.map(({ family }) => family)).toEqual([AF_INET, AF_INET]);
});

test.each(["127.0.0.1", "::1"])("localhost is of the family of a UDP socket at %s", (hostname) => {
  using runtime = new Runtime();
  using receiver = UdpSocket.bind({ hostname, port: 0 });
  using sender = UdpSocket.bind({ hostname, port: 0 });
  const address = `localhost:${receiver.localAddress.port}`;
  const data = new Uint8Array(3);
  runtime.blockOn(function* () {
    yield* sender.sendTo(data, address);
    yield* sender.sendMessage(data, { address });
    yield* sender.sendMany([{ data, address }]);
    sender.connect(address);
    yield* sender.send(data);
    for (let count = 0; count < 4; count++) {
      expect((yield* receiver.recvFrom(new Uint8Array(8))).address).toEqual(sender.localAddress);
    }
  });
});

/** A link-local address of this machine, and its interface. */
const linkLocal = Object.entries(networkInterfaces())
  .flatMap(([name, addresses]) => (addresses ?? []).map(({ address }) => ({ name, address })))
  .find(({ address }) => address.startsWith("fe80:"));
if (linkLocal === undefined) console.log("skipped: this machine has no link-local IPv6 address");

test.skipIf(linkLocal === undefined)(
  "a link-local address works with the name of its interface and with its index",
  () => {
    const { name, address } = linkLocal!;
    using runtime = new Runtime();
    using listener = TcpListener.bind(`[${address}%${name}]:0`);
    const { hostname, port } = listener.localAddress;
    expect(hostname).toMatch(/^fe80:.*%\d+$/);
    runtime.blockOn(function* () {
      for (const to of [`[${address}%${name}]:${port}`, { hostname, port }]) {
        using client = yield* TcpStream.connect(to);
        using served = yield* listener.accept();
        expect(served.remoteAddress).toEqual(client.localAddress);
      }
      using a = UdpSocket.bind(`[${address}%${name}]:0`);
      yield* a.sendTo(new Uint8Array(3), { ...a.localAddress, hostname: `${address}%${name}` });
      const received = yield* a.recvFrom(new Uint8Array(8));
      expect(received).toMatchObject({ bytes: 3, address: a.localAddress });
    });
  },
);

test("a link-local address without a scope is an error that says so", () => {
  const hint = "EINVAL fe80::1:7: a link-local address needs its interface, as in fe80::1%eth0";
  const at = { hostname: "fe80::1", port: 7 };
  using runtime = new Runtime();
  using socket = UdpSocket.bind("[::]:0");
  const messageOf = (call: () => unknown): string => (caught(call) as Error).message;
  for (const [syscall, call] of [
    ["bind", () => TcpListener.bind(at)],
    ["bind", () => UdpSocket.bind(at)],
    ["connect", () => socket.connect(at)],
    ["connect", () => runtime.blockOn(TcpStream.connect(at))],
  ] as const) {
    expect(messageOf(call)).toBe(`${syscall} ${hint}`);
  }
});

test("the scope of an address must be an interface", () => {
  expect(() => TcpListener.bind("[fe80::1%nosuch0]:0")).toThrow("if_nametoindex ENODEV");
});
