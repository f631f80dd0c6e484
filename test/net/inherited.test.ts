// Sockets from fds: fromFd, release, inheritedSockets, and notify.

import { expect, setDefaultTimeout, test } from "bun:test";
import {
  AsyncFd,
  CanSocket,
  inheritedSockets,
  Netlink,
  notify,
  OwnedFd,
  pipe,
  RawSocket,
  Runtime,
  type Socket,
  TcpListener,
  TcpStream,
  UdpSocket,
  UnixDatagram,
  UnixListener,
  UnixSeqpacket,
  UnixSeqpacketListener,
  UnixStream,
  VsockListener,
  VsockStream,
} from "../../src/index.ts";
import { linux } from "../../src/sys/index.ts";
import { caught } from "../support/caught.ts";
import { FaultSys } from "../support/fault-sys.ts";
import { newFds, openFds } from "../support/fds.ts";
import { run } from "../support/program.ts";
import { rawPair } from "../support/sockets.ts";

const [F_GETFD, F_SETFD, F_GETFL, F_SETFL] = [1, 2, 3, 4];
const [FD_CLOEXEC, O_RDWR, O_NONBLOCK, ENOMEM] = [1, 2, 0x800, 12];

setDefaultTimeout(60_000); // a slow machine must not fail the test

/** Opens one socket of each class that every Linux has. */
const makers: Readonly<Record<string, () => Socket>> = {
  Netlink: () => Netlink.open(),
  TcpListener: () => TcpListener.bind("127.0.0.1:0"),
  TcpStream: () => {
    const [ours, theirs] = rawPair();
    const stream = TcpStream.fromFd(ours);
    linux().close(theirs);
    return stream;
  },
  UdpSocket: () => UdpSocket.bind("[::1]:0"),
  UnixDatagram: () => UnixDatagram.bind(""),
  UnixListener: () => UnixListener.bind(""),
  UnixSeqpacket: () => {
    const [ours, theirs] = UnixSeqpacket.pair();
    theirs.close();
    return ours;
  },
  UnixSeqpacketListener: () => UnixSeqpacketListener.bind(""),
  UnixStream: () => {
    const [ours, theirs] = UnixStream.pair();
    theirs.close();
    return ours;
  },
};
const classes: Readonly<Record<string, { fromFd(fd: number | OwnedFd): Socket }>> = {
  ...{ CanSocket, Netlink, TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener },
  ...{ UnixSeqpacket, UnixSeqpacketListener, UnixStream, VsockListener, VsockStream },
};
/** RawSocket takes over every kind but the listening and the unix ones. */
const isRaw = (made: string): boolean => ["Netlink", "TcpStream", "UdpSocket"].includes(made);

test.each([...Object.keys(classes), "RawSocket"])(
  "%s.fromFd takes over its own kind, and no other",
  (name) => {
    const of = name === "RawSocket" ? RawSocket : classes[name]!;
    const before = openFds();
    for (const [made, make] of Object.entries(makers)) {
      const owned = new OwnedFd(make().release());
      if (name === "RawSocket" ? isRaw(made) : made === name) {
        const socket = of.fromFd(owned);
        expect(owned.isOpen).toBe(false);
        socket.close();
      } else {
        expect(caught(() => of.fromFd(owned))).toMatchObject({
          code: "ERR_INVALID_ARG_TYPE",
          message: expect.stringContaining(`${name}.fromFd: fd must be a socket of family`),
        });
        expect(owned.isOpen).toBe(true); // still the caller's
        owned.close();
      }
    }
    const ends = pipe();
    expect(() => of.fromFd(ends.reader.fd)).toThrow("getsockopt ENOTSOCK");
    expect(() => of.fromFd("3" as never)).toThrow(`${name}.fromFd: fd must be an fd`);
    expect(() => of.fromFd(ends.reader as never)).toThrow("fd must be a number or an OwnedFd");
    ends.reader.close();
    ends.writer.close();
    expect(newFds(before)).toEqual([]);
  },
);

/** SO_TYPE, SO_ACCEPTCONN, SO_PROTOCOL, SO_DOMAIN of SOL_SOCKET. */
const [SO_TYPE, SO_ACCEPTCONN, SO_PROTOCOL, SO_DOMAIN] = [3, 30, 38, 39];

