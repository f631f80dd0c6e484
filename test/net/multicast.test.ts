// Multicast over the loopback interface: groups, sources, and the options of the sender.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { networkInterfaces } from "node:os";
import { orUndefined, Runtime, UdpSocket } from "../../src/index.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

/** lo has no route for IPv6 multicast. So IPv6 uses another interface, with a hop limit of 0: nothing leaves the machine. */
const linkLocal = Object.entries(networkInterfaces())
  .flatMap(([name, addresses]) => (addresses ?? []).map(({ address }) => ({ name, address })))
  .find(({ address }) => address.startsWith("fe80:"));
if (linkLocal === undefined) {
  console.log("skipped: this machine has no link-local IPv6 address, so no IPv6 multicast");
}

describe.each([
  ["239.1.2.3", "0.0.0.0", "127.0.0.1", "lo"],
  ["ff02::1234", "::", linkLocal?.address ?? "::1", linkLocal?.name ?? "lo"],
])("the group %s", (group, any, local, device) => {
  const isUnreachable = group.includes(":") && linkLocal === undefined;
  const scoped = (ip: string): string => (ip.includes(":") ? `${ip}%${device}` : ip);
  const open = (port = 0): UdpSocket => UdpSocket.bind({ hostname: any, port, reuseAddress: true });
  const to = (port: number) => ({ hostname: scoped(group), port });

  test.skipIf(isUnreachable)("is received by each member, until it leaves", () => {
    using runtime = new Runtime();
    using a = open();
    const { port } = a.localAddress;
    using b = open(port);
    using sender = open();
    sender.setMulticastInterface(device);
    sender.options.multicastTtl = 0;
    const buffer = new Uint8Array(8);
    runtime.blockOn(function* () {
      for (const member of [a, b]) member.joinMulticast(group, { interface: device });
      yield* sender.sendTo(new Uint8Array(3), to(port));
      for (const member of [a, b]) expect((yield* member.recvFrom(buffer)).bytes).toBe(3);
      b.leaveMulticast(group, { interface: device });
      yield* sender.sendTo(new Uint8Array(4), to(port));
      expect((yield* a.recvFrom(buffer)).bytes).toBe(4);
      expect(yield* orUndefined(5, b.recvFrom(buffer))).toBeUndefined();
    });
    expect(() => b.leaveMulticast(group, { interface: device })).toThrow("EADDRNOTAVAIL");
    expect(() => a.joinMulticast(group, { interface: device })).toThrow(`EADDRINUSE ${group}`);
  });

  test("has a TTL and a loop option, which are read back", () => {
    using sender = open();
    sender.options.multicastLoop = false;
    expect(sender.options.multicastLoop).toBe(false);
    sender.options.multicastTtl = 7;
    expect(sender.options.multicastTtl).toBe(7);
  });

  test.skipIf(isUnreachable)("is received from one source only, if the membership names it", () => {
    using runtime = new Runtime();
    using member = open();
    const other = group.includes(":") ? "fe80::9" : "127.0.0.9";
    using sender = UdpSocket.bind({ hostname: scoped(local), port: 0 });
    sender.setMulticastInterface(device);
    sender.options.multicastTtl = 0;
    const { port } = member.localAddress;
    runtime.blockOn(function* () {
      member.joinMulticast(group, { interface: device, source: other });
      yield* sender.sendTo(new Uint8Array(3), to(port));
      expect(yield* orUndefined(5, member.recvFrom(new Uint8Array(8)))).toBeUndefined();
      member.leaveMulticast(group, { interface: device, source: other });
      member.joinMulticast(group, { interface: device, source: local });
      yield* sender.sendTo(new Uint8Array(4), to(port));
      expect((yield* member.recvFrom(new Uint8Array(8))).bytes).toBe(4);
    });
  });

  test("must be a literal of the family of the socket, on an interface that exists", () => {
    using socket = open();
    const wrong = group.includes(":") ? "239.1.2.3" : "ff02::1";
    expect(() => socket.joinMulticast(wrong)).toThrow("joinMulticast: group must be an IPv");
    expect(() => socket.joinMulticast("example.org")).toThrow('got "example.org"');
    expect(() => socket.joinMulticast(group, { source: wrong })).toThrow("source must be an IPv");
    expect(() => socket.joinMulticast(group, { interface: "nosuch0" })).toThrow(
      "if_nametoindex ENODEV nosuch0",
    );
    expect(() => socket.joinMulticast(group, { interface: 1 as never })).toThrow(
      "interface must be",
    );
    expect(() => socket.setMulticastInterface("")).toThrow(
      "setMulticastInterface: interface must be",
    );
    expect(() => socket.joinMulticast(local, { interface: device })).toThrow("EINVAL");
  });
});
