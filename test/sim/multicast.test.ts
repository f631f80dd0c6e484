// Multicast between simulated hosts: what the random scripts of fidelity.test.ts do not reach, because it takes a wire.

import { expect, test } from "bun:test";
import { type Coroutine, orUndefined, sleep, UdpSocket } from "../../src/index.ts";
import { SimulationError, simulate, type World } from "../../src/sim/index.ts";
import { caught } from "../support/caught.ts";

const GROUP = "239.1.2.3";
const PORT = 7000;

interface Member {
  readonly name: string;
  readonly source?: string;
  readonly joins?: boolean;
}

/** Starts hosts that receive for a second. Returns what each has received. */
function members(world: World, all: readonly Member[]): Map<string, string[]> {
  const seen = new Map<string, string[]>();
  for (const { name, source, joins = true } of all) {
    const received: string[] = [];
    seen.set(name, received);
    world.host(name, function* () {
      using socket = UdpSocket.bind({ hostname: "0.0.0.0", port: PORT });
      if (joins) socket.joinMulticast(GROUP, source === undefined ? {} : { source });
      const buffer = new Uint8Array(8);
      for (;;) {
        const next = yield* orUndefined(1000, socket.recvFrom(buffer));
        if (next === undefined) return;
        received.push(`${buffer[0]} from ${next.address.hostname}`);
      }
    });
  }
  return seen;
}

function* send(byte: number, change?: (socket: UdpSocket) => void): Coroutine<void> {
  using socket = UdpSocket.bind("0.0.0.0:0");
  change?.(socket);
  yield* socket.sendTo(new Uint8Array([byte]), { hostname: GROUP, port: PORT });
}

test("each host that has joined receives a multicast, from the address of its sender", () => {
  const seen = simulate(function* (world) {
    const seen = members(world, [{ name: "a" }, { name: "b" }, { name: "c", joins: false }]);
    yield* sleep(10);
    const sender = world.host("sender", () => send(1));
    yield* sender;
    yield* sleep(2000);
    return [...seen].map(([name, received]) => [name, received, sender.address]);
  });
  const address = "10.0.0.5";
  expect(seen).toEqual([
    ["a", [`1 from ${address}`], address],
    ["b", [`1 from ${address}`], address],
    ["c", [], address],
  ]);
});

test("a member of one source receives nothing from others", () => {
  const seen = simulate(function* (world) {
    const all = [
      { name: "a", source: "10.0.0.4" },
      { name: "b", source: "10.0.0.9" },
    ];
    const seen = members(world, all);
    yield* sleep(10);
    yield* world.host("sender", () => send(2));
    yield* sleep(2000);
    return Object.fromEntries(seen);
  });
  expect(seen).toEqual({ a: ["2 from 10.0.0.4"], b: [] });
});

test("a multicast is lost per link: partitions, and hosts that are down, concern only themselves", () => {
  const seen = simulate({ seed: 1 }, function* (world) {
    const seen = members(world, [{ name: "a" }, { name: "b" }, { name: "c" }]);
    const sender = world.host("sender", function* () {
      yield* sleep(100);
      yield* send(1);
      yield* sleep(100);
      yield* send(2);
    });
    yield* sleep(50);
    world.partition("a", "sender");
    world.link("b", "sender", { duplication: 1 });
    yield* sleep(100);
    world.heal();
    world.link("c", "sender", { loss: 1 });
    yield* sender;
    yield* sleep(2000);
    return [...seen.values()].map((received) => received.map((text) => text[0]).join(""));
  });
  expect(seen).toEqual(["2", "1122", "1"]);
});

test("the sender's host receives a copy unless it turns that off, and nothing leaves it with a TTL of 0", () => {
  const seen = simulate(function* (world) {
    const seen = members(world, [{ name: "other" }]);
    const own = world.host("sender", function* () {
      using member = UdpSocket.bind({ hostname: "0.0.0.0", port: PORT });
      member.joinMulticast(GROUP);
      yield* sleep(10);
      yield* send(1);
      yield* send(2, ({ options }) => {
        options.multicastLoop = false;
      });
      yield* send(3, ({ options }) => {
        options.multicastTtl = 0;
      });
      // By loopback it is a different interface, on which nobody has joined.
      yield* send(4, (socket) => socket.setMulticastInterface("lo"));
      const received: number[] = [];
      const buffer = new Uint8Array(8);
      while ((yield* orUndefined(100, member.recvFrom(buffer))) !== undefined) {
        received.push(buffer[0]!);
      }
      member.leaveMulticast(GROUP);
      yield* send(5);
      const late = yield* orUndefined(100, member.recvFrom(buffer));
      return [...received, late === undefined ? "left" : "still a member"];
    });
    const received = yield* own;
    yield* sleep(2000);
    const there = seen.get("other")!.map((text) => Number(text[0]));
    return { here: received, there: there.toSorted() };
  });
  expect(seen).toEqual({ here: [1, 3, "left"], there: [1, 2, 5] });
});

test("IPv6 multicast is refused by name, and so is an interface that the host does not have", () => {
  simulate(function* () {
    using socket = UdpSocket.bind("[::]:0");
    const refused = caught(() => socket.joinMulticast("ff02::1"));
    expect(refused).toBeInstanceOf(SimulationError);
    expect((refused as Error).message).toContain("IPv6 multicast");
    using other = UdpSocket.bind("0.0.0.0:0");
    expect(() => other.joinMulticast(GROUP, { interface: "eth1" })).toThrow("ENODEV eth1");
    expect(() => other.joinMulticast(GROUP, { interface: "eth0" })).not.toThrow();
    yield* sleep(1);
  });
});
