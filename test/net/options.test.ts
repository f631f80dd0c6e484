// Socket options: each is set, and read back from the kernel; before and after the bind; what a missing capability says.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import {
  type IpOptions,
  Runtime,
  type SocketOptions,
  TcpListener,
  TcpStream,
  UdpSocket,
  UnixListener,
  UnixStream,
} from "../../src/index.ts";
import { decodeTcpInfo, TcpOptions } from "../../src/net/tcp-options.ts";
import { EPERM, linux } from "../../src/sys/index.ts";
import { caught } from "../support/caught.ts";
import { FaultSys } from "../support/fault-sys.ts";
import { newFds, openFds } from "../support/fds.ts";
import { run } from "../support/program.ts";
import { streamAndPeer, streamPair } from "../support/sockets.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

/** An option, a value to set, and what the kernel then returns, if that is another value. */
type Row = readonly [name: string, value: unknown, read?: unknown];

const SOCKET: readonly Row[] = [
  ["sendBufferBytes", 20_000, 40_000],
  ["receiveBufferBytes", 20_000, 40_000],
  ["reuseAddress", true],
  ["reusePort", true],
  ["priority", 5],
  ["device", "lo"],
];
const IP: readonly Row[] = [
  ["ttl", 17],
  ["trafficClass", 0x48],
  ["freebind", true],
];
const TCP: readonly Row[] = [
  ["noDelay", true],
  ["quickAck", false],
  ["cork", true],
  ["maxSegmentBytes", 1000],
  ["userTimeoutMs", 12_345],
  ["fastOpenConnect", true],
  ["lingerMs", 3000],
  ["lingerMs", 0],
  ["lingerMs", 1, 1000],
  ["lingerMs", null],
  ["keepAlive", { idleMs: 7000, intervalMs: 3000, count: 4 }],
  ["keepAlive", null],
];

const get = (options: object, name: string): unknown => Reflect.get(options, name);

function checkRows(options: SocketOptions, rows: readonly Row[]): void {
  for (const [name, value, read = value] of rows) {
    Reflect.set(options, name, value);
    expect({ [name]: get(options, name) }).toEqual({ [name]: read });
  }
}

describe.each(["127.0.0.1", "::1"])("at %s", (hostname) => {
  test("every option of a TCP listener is set before the bind and read back", () => {
    // Setting the device of a socket that has one needs a capability, so `device` comes once.
    const rows = [...SOCKET, ...IP, ...TCP.filter(([name]) => !["quickAck"].includes(name))];
    for (const [name, value, read = value] of [...rows, ["fastOpen", 5] as const]) {
      using listener = TcpListener.bind({ hostname, port: 0, options: { [name]: value } });
      const got = get(listener.options, name);
      // The segment size of a listener is 536 until there is a route.
      if (name !== "maxSegmentBytes") expect({ [name]: got }).toEqual({ [name]: read });
    }
  });

  test("every option of a connected stream is set and read back", () => {
    using runtime = new Runtime();
    using listener = TcpListener.bind({ hostname, port: 0 });
    for (const row of [...SOCKET, ...IP, ...TCP]) {
      if (["maxSegmentBytes", "fastOpenConnect", "reusePort"].includes(row[0])) continue; // before the connect only
      using stream = runtime.blockOn(TcpStream.connect(listener.localAddress));
      checkRows(stream.options, [row]);
    }
    const options = { receiveBufferBytes: 30_000, ttl: 9, noDelay: true, fastOpenConnect: false };
    using stream = runtime.blockOn(TcpStream.connect(listener.localAddress, { options }));
    expect(stream.options).toMatchObject({ receiveBufferBytes: 60_000, ttl: 9, noDelay: true });
  });

  test("every option of a UDP socket is set and read back", () => {
    using socket = UdpSocket.bind({ hostname, port: 0 });
    checkRows(socket.options, [...SOCKET, ...IP, ["broadcast", true]]);
    using bound = UdpSocket.bind({ hostname, port: 0, options: { ttl: 3, reuseAddress: true } });
    expect([bound.options.ttl, bound.options.reuseAddress]).toEqual([3, true]);
  });
});

