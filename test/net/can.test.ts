// CanSocket. Few machines have CAN in their kernel, so the tests run on a fake one: a pair of unix sockets is the bus, and
// what reaches the kernel is checked byte by byte.

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { CanSocket, ClosedError, Runtime, type SysError } from "../../src/index.ts";
import { ECONNRESET, linux } from "../../src/sys/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { FaultSys } from "../support/fault-sys.ts";
import { openFds } from "../support/fds.ts";
import { untilIdle } from "../support/idle.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const [AF_CAN, AF_UNIX, SOCK_DGRAM, SOCK_RAW, CAN_RAW] = [29, 1, 2, 3, 1];

/** A bus with one socket; `peer` is the fd of the other node. */
interface Bus extends Disposable {
  readonly kernel: FaultSys;
  readonly peer: number;
  /** The options and the address that the socket passed to the kernel. */
  readonly settings: unknown[];
}

function openBus(): Bus {
  const ends = new Int32Array(2);
  expect(linux().socketpair(AF_UNIX, SOCK_DGRAM, ends)).toBe(0);
  const settings: unknown[] = [];
  const kernel = new FaultSys();
  kernel.on("socket", (_real, ...args) => {
    expect(args).toEqual([AF_CAN, SOCK_RAW, CAN_RAW]);
    return ends[0]!;
  });
  kernel.on("interfaceIndex", (_real, name) => {
    settings.push(name);
    return 5;
  });
  kernel.on("bind", (_real, _fd, address) => {
    settings.push(address.toBytes());
    return 0;
  });
  kernel.on("setsockopt", (_real, _fd, ...rest) => {
    settings.push(rest);
    return 0;
  });
  kernel.on("setsockoptBytes", (_real, _fd, level, option, value) => {
    settings.push([level, option, value.slice()]);
    return 0;
  });
  const peer = ends[1]!;
  return { kernel, peer, settings, [Symbol.dispose]: () => void linux().close(peer) };
}

/** A struct can_frame, written without the code under test. */
function bytesOf(word: number, data: Uint8Array, size = 16): Uint8Array<ArrayBuffer> {
  const bytes = Buffer.alloc(size);
  bytes.writeUInt32LE(word, 0);
  bytes[4] = data.length;
  bytes.set(data, 8);
  return new Uint8Array(bytes);
}

