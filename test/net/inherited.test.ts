// Sockets from fds: fromFd, release, inheritedSockets, and notify.

import { expect, setDefaultTimeout, test } from "bun:test";
import {
  AsyncFd,
  inheritedSockets,
  notify,
  OwnedFd,
  pipe,
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
} from "../../src/index.ts";
import { linux } from "../../src/sys/index.ts";
import { newFds, openFds } from "../support/fds.ts";
import { run } from "../support/program.ts";
import { rawPair } from "../support/sockets.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

/** Opens one socket of each class. */
const makers: Readonly<Record<string, () => Socket>> = {
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
  ...{ TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixSeqpacket },
  ...{ UnixSeqpacketListener, UnixStream },
};

test.each(Object.keys(classes))("%s.fromFd takes over its own kind, and no other", (name) => {
  const before = openFds();
  for (const [made, make] of Object.entries(makers)) {
    const owned = new OwnedFd(make().release());
    if (made === name) {
      const socket = classes[name]!.fromFd(owned);
      expect(owned.isOpen).toBe(false);
      socket.close();
    } else {
      expect(() => classes[name]!.fromFd(owned)).toThrow(`${name}.fromFd: fd must be`);
      expect(owned.isOpen).toBe(true); // still the caller's
      owned.close();
    }
  }
  const ends = pipe();
  expect(() => classes[name]!.fromFd(ends.reader.fd)).toThrow("getsockopt ENOTSOCK");
  expect(() => classes[name]!.fromFd("3" as never)).toThrow(`${name}.fromFd: fd must be an fd`);
  ends.reader.close();
  ends.writer.close();
  expect(newFds(before)).toEqual([]);
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
async function activate(program: string, env: string): Promise<unknown> {
  const code = `
import os, socket, sys
a = socket.create_server(("127.0.0.1", 0)); b = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for at, s in ((3, a), (4, b)):
    os.dup2(s.detach() if s.fileno() == at else s.fileno(), at)
    os.set_inheritable(at, True)
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
  again.close();
  expect(newFds(before)).toEqual([]);
});
