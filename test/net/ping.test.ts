// ping(): against the real kernel in a network namespace that allows it, and against a fake one.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { type PingReply, ping, Runtime, type SysError, TimeoutError } from "../../src/index.ts";
import { EACCES, EAGAIN, EHOSTUNREACH, ENOMEM, EPERM } from "../../src/sys/index.ts";
import { caught } from "../support/caught.ts";
import { FaultSys } from "../support/fault-sys.ts";
import { newFds, openFds } from "../support/fds.ts";
import { run } from "../support/program.ts";

const [EMSGSIZE, EAFNOSUPPORT] = [90, 97];

setDefaultTimeout(60_000); // a slow machine must not fail the test

/** The kernel allows ICMP datagram sockets to no group by default. In a namespace of its own, a test may change that. */
const allow = 'ip link set lo up; echo "0 0" > /proc/sys/net/ipv4/ping_group_range';
const namespace = (script: string): string[] => [
  ...["unshare", "-rn", "sh", "-ec"],
  `${allow}; ${script}`,
];
const { success: canPing, stderr } = Bun.spawnSync(namespace("true"));
if (!canPing) {
  console.log(`skipped: no network namespace that allows pings: ${stderr.toString().trim()}`);
}

describe("in a network namespace", () => {
  test.skipIf(!canPing)(
    "hosts reply over both families, and an error names its cause",
    async () => {
      const script = "bun run test/support/programs/ping.ts 127.0.0.1 ::1 localhost 192.0.2.1";
      const { output } = await run(namespace(script));
      expect(output.split("\n")).toEqual([
        "127.0.0.1 ttl 64, 56 bytes, some time",
        "::1 ttl 64, 56 bytes, some time",
        expect.stringMatching(/^(127\.0\.0\.1|::1) ttl 64, 56 bytes, some time$/),
        "192.0.2.1: sendmsg ENETUNREACH 192.0.2.1: no route to the address; see `ip route`, or ping the other `family` of the host",
        "",
      ]);
    },
  );

  const hasPing = canPing && Bun.which("ping") !== null;
  if (!hasPing) console.log("skipped: ping(8) is not installed");

  test.skipIf(!hasPing)("ping(8) sees the same TTL and the same length", async () => {
    const { output } = await run(
      namespace("ping -n -c 1 127.0.0.1; bun run test/support/programs/ping.ts 127.0.0.1"),
    );
    const [, bytes, ttl] = /(\d+) bytes from 127\.0\.0\.1: icmp_seq=1 ttl=(\d+)/.exec(output) ?? [];
    expect(output).toContain(`127.0.0.1 ttl ${ttl}, ${Number(bytes) - 8} bytes, some time\n`);
  });

  test.skipIf(!canPing)("a host that a router cannot reach fails at once", async () => {
    // The kernel itself is the router: it reports that the address does not answer ARP.
    const { output } = await run(
      namespace(
        "ip link add a type veth peer name b 2> /dev/null || { echo skipped: no veth; exit; }; " +
          "ip address add 192.0.2.2/24 dev a; ip link set a up; ip link set b up; " +
          "bun run test/support/programs/ping.ts 192.0.2.1",
      ),
    );
    if (output.startsWith("skipped")) console.log(output.trim());
    else expect(output).toStartWith("192.0.2.1: recvmsg EHOSTUNREACH 192.0.2.1: a router cannot");
  });
});

/** A kernel that allows pings, and answers with `answers`: bytes, or a negative errno. */
function fake(...answers: readonly (((request: Uint8Array) => Uint8Array) | number)[]): FaultSys {
  const rest = [...answers];
  let request = new Uint8Array();
  return new FaultSys()
    .on("socket", (real, domain, type) => real(domain, type)) // UDP
    .on("sendmsg", (_real, _fd, message) => {
      request = message.data.slice();
      return request.length;
    })
    .on("recvmsg", (_real, _fd, message) => {
      const answer = rest.shift() ?? -EAGAIN;
      if (typeof answer === "number") return answer;
      const bytes = answer(request);
      message.data.set(bytes.subarray(0, message.data.length));
      message.addControl(0, 2, new Uint8Array([61, 0, 0, 0])); // IP_TTL
      return bytes.length;
    });
}

/** The reply to an echo request. */
function reply(request: Uint8Array): Uint8Array {
  const bytes = request.slice();
  bytes[0] = 0;
  return bytes;
}