test("v6Only must be set before the bind, and decides whether an IPv6 listener accepts IPv4", () => {
  using runtime = new Runtime();
  for (const v6Only of [true, false]) {
    using listener = TcpListener.bind({ hostname: "::", port: 0, options: { v6Only } });
    expect(listener.options.v6Only).toBe(v6Only);
    const { port } = listener.localAddress;
    const connect = () => runtime.blockOn(TcpStream.connect(`127.0.0.1:${port}`)).close();
    if (v6Only) expect(connect).toThrow("ECONNREFUSED");
    else connect();
    expect(() => {
      listener.options.v6Only = !v6Only;
    }).toThrow("setsockopt EINVAL: v6Only");
  }
});

test("freebind allows an address that this machine does not have", () => {
  expect(() => TcpListener.bind("192.0.2.250:0")).toThrow("EADDRNOTAVAIL");
  using listener = TcpListener.bind({
    hostname: "192.0.2.250",
    port: 0,
    options: { freebind: true },
  });
  expect(listener.localAddress.hostname).toBe("192.0.2.250");
});

test("accepted connections inherit noDelay of their listener", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    using listener = TcpListener.bind("127.0.0.1:0");
    for (const isOn of [true, false]) {
      listener.setNoDelay(isOn);
      using _client = yield* TcpStream.connect(listener.localAddress);
      using stream = yield* listener.accept();
      expect(stream.options.noDelay).toBe(isOn);
    }
  });
});

test("lingerMs 0 makes close send a reset", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    const [a, b] = yield* streamPair();
    using _b = b;
    a.options.lingerMs = 0;
    a.close();
    let code = "";
    try {
      yield* b.read(new Uint8Array(1));
    } catch (error) {
      ({ code } = error as { code: string });
    }
    expect(code).toBe("ECONNRESET");
  });
});

test("info describes the connection", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    const [a, b] = yield* streamPair();
    using _a = a;
    using _b = b;
    yield* a.writeAll(new Uint8Array(5000));
    let read = 0;
    while (read < 5000) read += yield* b.read(new Uint8Array(8192));
    yield* b.writeAll("x");
    yield* a.read(new Uint8Array(1));
    const { info } = a.options;
    expect(info).toMatchObject({ state: "established", bytesSent: 5000, bytesReceived: 1 });
    expect(info.bytesAcked).toBeGreaterThanOrEqual(5000); // and the SYN
    expect(info.rttMs).toBeGreaterThan(0);
    expect(info.rttMs).toBeLessThan(10_000);
    expect(info.pathMtuBytes).toBeGreaterThan(1000);
    expect(info.congestionWindowSegments).toBeGreaterThan(0);
    b.close();
    yield* a.read(new Uint8Array(1));
    expect(a.options.info.state).toBe("close-wait");
  });
  using listener = TcpListener.bind("127.0.0.1:0");
  expect(listener.options.info.state).toBe("listen");
});

test("a struct tcp_info of any length is decoded; what is missing is 0", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const info = decodeTcpInfo(bytes);
      for (const value of Object.values(info))
        if (typeof value !== "string") expect(value).toBeGreaterThanOrEqual(0);
      if (bytes.length <= 68) expect(info.rttMs).toBe(0);
    }),
  );
});

test("setOption and getOption reach options that have no property, as ints and as bytes", () => {
  const { stream, peer } = streamAndPeer();
  using _stream = stream;
  using _peer = peer;
  stream.setOption(1, 13, new Uint8Array(new Int32Array([1, 2]).buffer)); // SO_LINGER
  expect(stream.options.lingerMs).toBe(2000);
  expect([...new Int32Array(stream.getOption(1, 13).slice().buffer)]).toEqual([1, 2]);
  stream.setOption(6, 1, true); // TCP_NODELAY
  expect(stream.getOption(6, 1)[0]).toBe(1);
  expect(Buffer.from(stream.getOption(6, 13)).toString()).toMatch(/^[a-z]+/); // TCP_CONGESTION
  expect(() => stream.setOption(1, 9999, 1)).toThrow("setsockopt ENOPROTOOPT");
  expect(() => stream.setOption(1.5, 1, 1)).toThrow("level must be a 32-bit integer; got 1.5");
  expect(() => stream.getOption(1, 1, 0)).toThrow(
    "getOption: maxBytes must hold at least one byte",
  );
});