/** A kernel that says of every socket that it is of one kind. For families that this machine may lack. */
function disguise(domain: number, type: number, protocol: number, isListening: boolean): FaultSys {
  const kind = new Map([
    [SO_DOMAIN, domain],
    [SO_TYPE, type],
    [SO_PROTOCOL, protocol],
    [SO_ACCEPTCONN, Number(isListening)],
  ]);
  return new FaultSys().on("getsockopt", (_real, _fd, _level, option) => kind.get(option) ?? null);
}

test.each([
  ["CanSocket", 29, 3, 1, false],
  ["VsockListener", 40, 1, 0, true],
  ["VsockStream", 40, 1, 0, false],
  ["TcpStream", 10, 1, 262, false], // Multipath TCP
] as const)(
  "%s.fromFd takes over what the kernel says is its own",
  (name, domain, type, protocol, isListening) => {
    const owned = new OwnedFd(makers[name === "TcpStream" ? name : "UnixStream"]!().release());
    using runtime = new Runtime({ sys: disguise(domain, type, protocol, isListening).sys });
    runtime.blockOn(function* () {
      const before = openFds();
      const socket = classes[name]!.fromFd(owned);
      expect(owned.isOpen).toBe(false);
      socket.close();
      for (const other of Object.keys(classes)) {
        if (other === name) continue;
        using kept = new OwnedFd(makers.UnixStream!().release());
        expect(() => classes[other]!.fromFd(kept)).toThrow(`${other}.fromFd: fd must be`);
        expect(kept.isOpen).toBe(true);
      }
      expect(newFds(before)).toEqual([]);
    });
  },
);

test("VsockListener.fromFd takes over a listener of the real kernel", () => {
  let listener: VsockListener;
  try {
    listener = VsockListener.bind();
  } catch (error) {
    console.log(`skipped: ${(error as Error).message}`);
    expect(caught(() => VsockListener.bind())).toMatchObject({ code: "EAFNOSUPPORT" });
    return;
  }
  const { localAddress } = listener;
  using owned = new OwnedFd(listener.release());
  expect(() => VsockStream.fromFd(owned)).toThrow(
    "got family vsock, type stream, protocol 0, listening",
  );
  using again = VsockListener.fromFd(owned);
  expect(again.localAddress).toEqual(localAddress);
});

test.each([
  ["UdpSocket", 2, 2, 1, "family ipv4, type datagram, protocol 1, not listening"], // ICMP
  ["TcpStream", 2, 1, 132, "family ipv4, type stream, protocol 132, not listening"], // SCTP
  ["CanSocket", 29, 2, 2, "family can, type datagram, protocol 2, not listening"], // CAN_BCM
  ["RawSocket", 1, 1, 0, "family unix, type stream, protocol 0, not listening"],
] as const)(
  "%s.fromFd refuses another protocol, and says what it got",
  (name, domain, type, protocol, text) => {
    const of = name === "RawSocket" ? RawSocket : classes[name]!;
    using runtime = new Runtime({ sys: disguise(domain, type, protocol, false).sys });
    runtime.blockOn(function* () {
      using kept = new OwnedFd(makers.UnixStream!().release());
      expect(() => of.fromFd(kept)).toThrow(`; got ${text}`);
      expect(kept.isOpen).toBe(true);
    });
  },
);

test("fromFd makes a socket close-on-exec and non-blocking, and keeps nothing if it cannot", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  runtime.blockOn(function* () {
    const fd = UdpSocket.bind("127.0.0.1:0").release();
    linux().fcntl(fd, F_SETFL, O_RDWR);
    linux().fcntl(fd, F_SETFD, 0);
    using owned = new OwnedFd(fd);
    let fails = 3;
    faults.on("fcntl", () => (--fails > 0 ? null : -ENOMEM)); // the third call
    expect(() => RawSocket.fromFd(owned)).toThrow("fcntl ENOMEM");
    expect(owned.isOpen).toBe(true);
    faults.heal("fcntl");
    using socket = RawSocket.fromFd(owned);
    expect(socket.fd).toBe(fd);
    expect(linux().fcntl(fd, F_GETFD, 0)).toBe(FD_CLOEXEC);
    expect(linux().fcntl(fd, F_GETFL, 0) & O_NONBLOCK).toBe(O_NONBLOCK);
  });
});

