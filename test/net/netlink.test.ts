// Netlink: its messages as bytes, and the kernel at the other end.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { networkInterfaces } from "node:os";
import fc from "fast-check";
import {
  encodeNetlinkPayload,
  MessageTooLongError,
  Netlink,
  type NetlinkAttribute,
  type NetlinkMessage,
  parseNetlinkAttributes,
  parseNetlinkMessages,
  Runtime,
  type SysError,
} from "../../src/index.ts";
import { EINTR, ENOBUFS } from "../../src/sys/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { FaultSys } from "../support/fault-sys.ts";
import { openFds } from "../support/fds.ts";
import { run, start } from "../support/program.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const [RTM_GETLINK, RTM_NEWADDR, RTM_NEWLINK, NLM_F_DUMP] = [18, 20, 16, 0x300];
const IFLA_IFNAME = 3;

const message = fc.record({
  type: fc.nat(0xffff),
  flags: fc.nat(0xffff),
  sequence: fc.nat(0xffff_ffff),
  payload: fc.uint8Array({ maxLength: 40 }),
});

/** The bytes of messages, written without the code under test. */
function bytesOf(messages: readonly NetlinkMessage[]): Uint8Array {
  const pieces = messages.map(({ type, flags, sequence, payload }) => {
    const header = Buffer.alloc(16);
    header.writeUInt32LE(16 + payload.length, 0);
    header.writeUInt16LE(type, 4);
    header.writeUInt16LE(flags, 6);
    header.writeUInt32LE(sequence, 8);
    return Buffer.concat([header, payload, Buffer.alloc(-payload.length & 3)]);
  });
  return new Uint8Array(Buffer.concat(pieces));
}

const attribute: fc.Arbitrary<NetlinkAttribute> = fc.record({
  type: fc.nat(0x3fff),
  data: fc.uint8Array({ maxLength: 40 }),
});

describe("parsing", () => {
  test("messages are what their bytes say, and truncated bytes hold the complete ones", () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 4 }), (messages) => {
        const bytes = bytesOf(messages);
        expect(parseNetlinkMessages(bytes)).toEqual(messages);
        for (let length = 0; length < bytes.length; length++) {
          const parsed = parseNetlinkMessages(bytes.subarray(0, length));
          // The padding behind the last message may be missing.
          const complete = messages.filter((_, index) => {
            const before = bytesOf(messages.slice(0, index)).length;
            return before + 16 + messages[index]!.payload.length <= length;
          });
          expect(parsed).toEqual(complete);
        }
      }),
    );
  });

  test("attributes are what their bytes say, and truncated bytes hold the complete ones", () => {
    fc.assert(
      fc.property(fc.array(attribute, { maxLength: 4 }), (attributes) => {
        const bytes = encodeNetlinkPayload(new Uint8Array(), attributes);
        expect(parseNetlinkAttributes(bytes)).toEqual(attributes);
        for (let length = 0; length < bytes.length; length++) {
          const parsed = parseNetlinkAttributes(bytes.subarray(0, length));
          expect(attributes.slice(0, parsed.length)).toEqual(parsed);
          const next = attributes[parsed.length];
          if (next === undefined) continue; // only padding is missing
          const end = encodeNetlinkPayload(new Uint8Array(), parsed).length + 4 + next.data.length;
          expect(end).toBeGreaterThan(length);
        }
      }),
    );
  });

  test("random bytes at any offset parse to views inside them, and never throw", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(8), (random, offset) => {
        const bytes = new Uint8Array(offset + random.length).subarray(offset);
        bytes.set(random);
        const views = [
          ...parseNetlinkMessages(bytes).map(({ payload }) => payload),
          ...parseNetlinkAttributes(bytes).map(({ data }) => data),
        ];
        for (const { byteOffset, length } of views) {
          expect(byteOffset).toBeGreaterThanOrEqual(offset);
          expect(byteOffset + length).toBeLessThanOrEqual(offset + bytes.length);
        }
      }),
    );
  });

  test("the flags of an attribute's type are removed", () => {
    const bytes = encodeNetlinkPayload(new Uint8Array(3), [
      { type: 0xc005, data: new Uint8Array(1) },
    ]);
    expect(bytes).toHaveLength(12);
    expect(parseNetlinkAttributes(bytes.subarray(4))).toEqual([
      { type: 5, data: new Uint8Array(1) },
    ]);
  });
});

const nameOf = ({ payload }: NetlinkMessage): string => {
  const name = parseNetlinkAttributes(payload.subarray(16)).find(
    ({ type }) => type === IFLA_IFNAME,
  );
  return new TextDecoder().decode(name?.data).replace("\0", "");
};