test.each<[keyof IpOptions | "mark", unknown, string]>([
  ["mark", 7, "mark needs CAP_NET_ADMIN or CAP_NET_RAW"],
  ["transparent", true, "transparent needs CAP_NET_ADMIN or CAP_NET_RAW"],
  ["device", "lo", "device needs CAP_NET_RAW to change it"],
  ["priority", 7, "priority needs CAP_NET_ADMIN for a value above 6"],
])("without its capability, %s throws an error that names it", (name, value, message) => {
  const { sys } = new FaultSys().on("setsockopt", () => -EPERM).on("setsockoptBytes", () => -EPERM);
  const { stream, peer } = streamAndPeer(sys);
  using _stream = stream;
  using _peer = peer;
  expect(() => Reflect.set(stream.options, name, value)).toThrow(`setsockopt EPERM: ${message}`);
});

test("mark and transparent are set and read back where this process may", async () => {
  // In a user and network namespace of its own, a process has all capabilities.
  const program = `
    import { TcpListener } from "./src/index.ts";
    using listener = TcpListener.bind({ hostname: "127.0.0.1", port: 0, options: { mark: 0xfffffff0, transparent: true, priority: 7 } });
    const { mark, transparent, priority } = listener.options;
    console.log(mark, transparent, priority);`;
  if (!Bun.spawnSync(["unshare", "-rn", "true"]).success) {
    console.log("skipped: this process may not create a network namespace");
    return;
  }
  const script = `ip link set lo up; exec bun -e '${program}'`;
  expect(await run(["unshare", "-rn", "sh", "-ec", script])).toEqual({
    code: 0,
    output: "4294967280 true 7\n",
  });
});

test("a bad value is refused before the kernel sees it, and a bad option leaves no socket", () => {
  const before = openFds();
  const { stream, source, peer } = streamAndPeer();
  const options = new TcpOptions(source);
  for (const [name, value, message] of [
    ["ttl", 0, "ttl must be an integer from 1 to 255; got 0"],
    ["trafficClass", 256, "trafficClass must be an integer from 0 to 255; got 256"],
    ["noDelay", 1, "noDelay must be a boolean; got 1"],
    ["device", 1, "device must be a string; got 1"],
    ["lingerMs", -1, "lingerMs must be a number from 0 to 32767000; got -1"],
    ["sendBufferBytes", "1", 'sendBufferBytes must be a number; got "1"'],
    ["userTimeoutMs", 1.5, "userTimeoutMs must be an integer from 0 to 2147483647; got 1.5"],
  ] as const) {
    expect(() => Reflect.set(options, name, value)).toThrow(message);
  }
  stream.close();
  peer.close();
  const bind = (values: object) => () =>
    TcpListener.bind({ hostname: "127.0.0.1", port: 0, options: values });
  expect(bind({ noDelays: true })).toThrow(
    'address.options must name options of this socket; got "noDelays"',
  );
  expect(bind({ info: 1 })).toThrow('got "info"');
  expect(bind({ ttl: 0 })).toThrow("ttl must be");
  expect(bind(7 as never)).toThrow("address.options must be an object; got 7");
  expect(caught(() => options.noDelay)).toMatchObject({ code: "ERR_SOCKET_CLOSED" });
  expect(newFds(before).filter((target) => target.startsWith("socket:"))).toEqual([]);
});

test("unix sockets have the options of any socket, and TCP's fail with the name of the option", () => {
  const [a, b] = UnixStream.pair();
  using _a = a;
  using _b = b;
  checkRows(a.options, [["sendBufferBytes", 20_000, 40_000]]);
  using listener = UnixListener.bind("");
  expect(() => new TcpOptions(listener.source).noDelay).toThrow("getsockopt ENOTSUP: noDelay");
  expect(linux().getsockopt(listener.fd, 1, 30)).toBe(1); // SO_ACCEPTCONN
});