test("a socket binds to its device, with its options", () => {
  using bus = openBus();
  using runtime = new Runtime({ sys: bus.kernel.sys });
  runtime.blockOn(function* () {
    using can = CanSocket.open("can0", { isFd: true, filters: [{ id: 0x8000_0123, mask: 7 }] });
    can.setFilters([]);
    can.setErrors(["bus-off", "controller"]);
    can.setErrors([]);
    CanSocket.open("can0", { errors: "all" }).release(); // the same fd
    yield* untilIdle();
  });
  const address = new Uint8Array([29, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  expect(bus.settings).toEqual([
    [101, 5, 1],
    [101, 1, new Uint8Array([0x23, 1, 0, 0x80, 7, 0, 0, 0])],
    "can0",
    address,
    [101, 1, new Uint8Array()],
    [101, 2, 0x44],
    [101, 2, 0],
    [101, 2, 0x1fff_ffff],
    "can0",
    address,
  ]);
});

test("a frame reaches the bus byte by byte, and comes back as it was", () => {
  using bus = openBus();
  using runtime = new Runtime({ sys: bus.kernel.sys });
  const frame = fc.boolean().chain((isFd) =>
    fc.record({
      id: fc.nat(0x7ff),
      high: fc.nat(0x3ffff),
      data: fc.uint8Array({ maxLength: isFd ? 64 : 8 }),
      isExtended: fc.boolean(),
      isRemote: fc.boolean(),
      isFd: fc.constant(isFd),
    }),
  );
  runtime.blockOn(function* () {
    using can = CanSocket.open("can0");
    for (const { high, ...rest } of fc.sample(frame, 200)) {
      const id = rest.isExtended ? rest.id * 0x40000 + high : rest.id;
      const sent = { ...rest, id, error: null };
      const size = rest.isFd ? 72 : 16;
      const word = id + (rest.isExtended ? 2 ** 31 : 0) + (rest.isRemote ? 2 ** 30 : 0);
      expect(yield* can.send(sent)).toBe(size);
      const received = new Uint8Array(100);
      expect(linux().recv(bus.peer, received, 0)).toBe(size);
      expect(received.subarray(0, size)).toEqual(bytesOf(word, rest.data, size));
      linux().send(bus.peer, received, 0, size);
      expect(yield* can.recv()).toEqual(sent);
    }
  });
});

test("an identifier of more than 11 bits makes a frame extended, unless it must not be", () => {
  using bus = openBus();
  using runtime = new Runtime({ sys: bus.kernel.sys });
  runtime.blockOn(function* () {
    using can = CanSocket.open("");
    const received = new Uint8Array(16);
    for (const [id, word] of [
      [0x7ff, 0x7ff],
      [0x800, 0x8000_0800],
    ] as const) {
      yield* can.send({ id, data: new Uint8Array() });
      linux().recv(bus.peer, received, 0);
      expect(received).toEqual(bytesOf(word, new Uint8Array()));
    }
    expect(() => can.send({ id: 0x800, data: new Uint8Array(), isExtended: false })).toThrow(
      "frame.id of a frame that is not extended must be an integer from 0 to 0x7ff; got 2048",
    );
  });
});

/** Each with the identifier, the eight bytes and what they mean, by linux/can/error.h. */
const errorFrames = [
  [0x40, "0000000000000000", { classes: ["bus-off"] }],
  [0x2, "0d00000000000000", { classes: ["lost-arbitration"], lostArbitrationBit: 13 }],
  [0x2, "0000000000000000", { classes: ["lost-arbitration"] }],
  [
    0x204,
    "002c000000006580",
    {
      classes: ["controller", "counters"],
      controller: ["receive-warning", "transmit-warning", "transmit-passive"],
      transmitErrors: 0x65,
      receiveErrors: 0x80,
    },
  ],
  [
    0xa8,
    "0000990a00000000",
    {
      classes: ["protocol", "no-acknowledgment", "bus-error"],
      protocol: ["single-bit", "dominant-bit", "recessive-bit", "transmission"],
      protocolLocation: 10,
    },
  ],
  [
    0x111,
    "0000000070000000",
    { classes: ["transmit-timeout", "transceiver", "restarted"], transceiver: 0x70 },
  ],
  // Bytes of classes that the frame does not have say nothing; a class of a newer kernel has no name.
  [0x1000_0000, "ffffffffffffffff", { classes: [] }],
] as const;
const NOTHING = {
  lostArbitrationBit: null,
  controller: [],
  protocol: [],
  protocolLocation: null,
  transceiver: null,
  transmitErrors: null,
  receiveErrors: null,
};

test("an error frame says what went wrong", () => {
  using bus = openBus();
  using runtime = new Runtime({ sys: bus.kernel.sys });
  runtime.blockOn(function* () {
    using can = CanSocket.open("can0", { errors: "all" });
    for (const [id, hex, report] of errorFrames) {
      const data = Uint8Array.from(Buffer.from(hex, "hex"));
      linux().send(bus.peer, bytesOf(0x2000_0000 + id, data), 0);
      expect(yield* can.recv()).toEqual({
        id,
        data,
        isExtended: false,
        isRemote: false,
        isFd: false,
        error: { ...NOTHING, ...report } as never,
      });
    }
    // One whose length lies: what is missing is unspecified.
    const short = bytesOf(0x2000_0202, new Uint8Array([5]));
    linux().send(bus.peer, short, 0);
    expect((yield* can.recv()).error).toMatchObject({ lostArbitrationBit: 5, transmitErrors: 0 });
  });
});

test("frames of an unknown kind are skipped, and a length that lies stays within the frame", () => {
  using bus = openBus();
  using runtime = new Runtime({ sys: bus.kernel.sys });
  runtime.blockOn(function* () {
    using can = CanSocket.open("can0");
    linux().send(bus.peer, new Uint8Array(2060), 0); // struct canxl_frame
    linux().send(bus.peer, new Uint8Array(3), 0);
    const lying = bytesOf(1, new Uint8Array(8).fill(7));
    lying[4] = 200;
    linux().send(bus.peer, lying, 0);
    expect((yield* can.recv()).data).toEqual(new Uint8Array(8).fill(7));
  });
});

test("a dropped receive leaves the frame, an error names the call, and a close ends the waits", () => {
  using bus = openBus();
  using runtime = new Runtime({ sys: bus.kernel.sys });
  runtime.blockOn(function* () {
    using can = CanSocket.open("can0");
    const dropped = runtime.spawn(can.recv());
    yield* untilIdle();
    dropped.abort();
    linux().send(bus.peer, bytesOf(3, new Uint8Array(1)), 0);
    expect((yield* can.recv()).id).toBe(3);
    bus.kernel.fail("recvmsg", -ECONNRESET);
    expect((yield* failureOf<SysError>(can.recv())).message).toBe("recvmsg ECONNRESET");
    const waiting = runtime.spawn(function* () {
      return yield* failureOf(can.recv());
    });
    yield* untilIdle();
    can.close();
    expect(yield* waiting).toBeInstanceOf(ClosedError);
  });
});

test("open closes its socket if the device does not exist, and names what is missing", () => {
  const before = openFds();
  let code = "";
  try {
    CanSocket.open("nosuch0").close();
  } catch (error) {
    ({ code } = error as SysError);
    const hint = "the kernel lacks CAN; load its module can_raw";
    if (code === "EAFNOSUPPORT") expect((error as Error).message).toBe(`socket ${code}: ${hint}`);
  }
  expect(["ENODEV", "EAFNOSUPPORT"]).toContain(code);
  expect(openFds()).toEqual(before);
});

test("invalid arguments are errors that name them", () => {
  using bus = openBus();
  using runtime = new Runtime({ sys: bus.kernel.sys });
  runtime.blockOn(function* () {
    using can = CanSocket.open("can0");
    const junk = (value: unknown): never => value as never;
    const data = new Uint8Array(1);
    for (const [call, text] of [
      [() => CanSocket.open(junk(1)), "CanSocket.open: device must be a name"],
      [() => CanSocket.open("a", junk(1)), "CanSocket.open: options must be an object; got 1"],
      [() => CanSocket.open("a", { isFd: junk(1) }), "CanSocket.open: isFd must be a boolean"],
      [() => CanSocket.open("a", { filters: junk(1) }), "CanSocket.open: filters must be an array"],
      [() => CanSocket.open("a", { errors: junk(1) }), 'errors must be "all" or an array of'],
      [() => can.setErrors([junk("toString")]), "must contain only transmit-timeout, lost-arb"],
      [() => can.setFilters([junk({ id: 1 })]), "setFilters: mask of a filter must be a number"],
      [() => can.send(junk(1)), "send: frame must be an object; got 1"],
      [() => can.send({ id: 2 ** 29, data }), "frame.id must be an integer from 0 to 0x1fffffff"],
      [() => can.send({ id: 1, data: junk("x") }), "send: frame.data must be a Uint8Array"],
      [() => can.send({ id: 1, data: new Uint8Array(9) }), "must be at most 8 bytes; got 9"],
      [
        () => can.send({ id: 1, data, isRemote: junk(1) }),
        "send: frame.isRemote must be a boolean",
      ],
    ] as const) {
      expect((caught(call) as Error).message).toContain(text);
    }
    yield* untilIdle();
  });
});