const everyLink = { type: RTM_GETLINK, flags: NLM_F_DUMP, payload: new Uint8Array(16) };

describe("requests", () => {
  test("a dump returns all links", () => {
    using runtime = new Runtime();
    const links = runtime.blockOn(Netlink.request(everyLink));
    const names = links.map(nameOf);
    expect(names).toContain("lo");
    for (const name of Object.keys(networkInterfaces())) expect(names).toContain(name);
    for (const { type } of links) expect(type).toBe(RTM_NEWLINK);
  });

  test("a request of one object returns it, and an error has the kernel's explanation", () => {
    using runtime = new Runtime();
    const get = (name: string, header = new Uint8Array(16)) => {
      const data = new TextEncoder().encode(`${name}\0`);
      const payload = encodeNetlinkPayload(header, [{ type: IFLA_IFNAME, data }]);
      return Netlink.request({ type: RTM_GETLINK, payload });
    };
    const before = openFds();
    expect(runtime.blockOn(get("lo")).map(nameOf)).toEqual(["lo"]);
    expect(() => runtime.blockOn(get("nosuch0"))).toThrow("netlink ENODEV");
    const tooLong = caught(() => runtime.blockOn(get("a-name-that-is-too-long-for-a-device")));
    expect(tooLong).toMatchObject({ code: "ERANGE", syscall: "netlink" });
    expect((tooLong as SysError).message).toMatch(/^netlink ERANGE: .*attribute/i);
    expect(openFds()).toEqual(before);
  });

  test("messages with another sequence number are not part of the answer", () => {
    let isFirst = true;
    const kernel = new FaultSys().on("recvmsg", (_real, _fd, received) => {
      if (!isFirst) return null;
      isFirst = false;
      const other = { type: RTM_NEWLINK, flags: 0, sequence: 99, payload: new Uint8Array(16) };
      const bytes = bytesOf([other]);
      received.data.set(bytes);
      received.address.encodeBytes(new Uint8Array(12));
      return bytes.length;
    });
    using runtime = new Runtime({ sys: kernel.sys });
    const links = runtime.blockOn(Netlink.request(everyLink));
    expect(links.every(({ sequence }) => sequence === 1)).toBe(true);
    expect(links.map(nameOf)).toContain("lo");
  });
});