test("TcpStream.fromFd refuses a socket without a peer, which the caller still owns", () => {
  const before = openFds();
  using owned = new OwnedFd(RawSocket.open(2, 1).release()); // AF_INET, SOCK_STREAM
  expect(() => TcpStream.fromFd(owned)).toThrow("getpeername ENOTCONN");
  expect(owned.isOpen).toBe(true);
  owned.close();
  expect(newFds(before)).toEqual([]);
});

test("an adopted RawSocket knows whether it is a byte stream, and an adopted Netlink receives", () => {
  using runtime = new Runtime();
  using listener = TcpListener.bind("127.0.0.1:0");
  runtime.blockOn(function* () {
    const client = yield* TcpStream.connect(listener.localAddress);
    using server = yield* listener.accept();
    using socket = RawSocket.fromFd(client.release());
    yield* server.writeAll("hello");
    const buffer = new Uint8Array(2); // of a datagram, the rest would be lost
    for (const bytes of [2, 2, 1]) {
      expect(yield* socket.recv(buffer)).toMatchObject({ bytes, isTruncated: false });
    }
    using netlink = Netlink.fromFd(Netlink.open().release());
    const payload = new Uint8Array(16);
    yield* netlink.send({ type: 18, flags: 0x301, payload }); // RTM_GETLINK, NLM_F_REQUEST and NLM_F_DUMP
    expect((yield* netlink.recv())[0]!.type).toBe(16); // RTM_NEWLINK: the loopback device
  });
});

test("a released listener keeps its backlog, and works in its next owner, also from a blocking fd", () => {
  using runtime = new Runtime();
  const first = TcpListener.bind("127.0.0.1:0");
  const { localAddress } = first;
  runtime.blockOn(function* () {
    using client = yield* TcpStream.connect(localAddress);
    const fd = first.release();
    expect(() => first.release()).toThrow("is closed");
    linux().fcntl(fd, 4, 2); // F_SETFL: O_RDWR, so blocking
    using second = TcpListener.fromFd(fd);
    expect(second.localAddress).toEqual(localAddress);
    using served = yield* second.accept();
    expect(served.remoteAddress).toEqual(client.localAddress);
    const copy = TcpStream.fromFd(client.release());
    expect(copy.remoteAddress).toEqual(localAddress);
    copy.close();
  });
});