describe("with a fake kernel", () => {
  const work = (options = {}) => ping("127.0.0.1", { timeoutMs: 5, ...options });

  test("other packets than the reply to this request are skipped", () => {
    const other = (request: Uint8Array): Uint8Array => {
      const bytes = reply(request);
      bytes[7] = bytes[7]! ^ 1; // the sequence number
      return bytes;
    };
    const kernel = fake(
      other,
      () => new Uint8Array(4),
      (request) => request,
      reply,
    );
    using runtime = new Runtime({ sys: kernel.sys });
    const answer: PingReply = runtime.blockOn(work({ dataBytes: 3, timeoutMs: 60_000 }));
    expect(answer).toEqual({
      address: "127.0.0.1",
      ttl: 61,
      dataBytes: 3,
      rttMs: expect.any(Number),
    });
    expect(kernel.count("recvmsg")).toBe(4);
  });

  test("without a reply it throws a TimeoutError, and closes its socket", () => {
    const kernel = fake();
    using runtime = new Runtime({ sys: kernel.sys });
    caught(() => runtime.blockOn(work())); // the fds of the runtime exist now
    const before = openFds();
    expect(caught(() => runtime.blockOn(work()))).toBeInstanceOf(TimeoutError);
    expect(newFds(before)).toEqual([]);
    expect(kernel.count("close")).toBe(2); // one per ping
  });

  test("an error of a router ends it, and names the host, its address and what to do", () => {
    using runtime = new Runtime({ sys: fake(-EHOSTUNREACH).sys });
    const error = caught(() => runtime.blockOn(ping("localhost", { family: 4 }))) as SysError;
    expect(error).toMatchObject({ code: "EHOSTUNREACH", syscall: "recvmsg", address: "127.0.0.1" });
    expect(error.message).toBe(
      "recvmsg EHOSTUNREACH 127.0.0.1: host localhost; a router cannot reach the host, or the ttl ended on the way; see traceroute(8)",
    );
  });

  test.each([
    ["sendmsg", -EPERM, "sendmsg EPERM 127.0.0.1: a firewall of this machine forbids it"],
    ["sendmsg", -EMSGSIZE, "sendmsg EMSGSIZE 127.0.0.1"],
    ["setsockopt", -ENOMEM, "setsockopt ENOMEM 127.0.0.1"],
    ["socket", -EAFNOSUPPORT, "socket EAFNOSUPPORT 127.0.0.1: the system lacks the family"],
  ] as const)(
    "a failing %s closes the socket and throws an error with the address",
    (syscall, errno, text) => {
      const kernel = fake(reply);
      using runtime = new Runtime({ sys: kernel.sys });
      runtime.blockOn(work()); // the fds of the runtime exist now
      const before = openFds();
      kernel.fail(syscall, errno);
      const error = caught(() => runtime.blockOn(work())) as SysError;
      expect(error.message).toStartWith(text);
      expect(error.address).toBe("127.0.0.1");
      expect(newFds(before)).toEqual([]);
      expect(kernel.count("close")).toBe(syscall === "socket" ? 1 : 2); // of each ping that had a socket
    },
  );
});

test("where the system does not allow it, the error names the sysctl", () => {
  using runtime = new Runtime({ sys: new FaultSys().fail("socket", -EACCES).sys });
  const error = caught(() => runtime.blockOn(ping("::1"))) as SysError;
  expect(error.code).toBe("EACCES");
  expect(error.message).toBe(
    "socket EACCES ::1: the group of this process must be in the range of the sysctl net.ipv4.ping_group_range; " +
      "to allow every group: sysctl -w 'net.ipv4.ping_group_range=0 2147483647'",
  );
});

test("invalid arguments are errors that name them", () => {
  const junk = (value: unknown): never => value as never;
  expect(() => ping(junk(1))).toThrow("ping: host must be a string; got 1");
  expect(() => ping("a", junk(1))).toThrow("ping: options must be an object; got 1");
  expect(() => ping("a", { timeoutMs: -1 })).toThrow("ping: timeoutMs must be a number >= 0");
  expect(() => ping("a", { dataBytes: 65_001 })).toThrow("integer from 0 to 65000; got 65001");
  expect(() => ping("a", { ttl: 0 })).toThrow("ping: ttl must be an integer from 1 to 255; got 0");
  expect(() => ping("a", { family: junk(5) })).toThrow("ping: family must be 4, 6 or undefined");
});