describe("notifications", () => {
  const hasNamespaces = Bun.spawnSync(["unshare", "-rn", "ip", "link"]).success;
  if (!hasNamespaces) console.log("skipped: this process may not create a network namespace");

  test.skipIf(!hasNamespaces)("the example sees what `ip monitor` sees", async () => {
    await using program = start(["unshare", "-rn", "bun", "run", "examples/netlink.ts"]);
    await program.until(/device 1 lo: down\n[\s\S]*watching\n/);
    const inside = ["nsenter", "-t", String(program.pid), "-U", "-n", "--preserve-credentials"];
    await using monitor = start([...inside, "ip", "-o", "monitor", "link", "address"]);
    const ip = async (...args: string[]): Promise<void> => {
      expect(await run([...inside, "ip", ...args])).toEqual({ code: 0, output: "" });
    };
    // ip monitor says nothing before its first event: so repeat one until it does.
    let isReady = false;
    void monitor.until(/\S/).then(() => {
      isReady = true;
    });
    while (!isReady) {
      await ip("address", "add", "10.0.0.1/32", "dev", "lo");
      await ip("address", "del", "10.0.0.1/32", "dev", "lo");
    }
    await ip("link", "set", "lo", "up");
    await ip("address", "add", "10.9.8.7/24", "dev", "lo");
    await ip("address", "add", "2001:db8::7/64", "dev", "lo", "nodad");
    await ip("address", "del", "10.9.8.7/24", "dev", "lo");
    // The kernel reports an IPv6 address from a work queue, perhaps after a later IPv4 address.
    await program.until(/address 2001:db8::7\/64 on lo\n/);
    await program.until(/address 10\.9\.8\.7\/24 on lo: removed\n/);
    await monitor.until(/Deleted.* 10\.9\.8\.7\/24/);
    for (const line of [
      "device 1 lo: up\n",
      "address 127.0.0.1/8 on lo\n",
      "address 10.9.8.7/24 on lo\n",
      "address 2001:db8::7/64 on lo\n",
    ]) {
      expect(program.output()).toContain(line);
    }
    const added = (text: string): string[] =>
      [...text.matchAll(/^(?!Deleted).*?inet6? (\S+)/gm)].map(([, address = ""]) => address);
    const seen = [...program.output().matchAll(/^address (\S+) on lo$/gm)].map(
      ([, address = ""]) => address,
    );
    for (const address of added(monitor.output())) expect(seen).toContain(address);
    process.kill(program.pid, "SIGINT");
    expect(await program.exited).toBe(0);
  });

  test("a request that a socket sends is answered to that socket", () => {
    using runtime = new Runtime();
    using netlink = Netlink.open();
    runtime.blockOn(function* () {
      yield* netlink.send({ ...everyLink, flags: NLM_F_DUMP | 1 });
      expect((yield* netlink.recv()).map(nameOf)).toContain("lo");
    });
  });

  test("datagrams of other processes are skipped", () => {
    let datagrams = 0;
    const kernel = new FaultSys().on("recvmsg", (_real, _fd, received) => {
      const port = datagrams++ === 0 ? 4711 : 0;
      const sent = { type: RTM_NEWADDR, flags: 0, sequence: port, payload: new Uint8Array(8) };
      const bytes = bytesOf([sent]);
      received.data.set(bytes);
      const from = new Uint8Array(12);
      new DataView(from.buffer).setUint32(4, port, true);
      received.address.encodeBytes(from);
      return bytes.length;
    });
    using faked = new Runtime({ sys: kernel.sys });
    faked.blockOn(function* () {
      using socket = Netlink.open();
      expect((yield* socket.recv()).map(({ sequence }) => sequence)).toEqual([0]);
      expect(datagrams).toBe(2);
    });
  });

  test("lost notifications are ENOBUFS, and a datagram that is too long is an error", () => {
    const kernel = new FaultSys();
    using runtime = new Runtime({ sys: kernel.sys });
    runtime.blockOn(function* () {
      using netlink = Netlink.open();
      kernel.fail("recvmsg", -EINTR, -ENOBUFS);
      expect(yield* failureOf(netlink.recv())).toMatchObject({ code: "ENOBUFS" });
      kernel.on("recvmsg", (_real, _fd, { address }) => {
        address.encodeBytes(new Uint8Array(12));
        return 65_537;
      });
      const error = yield* failureOf<MessageTooLongError>(netlink.recv());
      expect(error).toBeInstanceOf(MessageTooLongError);
      expect(error.maxBytes).toBe(65_536);
    });
  });
});

test("open closes its socket if it cannot bind or join, and names what is missing", () => {
  const before = openFds();
  expect(() => Netlink.open({ groups: [4096] })).toThrow("setsockopt EINVAL");
  expect(() => Netlink.open({ protocol: 31 })).toThrow(
    "socket EPROTONOSUPPORT: the family has no such type or protocol",
  );
  expect(openFds()).toEqual(before);
});

test("invalid arguments are errors that name them", () => {
  const junk = (value: unknown): never => value as never;
  const one = { type: 1 };
  for (const [call, text] of [
    [() => Netlink.open(junk(1)), "Netlink.open: options must be an object; got 1"],
    [() => Netlink.open({ protocol: 0.5 }), "Netlink.open: protocol must be a 32-bit integer"],
    [() => Netlink.open({ groups: junk(1) }), "Netlink.open: groups must be an array; got 1"],
    [() => Netlink.open({ groups: junk(["1"]) }), "Netlink.open: each group must be a 32-bit"],
    [() => Netlink.request(junk(null)), "Netlink.request: message must be an object; got null"],
    [() => Netlink.request({ type: 65_536 }), "type of the message must be an integer from 0"],
    [() => Netlink.request({ ...one, flags: -1 }), "Netlink.request: flags of the message"],
    [() => Netlink.request({ ...one, payload: junk([]) }), "payload of the message must be a Uint"],
    [() => parseNetlinkMessages(junk("x")), 'bytes must be a Uint8Array; got "x"'],
    [() => parseNetlinkAttributes(junk([])), "parseNetlinkAttributes: bytes must be"],
    [() => encodeNetlinkPayload(junk(1)), "encodeNetlinkPayload: header must be a Uint8Array"],
    [() => encodeNetlinkPayload(new Uint8Array(), junk(1)), "attributes must be an array"],
    [
      () => encodeNetlinkPayload(new Uint8Array(), [{ type: 1, data: new Uint8Array(65_532) }]),
      "data of an attribute must be at most 65531 bytes; got 65532",
    ],
  ] as const) {
    expect((caught(call) as Error).message).toContain(text);
  }
});