/** Runs a program with fds 3 and 4 open as sockets, by the protocol of socket activation. */
async function activate(program: string, env: string, before = ""): Promise<unknown> {
  const code = `
import os, socket, sys
a = socket.create_server(("127.0.0.1", 0)); b = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for at, s in ((3, a), (4, b)):
    os.dup2(s.detach() if s.fileno() == at else s.fileno(), at)
    os.set_inheritable(at, True)
${before}
os.environ.update(LISTEN_PID=str(os.getpid()), ${env})
os.execvp("bun", ["bun", "-e", sys.argv[1]])`;
  const { code: exit, output } = await run(["python3", "-c", code, program]);
  expect({ exit, output }).toEqual({ exit: 0, output: expect.stringMatching(/^[[{]/) });
  return JSON.parse(output);
}

test("inheritedSockets returns what was passed, close-on-exec, once", async () => {
  const program = `
    import { inheritedSockets, TcpListener, UnixDatagram } from "./src/index.ts";
    const found = inheritedSockets();
    using listener = TcpListener.fromFd(found[0].fd);
    using datagrams = UnixDatagram.fromFd(found[1].fd);
    console.log(JSON.stringify({
      kinds: found.map(({ name, family, type, isListening }) => [name, family, type, isListening]),
      fds: [listener.fd, datagrams.fd],
      inherited: Bun.spawnSync(["sh", "-c", "ls /proc/self/fd; echo $LISTEN_FDS$LISTEN_PID"]).stdout.toString().split("\\n").filter((n) => n === "3" || n === "4" || n.length > 3),
      again: inheritedSockets().length,
    }));`;
  expect(await activate(program, 'LISTEN_FDS="2", LISTEN_FDNAMES="http:"')).toEqual({
    kinds: [
      ["http", "ipv4", "stream", true],
      ["unknown", "unix", "datagram", false],
    ],
    fds: [3, 4],
    inherited: expect.not.arrayContaining(["4"]), // 3 is the listing itself
    again: 0,
  });
});

test("inheritedSockets names an fd that is not a socket, and loses none of the others", async () => {
  const program = `
    import { inheritedSockets } from "./src/index.ts";
    const errors = [];
    for (let call = 0; call < 2; call++) {
      try { inheritedSockets(); } catch ({ code, message }) { errors.push([code, message]); }
    }
    process.env.LISTEN_FDS = "1";
    console.log(JSON.stringify({ errors, family: inheritedSockets()[0].family }));`;
  expect(await activate(program, 'LISTEN_FDS="3"', 'os.dup2(os.open("/dev/null", 0), 5)')).toEqual({
    errors: Array(2).fill(["ENOTSOCK", "getsockopt ENOTSOCK: fd 5"]),
    family: "ipv4",
  });
});

test("sockets that were passed to another process are not ours", () => {
  const saved = { ...process.env };
  Object.assign(process.env, { LISTEN_PID: String(process.pid + 1), LISTEN_FDS: "1" });
  expect(inheritedSockets()).toEqual([]);
  Object.assign(process.env, { LISTEN_PID: String(process.pid), LISTEN_FDS: "many" });
  expect(inheritedSockets()).toEqual([]);
  for (const name of ["LISTEN_PID", "LISTEN_FDS"]) delete process.env[name];
  expect(inheritedSockets()).toEqual([]);
  Object.assign(process.env, saved);
});

test("notify sends what the service manager expects", () => {
  using runtime = new Runtime();
  using manager = UnixDatagram.bind("");
  const buffer = new Uint8Array(1024);
  expect(notify({ ready: true })).toBe(false); // NOTIFY_SOCKET is not set
  process.env.NOTIFY_SOCKET = manager.localAddress.replace("\0", "@");
  try {
    const sent = (options: Parameters<typeof notify>[0]): string => {
      expect(notify(options)).toBe(true);
      return runtime.blockOn(function* () {
        const { bytes } = yield* manager.recv(buffer);
        return new TextDecoder().decode(buffer.subarray(0, bytes));
      });
    };
    expect(sent({ ready: true, status: "up: 100%" })).toBe("READY=1\nSTATUS=up: 100%");
    expect(sent({ stopping: true, watchdog: true })).toBe("STOPPING=1\nWATCHDOG=1");
    const [, micros] = /^RELOADING=1\nMONOTONIC_USEC=(\d+)$/.exec(sent({ reloading: true })) ?? [];
    const before = Number(micros);
    expect(before).toBeGreaterThan(0);
    expect(linux().monotonicMicros()).toBeGreaterThanOrEqual(before);
    expect(() => notify({ status: "two\nlines" })).toThrow("notify: status must be a string");
    expect(() => notify({ ready: 1 as never })).toThrow("notify: ready must be a boolean; got 1");
    process.env.NOTIFY_SOCKET = "@guillotine-nobody";
    expect(() => notify({ ready: true })).toThrow("sendto ECONNREFUSED @guillotine-nobody");
  } finally {
    delete process.env.NOTIFY_SOCKET;
  }
});

test("an OwnedFd closes once, and not after release", () => {
  const before = openFds();
  const ends = pipe();
  const owned = new OwnedFd(ends.reader.release());
  using again = new AsyncFd(owned.release());
  owned.close();
  expect(() => owned.fd).toThrow("the fd was closed or released");
  expect(again.fd).toBeGreaterThan(0);
  using closing = new OwnedFd(ends.writer.release());
  closing.close();
  closing.close();
  expect(() => new OwnedFd(999_999)).toThrow("fcntl EBADF");
  expect(() => new OwnedFd(ends.reader as never)).toThrow("OwnedFd: fd must be an fd");
  expect(() => new OwnedFd(2 ** 32 + ends.reader.fd)).toThrow("OwnedFd: fd must be an fd");
  again.close();
  expect(newFds(before)).toEqual([]);
});
