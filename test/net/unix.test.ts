// Unix sockets: paths and their files, abstract names, credentials, passed fds, and other programs as peers.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  AsyncFd,
  ClosedError,
  PassedFdsError,
  pipe,
  Runtime,
  race,
  type SysError,
  serve,
  sleep,
  spawn,
  TimeoutError,
  UnixDatagram,
  UnixListener,
  UnixSeqpacket,
  UnixSeqpacketListener,
  UnixStream,
} from "../../src/index.ts";
import { EAGAIN, ECONNRESET, EINTR, F_GETFL, linux, MSG_CTRUNC } from "../../src/sys/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { FaultSys } from "../support/fault-sys.ts";
import { countFds, newFds, openFds } from "../support/fds.ts";
import { untilIdle } from "../support/idle.ts";
import { run, start } from "../support/program.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

/** A folder that is removed at the end of the block. */
function folder(): { path(name: string): string } & Disposable {
  const at = mkdtempSync(join(tmpdir(), "guillotine-unix-"));
  return {
    path: (name) => join(at, name),
    [Symbol.dispose]: () => rmSync(at, { recursive: true, force: true }),
  };
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (data: Uint8Array | null): string => new TextDecoder().decode(data ?? undefined);

/** A program that the tests use as a peer; they are skipped without it. */
function has(program: string): boolean {
  const found = Bun.which(program) !== null;
  if (!found) console.log(`skipped: ${program} is not installed`);
  return found;
}

let lastName = 0;
/** An abstract name that no other test uses. */
const abstractName = (): string => `\0guillotine-test-${process.pid}-${++lastName}`;

describe("streams", () => {
  test("a stream over a path and one over an abstract name exchange bytes and end", () => {
    using files = folder();
    using runtime = new Runtime();
    for (const address of [files.path("a.sock"), abstractName()]) {
      using listener = UnixListener.bind(address);
      expect(listener.localAddress).toBe(address);
      runtime.blockOn(function* () {
        using client = yield* UnixStream.connect(address);
        using server = yield* listener.accept();
        expect(client.remoteAddress).toBe(address);
        expect([client.localAddress, server.remoteAddress]).toEqual(["", ""]);
        yield* client.writeAll("grüße");
        expect(text(yield* server.readChunk())).toBe("grüße");
        yield* server.writev(["a", bytes("b")]);
        client.shutdown();
        expect(yield* server.read(new Uint8Array(8))).toBe(0);
        expect(text(yield* client.readChunk())).toBe("ab");
      });
    }
  });

  test("autobind chooses an abstract name", () => {
    using runtime = new Runtime();
    using listener = UnixListener.bind("");
    expect(listener.localAddress).toMatch(/^\0[0-9a-f]{5}$/);
    using stream = runtime.blockOn(UnixStream.connect(listener.localAddress));
    expect(stream.remoteAddress).toBe(listener.localAddress);
  });

  test("peek leaves the data, and tryRead and tryWrite never wait", () => {
    using runtime = new Runtime();
    const [a, b] = UnixStream.pair();
    using _a = a;
    using _b = b;
    const buffer = new Uint8Array(8);
    expect(b.tryRead(buffer)).toBeNull();
    expect(a.tryWrite(bytes("hello"))).toBe(5);
    expect(runtime.blockOn(b.peek(buffer))).toBe(5);
    expect(runtime.blockOn(b.peek(buffer.subarray(0, 2)))).toBe(2);
    expect(b.tryRead(buffer)).toBe(5);
    expect(b.tryRead(buffer)).toBeNull();
    const waiting = runtime.spawn(b.read(buffer));
    untilIdle(runtime);
    a.tryWrite(bytes("x")); // after tryRead has cleared the readiness, the edge still comes
    expect(runtime.blockOn(waiting)).toBe(1);
    const large = new Uint8Array(1 << 20);
    while (a.tryWrite(large) !== null);
    const writing = runtime.spawn(a.write(bytes("y")));
    untilIdle(runtime);
    expect(writing.isFinished).toBe(false);
    while (b.tryRead(large) !== null);
    expect(runtime.blockOn(writing)).toBe(1);
    b.close();
    expect(() => b.tryRead(buffer)).toThrow(ClosedError);
    expect(() => a.tryWrite(bytes("x"))).toThrow("send EPIPE");
  });

  test("20 MB through a pair arrive unchanged while both directions are busy", () => {
    using runtime = new Runtime();
    const [a, b] = UnixStream.pair();
    const data = crypto.getRandomValues(new Uint8Array(65536));
    const copy = (stream: UnixStream) =>
      spawn(function* () {
        for (let round = 0; round < 160; round++) yield* stream.writeAll(data);
        stream.shutdown();
      });
    const hash = function* (stream: UnixStream) {
      const hasher = new Bun.CryptoHasher("sha256");
      for (;;) {
        const chunk = yield* stream.readChunk();
        if (chunk === null) return hasher.digest("hex");
        hasher.update(chunk);
      }
    };
    const expected = new Bun.CryptoHasher("sha256");
    for (let round = 0; round < 160; round++) expected.update(data);
    const hashes = runtime.blockOn(function* () {
      const writers = [copy(a), copy(b)];
      const readers = [spawn(() => hash(a)), spawn(() => hash(b))];
      for (const writer of writers) yield* writer;
      return [yield* readers[0]!, yield* readers[1]!];
    });
    expect(hashes).toEqual(new Array(2).fill(expected.digest("hex")));
    a.close();
    b.close();
  });

  test("a connect waits while the backlog is full, and goes on when there is room", () => {
    using runtime = new Runtime();
    using listener = UnixListener.bind({ path: abstractName(), backlog: 1 });
    const path = listener.localAddress;
    const clients: UnixStream[] = [];
    runtime.blockOn(function* () {
      for (;;) {
        const next = yield* race(UnixStream.connect(path), sleep(1));
        if (next === undefined) break;
        clients.push(next);
      }
      const waiting = spawn(UnixStream.connect(path));
      const late = yield* failureOf(UnixStream.connect(path, { timeoutMs: 1 }));
      expect(late).toBeInstanceOf(TimeoutError);
      expect(waiting.isFinished).toBe(false);
      for (const _ of clients) (yield* listener.accept()).close();
      (yield* waiting).close();
    });
    for (const client of clients) client.close();
  });

  test("the credentials and the pidfd of the peer are those of its process", () => {
    using runtime = new Runtime();
    const [a, b] = UnixStream.pair();
    using _a = a;
    using _b = b;
    const { uid, gid } = { uid: process.getuid?.(), gid: process.getgid?.() };
    expect(a.peerCredentials()).toEqual({ pid: process.pid, uid: uid ?? -1, gid: gid ?? -1 });
    let pidfd: ReturnType<UnixStream["peerPidfd"]>;
    try {
      pidfd = a.peerPidfd();
    } catch (error) {
      expect((error as SysError).message).toContain("SO_PEERPIDFD needs Linux 6.5");
      console.log("skipped: this kernel has no SO_PEERPIDFD");
      return;
    }
    using _pidfd = pidfd;
    expect(openFds().get(pidfd.fd)).toContain("pidfd");
    expect(readFileSync(`/proc/self/fdinfo/${pidfd.fd}`, "utf8")).toContain(`Pid:\t${process.pid}`);
    runtime.blockOn(function* () {
      using watched = new AsyncFd(pidfd.release());
      expect(yield* race(watched.readable(), sleep(1))).toBeUndefined();
    });
  });
});

test("the error of a pidfd that cannot be opened does not blame the kernel's version", () => {
  using runtime = new Runtime({ sys: new FaultSys().fail("getsockopt", -24).sys }); // EMFILE
  runtime.blockOn(function* () {
    const [a, b] = UnixStream.pair();
    using _a = a;
    using _b = b;
    expect(() => a.peerPidfd()).toThrow(/^getsockopt EMFILE$/);
    yield* untilIdle();
  });
});

describe("the file of a socket", () => {
  test("is removed by close, but not if another socket has replaced it", () => {
    using files = folder();
    const path = files.path("a.sock");
    const first = UnixListener.bind(path);
    expect(statSync(path).isSocket()).toBe(true);
    first.close();
    first.close();
    expect(existsSync(path)).toBe(false);
    const second = UnixListener.bind(path);
    renameSync(path, files.path("moved.sock"));
    using third = UnixListener.bind(path);
    second.close();
    expect(existsSync(path)).toBe(true);
    expect(third.localAddress).toBe(path);
    const datagrams = UnixDatagram.bind(files.path("b.sock"));
    datagrams.close();
    expect(existsSync(files.path("b.sock"))).toBe(false);
  });

  test("is removed by close also if the path was relative and the process has changed its directory", () => {
    using files = folder();
    const directory = process.cwd();
    try {
      process.chdir(files.path("."));
      const listener = UnixListener.bind("a.sock");
      process.chdir(directory);
      expect(existsSync(files.path("a.sock"))).toBe(true);
      listener.close();
      expect(existsSync(files.path("a.sock"))).toBe(false);
    } finally {
      process.chdir(directory);
    }
  });

  test("stays when a server releases its socket to another owner, and is then removed by nobody", () => {
    using files = folder();
    using runtime = new Runtime();
    const path = files.path("a.sock");
    runtime.blockOn(function* () {
      const [ours, theirs] = UnixStream.pair();
      using _ours = ours;
      using _theirs = theirs;
      const old = UnixListener.bind(path);
      const serving = runtime.spawn(serve(old, (stream) => stream.writeAll("old")));
      yield* untilIdle();
      yield* ours.send(new Uint8Array(1), { fds: [old] });
      using message = yield* theirs.recv(new Uint8Array(1));
      using next = UnixListener.fromFd(message.fds[0]!);
      linux().close(old.release());
      yield* serving; // a released listener stops its server, which closes it
      using client = yield* UnixStream.connect(path);
      using accepted = yield* next.accept();
      yield* accepted.writeAll("new");
      expect(yield* client.readChunk()).toEqual(bytes("new"));
      next.close();
      expect(existsSync(path)).toBe(true);
      const datagrams = UnixDatagram.bind(files.path("d.sock"));
      linux().close(datagrams.release());
      datagrams.close();
      expect(existsSync(files.path("d.sock"))).toBe(true);
    });
  });

  test("has the given permissions, whatever the umask", () => {
    using files = folder();
    const previous = process.umask(0o027);
    try {
      for (const mode of [0o600, 0o660, 0o777]) {
        using _ = UnixListener.bind({ path: files.path("a.sock"), mode });
        expect(statSync(files.path("a.sock")).mode & 0o777).toBe(mode);
      }
      using _ = UnixListener.bind(files.path("b.sock"));
      expect(statSync(files.path("b.sock")).mode & 0o777).toBe(0o750);
    } finally {
      process.umask(previous);
    }
  });

  test("that no process uses is replaced only on request", () => {
    using files = folder();
    const path = files.path("a.sock");
    const before = countFds("socket");
    {
      using stale = UnixListener.bind(path);
      renameSync(path, files.path("kept.sock"));
      stale.close();
      renameSync(files.path("kept.sock"), path);
    }
    expect(() => UnixListener.bind(path)).toThrow(
      `bind EADDRINUSE ${path}: a socket is there; if no process uses it, pass { replaceStale: true }`,
    );
    {
      using replaced = UnixListener.bind({ path, replaceStale: true });
      expect(() => UnixListener.bind({ path, replaceStale: true })).toThrow("EADDRINUSE");
      expect(() => UnixDatagram.bind({ path, replaceStale: true })).toThrow("EADDRINUSE");
      expect(replaced.localAddress).toBe(path);
    }
    writeFileSync(path, "not a socket");
    expect(() => UnixListener.bind({ path, replaceStale: true })).toThrow(
      "the name or the path is in use",
    );
    expect(readFileSync(path, "utf8")).toBe("not a socket");
    expect(countFds("socket")).toBe(before);
  });

  test("needs a directory, a short path and permission, and the errors say so", () => {
    using files = folder();
    expect(caught(() => UnixListener.bind(files.path("missing/a.sock")))).toMatchObject({
      code: "ENOENT",
      address: files.path("missing/a.sock"),
      message: expect.stringContaining("its directory does not exist"),
    });
    const long = "x".repeat(108);
    expect(() => UnixListener.bind(long)).toThrow("bind: path must be at most 107 bytes long");
    expect(() => UnixStream.connect("é".repeat(54))).toThrow("got 108 bytes");
    expect(() => UnixListener.bind("a\0b")).toThrow("must be a path without NUL characters");
    expect(() => UnixListener.bind({ path: "a", mode: 0o1000 })).toThrow("bind: mode must be");
    expect(() => UnixListener.bind(7 as never)).toThrow("bind: address must be an object; got 7");
    expect(() => UnixListener.bind({ path: "a", backlog: 0 })).toThrow("bind: backlog must be");
    if (process.getuid?.() === 0) {
      console.log("skipped: root may write to any directory");
      return;
    }
    chmodSync(files.path("."), 0o500);
    expect(() => UnixListener.bind(files.path("a.sock"))).toThrow("may not write to its directory");
  });

  test("a path of 107 bytes, and an abstract name of 108 with NUL bytes, come back whole", () => {
    using files = folder();
    const at = files.path("");
    const path = at + "x".repeat(107 - at.length);
    for (const address of [path, `${abstractName()}\0`.padEnd(108, "x")]) {
      using listener = UnixListener.bind(address);
      expect(listener.localAddress).toBe(address);
    }
  });

  test("that is missing, or that nobody listens on, fails a connect with its path", () => {
    using files = folder();
    using runtime = new Runtime();
    const path = files.path("none.sock");
    const before = countFds("socket");
    expect(caught(() => runtime.blockOn(UnixStream.connect(path)))).toMatchObject({
      code: "ENOENT",
      syscall: "connect",
      address: path,
      message: `connect ENOENT ${path}`,
    });
    expect(() => runtime.blockOn(UnixStream.connect("\0guillotine-none"))).toThrow(
      "connect ECONNREFUSED @guillotine-none",
    );
    expect(countFds("socket")).toBe(before);
  });
});

describe("passed fds", () => {
  const pairs = {
    stream: () => UnixStream.pair(),
    datagram: () => UnixDatagram.pair(),
    seqpacket: () => UnixSeqpacket.pair(),
  };

  test.each(Object.keys(pairs) as (keyof typeof pairs)[])(
    "a %s carries open files: close-on-exec, owned by the message, and released on request",
    (kind) => {
      using files = folder();
      using runtime = new Runtime();
      writeFileSync(files.path("a"), "first");
      writeFileSync(files.path("b"), "second");
      const [a, b] = pairs[kind]();
      using _a = a;
      using _b = b;
      const opened = [openSync(files.path("a"), "r"), openSync(files.path("b"), "r")];
      const before = countFds();
      runtime.blockOn(function* () {
        expect(yield* a.send(bytes("two"), { fds: opened })).toBe(3);
        let kept: number;
        {
          using message = yield* b.recv(new Uint8Array(64));
          expect(message).toMatchObject({ bytes: 3, isTruncated: false, address: "" });
          expect(message.fds).toHaveLength(2);
          const buffer = Buffer.alloc(16);
          expect(readSync(message.fds[1]!.fd, buffer)).toBe(6);
          for (const { fd } of message.fds) {
            expect(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8")).toMatch(/flags:\s+0?2\d+/); // O_CLOEXEC
          }
          kept = message.fds[0]!.release();
          expect(message.fds[0]!.isOpen).toBe(false);
          expect(() => message.fds[0]!.fd).toThrow(ClosedError);
        }
        expect(linux().fcntl(kept, F_GETFL, 0)).toBeGreaterThanOrEqual(0);
        closeSync(kept);
      });
      for (const fd of opened) expect(linux().fcntl(fd, F_GETFL, 0)).toBeGreaterThanOrEqual(0);
      runtime[Symbol.dispose]();
      expect(countFds()).toBeLessThanOrEqual(before);
      for (const fd of opened) closeSync(fd);
    },
  );

  test("a stream and an fd of this library can be sent, and used by the receiver", () => {
    using runtime = new Runtime();
    const [a, b] = UnixStream.pair();
    using _a = a;
    using _b = b;
    runtime.blockOn(function* () {
      const [reader, writer] = pipeEnds();
      yield* a.send(bytes("x"), { fds: [writer] });
      writer.close();
      using message = yield* b.recv(new Uint8Array(8));
      using received = new AsyncFd(message.fds[0]!.release());
      yield* received.writeAll("through the copy");
      expect(text(yield* reader.readChunk())).toBe("through the copy");
      received.close();
      expect(yield* reader.readChunk()).toBeNull();
      reader.close();
    });
  });

  test("a plain read drops the fds, and those that nobody receives are closed with the socket", () => {
    using runtime = new Runtime();
    const before = openFds();
    const [a, b] = UnixStream.pair();
    runtime.blockOn(function* () {
      const [reader, writer] = pipeEnds();
      for (let count = 0; count < 10; count++) yield* a.send(bytes("x"), { fds: [writer] });
      writer.close();
      expect(yield* b.read(new Uint8Array(1))).toBe(1);
      const reading = spawn(reader.readChunk());
      yield* untilIdle();
      expect(reading.isFinished).toBe(false); // the queue of b still holds copies of the writer
      b.close();
      expect(yield* reading).toBeNull();
      reader.close();
    });
    a.close();
    runtime[Symbol.dispose]();
    expect(newFds(before)).toEqual([]);
  });

  test("a receive that is dropped takes nothing, and one whose result is lost closes the fds", () => {
    using runtime = new Runtime();
    const [a, b] = UnixSeqpacket.pair();
    using _a = a;
    using _b = b;
    runtime.blockOn(function* () {
      const dropped = spawn(b.recv(new Uint8Array(8)));
      yield* untilIdle();
      dropped.abort();
      yield* untilIdle();
      yield* a.send(bytes("x"), { fds: [a] });
      const before = countFds();
      {
        using message = yield* b.recv(new Uint8Array(8));
        expect(message.fds).toHaveLength(1);
      }
      expect(countFds()).toBe(before);
      // Both are ready at once: the race returns the first, and gives the message back.
      yield* a.send(bytes("y"), { fds: [a] });
      expect(yield* race(readyNow(), b.recv(new Uint8Array(8)))).toBe("ready");
      const receiving = b.recv(new Uint8Array(8));
      yield* a.send(bytes("z"), { fds: [a, a] });
      using late = yield* receiving;
      expect(late.bytes).toBe(1);
      receiving.reclaim(late);
      expect(late.fds.every(({ isOpen }) => !isOpen)).toBe(true);
      expect(countFds()).toBe(before);
    });
  });

  test("more fds than maxFds, or than the process can open, are closed, and the receive throws", () => {
    const faults = new FaultSys();
    using runtime = new Runtime({ sys: faults.sys });
    runtime.blockOn(function* () {
      const [a, b] = UnixSeqpacket.pair();
      using _a = a;
      using _b = b;
      const before = countFds();
      yield* a.send(bytes("x"), { fds: [a, a, a] });
      const error = yield* failureOf<PassedFdsError>(b.recv(new Uint8Array(8), { maxFds: 2 }));
      expect(error).toBeInstanceOf(PassedFdsError);
      expect(error.message).toBe(
        "recv: a message came with fds, of which 3 arrived and were closed; maxFds is 2",
      );
      expect(countFds()).toBe(before);
      // What the kernel does without a free fd: it sets MSG_CTRUNC and installs those that fit.
      yield* a.send(bytes("y"), { fds: [a, a] });
      faults.on("recvmsg", (recvmsg, fd, message, flags) => {
        const count = recvmsg(fd, message, flags);
        message.flags |= MSG_CTRUNC;
        return count;
      });
      expect(yield* failureOf(b.recv(new Uint8Array(8)))).toMatchObject({
        code: "ERR_PASSED_FDS",
        message: expect.stringContaining("the process cannot open all of them"),
      });
      faults.heal("recvmsg");
      expect(countFds()).toBe(before);
      yield* a.send(bytes("z"));
      using message = yield* b.recv(new Uint8Array(8));
      expect(message.bytes).toBe(1);
    });
  });

  test("the fds go with the first byte of a send that was short", () => {
    using runtime = new Runtime();
    const [a, b] = UnixStream.pair();
    using _a = a;
    using _b = b;
    runtime.blockOn(function* () {
      const data = new Uint8Array(1 << 22);
      const sent = yield* a.send(data, { fds: [a] });
      expect(sent).toBeGreaterThan(0);
      expect(sent).toBeLessThan(data.length);
      using first = yield* b.recv(new Uint8Array(1));
      expect([first.bytes, first.fds.length]).toEqual([1, 1]);
      let total = 1;
      const buffer = new Uint8Array(1 << 16);
      while (total < sent) {
        using message = yield* b.recv(buffer);
        expect(message.fds).toHaveLength(0);
        total += message.bytes;
      }
      expect(total).toBe(sent);
    });
  });

  test("253 fds fit into one message, more are refused, and so is what is not an fd", () => {
    using runtime = new Runtime();
    const [a, b] = UnixStream.pair();
    using _a = a;
    using _b = b;
    runtime.blockOn(function* () {
      yield* a.send(bytes("x"), { fds: new Array(253).fill(a) });
      using message = yield* b.recv(new Uint8Array(1));
      expect(message.fds).toHaveLength(253);
    });
    expect(() => a.send(bytes("x"), { fds: new Array(254).fill(a) })).toThrow(
      "send: fds must be at most 253; got 254",
    );
    expect(() => a.send(bytes("x"), { fds: [-1] })).toThrow("send: fds[0] must be an fd");
    expect(() => a.send(bytes("x"), { fds: 3 as never })).toThrow("send: fds must be an array");
    expect(() => a.recv(new Uint8Array(1), { maxFds: 254 })).toThrow("recv: maxFds must be");
    expect(() => a.send(new Uint8Array(0))).toThrow("data must hold at least one byte");
    expect(() => runtime.blockOn(a.send(bytes("x"), { fds: [999_999] }))).toThrow("EBADF");
  });

  test("sends and receives retry after EAGAIN and EINTR, and pass on other errors", () => {
    const faults = new FaultSys();
    using runtime = new Runtime({ sys: faults.sys });
    runtime.blockOn(function* () {
      const [a, b] = UnixStream.pair();
      using _a = a;
      using _b = b;
      faults.fail("sendmsg", -EINTR, -EAGAIN).fail("recvmsg", -EINTR, -EAGAIN);
      expect(yield* a.send(bytes("x"))).toBe(1);
      using message = yield* b.recv(new Uint8Array(1));
      expect(message.bytes).toBe(1);
      faults.fail("recvmsg", -ECONNRESET);
      expect(yield* failureOf<SysError>(b.recv(new Uint8Array(1)))).toMatchObject({
        code: "ECONNRESET",
        syscall: "recvmsg",
      });
    });
  });
});

function pipeEnds(): [reader: AsyncFd, writer: AsyncFd] {
  const { reader, writer } = pipe();
  return [reader, writer];
}

function* readyNow(): Generator<symbol, string, void> {
  return "ready";
}

describe("datagrams and packets", () => {
  test("a datagram arrives whole with the address of its sender, which can be replied to", () => {
    using files = folder();
    using runtime = new Runtime();
    using server = UnixDatagram.bind(files.path("server.sock"));
    using client = UnixDatagram.bind("");
    using nameless = UnixDatagram.open();
    runtime.blockOn(function* () {
      yield* client.sendTo(bytes("ping"), server.localAddress);
      const buffer = new Uint8Array(3);
      using message = yield* server.recv(buffer);
      expect([text(buffer), message.bytes, message.isTruncated]).toEqual(["pin", 3, true]);
      expect(message.address).toBe(client.localAddress);
      yield* server.sendTo(bytes(""), message.address);
      using reply = yield* client.recv(buffer);
      expect([reply.bytes, reply.address]).toEqual([0, server.localAddress]);
      nameless.connect(server.localAddress);
      yield* nameless.send(bytes("x"));
      using anonymous = yield* server.recv(buffer);
      expect(anonymous.address).toBe("");
      expect(yield* failureOf(client.sendTo(bytes("x"), files.path("none")))).toMatchObject({
        code: "ENOENT",
        address: files.path("none"),
      });
    });
  });

  test("a send waits while the queue of its receiver is full, connected or not", () => {
    using runtime = new Runtime();
    using server = UnixDatagram.bind("");
    using connected = UnixDatagram.open();
    using client = UnixDatagram.open();
    const to = server.localAddress;
    connected.connect(to);
    for (const send of [() => connected.send(bytes("x")), () => client.sendTo(bytes("x"), to)]) {
      runtime.blockOn(function* () {
        let sent = 0;
        while ((yield* race(send(), sleep(1))) !== undefined) sent++;
        expect(sent).toBeGreaterThan(5);
        const waiting = spawn(send());
        yield* untilIdle();
        expect(waiting.isFinished).toBe(false);
        for (let count = 0; count < sent; count++) yield* server.recv(new Uint8Array(1));
        expect(yield* waiting).toBe(1);
        yield* server.recv(new Uint8Array(1));
      });
    }
  });

  test("messages carry the credentials of their sender once that is on", () => {
    using runtime = new Runtime();
    const [a, b] = UnixDatagram.pair();
    using _a = a;
    using _b = b;
    runtime.blockOn(function* () {
      yield* a.send(bytes("x"));
      expect((yield* b.recv(new Uint8Array(1))).credentials).toBeNull();
      b.setPassCredentials();
      yield* a.send(bytes("x"), { fds: [a] });
      using message = yield* b.recv(new Uint8Array(1));
      expect(message.credentials?.pid).toBe(process.pid);
      expect(message.fds).toHaveLength(1);
    });
  });

  test("a message owns the pidfd of its sender, which is closed with it and with a failed receive", () => {
    const faults = new FaultSys();
    using runtime = new Runtime({ sys: faults.sys });
    runtime.blockOn(function* () {
      const [a, b] = UnixDatagram.pair();
      using _a = a;
      using _b = b;
      try {
        b.setOption(1, 76, true); // SOL_SOCKET, SO_PASSPIDFD
      } catch (error) {
        expect((error as SysError).code).toBe("ENOPROTOOPT");
        console.log("skipped: this kernel has no SO_PASSPIDFD");
        return;
      }
      const before = countFds();
      yield* a.send(bytes("x"));
      {
        using message = yield* b.recv(new Uint8Array(1));
        const { fd } = message.pidfd!;
        expect(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8")).toContain(`Pid:\t${process.pid}`);
        expect(linux().fcntl(fd, 1, 0)).toBe(1); // F_GETFD: close-on-exec
      }
      expect(countFds()).toBe(before);
      yield* a.send(bytes("x"), { fds: [a] });
      expect(yield* failureOf(b.recv(new Uint8Array(1), { maxFds: 0 }))).toBeInstanceOf(
        PassedFdsError,
      );
      expect(countFds()).toBe(before);
      yield* a.send(bytes("x"));
      faults.on("recvmsg", (_recvmsg, _fd, message) => {
        message.addControl(1, 4, new Uint8Array(new Int32Array([-24]).buffer)); // SCM_PIDFD: EMFILE
        return 1;
      });
      expect((yield* b.recv(new Uint8Array(1))).pidfd).toBeNull();
    });
  });

  test("packets keep their boundaries and their order, and a closed peer reads as 0 bytes", () => {
    using runtime = new Runtime();
    using listener = UnixSeqpacketListener.bind(abstractName());
    runtime.blockOn(function* () {
      using client = yield* UnixSeqpacket.connect(listener.localAddress);
      using server = yield* listener.accept();
      for (const packet of ["a", "bc", "def"]) yield* client.send(bytes(packet));
      const buffer = new Uint8Array(2);
      const received: unknown[] = [];
      for (let count = 0; count < 3; count++) {
        const { bytes: length, isTruncated } = yield* server.recv(buffer);
        received.push([text(buffer.subarray(0, length)), isTruncated]);
      }
      expect(received).toEqual([
        ["a", false],
        ["bc", false],
        ["de", true],
      ]);
      client.shutdown();
      expect((yield* server.recv(buffer)).bytes).toBe(0);
      expect(yield* failureOf(client.send(bytes("x")))).toMatchObject({ code: "EPIPE" });
    });
  });
});

test("a listener that is closed with connections in its backlog leaves no fd, and resets them", () => {
  const before = openFds();
  using runtime = new Runtime();
  const listener = UnixListener.bind("");
  // Not the listener itself: only the kernel's garbage collector, which may run late, ends a queue that holds its own fd.
  const ends = pipe();
  runtime.blockOn(function* () {
    const clients: UnixStream[] = [];
    for (let count = 0; count < 10; count++) {
      clients.push(yield* UnixStream.connect(listener.localAddress));
      yield* clients.at(-1)!.send(bytes("x"), { fds: [ends.reader] });
    }
    listener.close();
    for (const client of clients) {
      expect(yield* failureOf(client.read(new Uint8Array(1)))).toMatchObject({
        code: "ECONNRESET",
      });
      client.close();
    }
  });
  for (const end of Object.values(ends)) end.close();
  runtime[Symbol.dispose]();
  expect(newFds(before)).toEqual([]);
});

test("a connect that is dropped at any step leaves no fd", () => {
  const before = openFds();
  using runtime = new Runtime();
  using listener = UnixListener.bind({ path: "", backlog: 1 });
  runtime.blockOn(function* () {
    UnixStream.connect(listener.localAddress).drop();
    for (let count = 0; count < 5; count++) {
      (yield* race(UnixStream.connect(listener.localAddress), sleep(2)))?.close();
      yield* race(readyNow(), UnixStream.connect(listener.localAddress));
    }
  });
  listener.close();
  runtime[Symbol.dispose]();
  expect(newFds(before)).toEqual([]);
});

describe("other programs", () => {
  test.skipIf(!has("python3"))("Python passes fds to us, and receives ours", async () => {
    using files = folder();
    using runtime = new Runtime();
    using listener = UnixListener.bind(files.path("a.sock"));
    await using python = start([
      ...["python3", "-c"],
      `
import os, socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
r, w = os.pipe()
socket.send_fds(s, [b"take it"], [w])
os.close(w)
print(os.read(r, 100).decode(), flush=True)
data, fds, flags, _ = socket.recv_fds(s, 100, 4)
print(data.decode(), len(fds), os.read(fds[0], 100).decode(), flush=True)
`,
      files.path("a.sock"),
    ]);
    await runtime.run(function* () {
      using stream = yield* listener.accept();
      expect(stream.peerCredentials().pid).toBe(python.pid);
      const buffer = new Uint8Array(64);
      using message = yield* stream.recv(buffer);
      expect(text(buffer.subarray(0, message.bytes))).toBe("take it");
      using writer = new AsyncFd(message.fds[0]!.release());
      yield* writer.writeAll("into your pipe");
      writer.close();
      writeFileSync(files.path("file"), "from a file");
      const fd = openSync(files.path("file"), "r");
      yield* stream.send(bytes("ours"), { fds: [fd] });
      closeSync(fd);
      yield* stream.read(buffer); // until Python ends
    });
    expect(await python.exited).toBe(0);
    expect(python.output()).toBe("into your pipe\nours 1 from a file\n");
  });

  test.skipIf(!has("socat")).each([
    ["UNIX-CONNECT:PATH", "path"],
    ["ABSTRACT-CONNECT:NAME", "abstract"],
  ])("socat talks to a listener over %s", async (address, kind) => {
    using files = folder();
    using runtime = new Runtime();
    const name = `guillotine-socat-${process.pid}`;
    const path = kind === "path" ? files.path("a.sock") : `\0${name}`;
    using listener = UnixListener.bind(path);
    const target = address.replace("PATH", path).replace("NAME", name);
    const socat = run(["socat", "-", target], { input: "hello\n" });
    await runtime.run(function* () {
      using stream = yield* listener.accept();
      const chunk = yield* stream.readChunk();
      yield* stream.writeAll(chunk!);
      stream.shutdown();
      expect(yield* stream.readChunk()).toBeNull();
    });
    expect(await socat).toEqual({ code: 0, output: "hello\n" });
  });

  test.skipIf(!has("socat"))("socat sends packets and datagrams", async () => {
    using files = folder();
    using runtime = new Runtime();
    using packets = UnixSeqpacketListener.bind(files.path("p.sock"));
    using datagrams = UnixDatagram.bind(files.path("d.sock"));
    const clients = [
      run(["socat", "-u", "-", `UNIX-CONNECT:${files.path("p.sock")},type=5`], { input: "packet" }),
      run(["socat", "-u", "-", `UNIX-SENDTO:${files.path("d.sock")}`], { input: "datagram" }),
    ];
    const buffer = new Uint8Array(64);
    await runtime.run(function* () {
      using connection = yield* packets.accept();
      const packet = yield* connection.recv(buffer);
      expect(text(buffer.subarray(0, packet.bytes))).toBe("packet");
      expect((yield* connection.recv(buffer)).bytes).toBe(0);
      const datagram = yield* datagrams.recv(buffer);
      expect(text(buffer.subarray(0, datagram.bytes))).toBe("datagram");
    });
    for (const client of clients) expect((await client).code).toBe(0);
  });

  test.skipIf(!has("logger"))(
    "a syslog socket receives what logger writes, and who wrote it",
    async () => {
      using files = folder();
      using runtime = new Runtime();
      using syslog = UnixDatagram.bind({ path: files.path("log"), mode: 0o666 });
      syslog.setPassCredentials();
      const logger = start(["logger", "-u", files.path("log"), "-t", "guillotine", "it works"]);
      const buffer = new Uint8Array(1024);
      await runtime.run(function* () {
        using message = yield* syslog.recv(buffer);
        expect(text(buffer.subarray(0, message.bytes))).toMatch(/^<\d+>.*guillotine: it works/s);
        expect(message.credentials?.pid).toBe(logger.pid);
      });
      expect(await logger.exited).toBe(0);
    },
  );

  test.skipIf(!has("dbus-daemon"))(
    "dbus-daemon accepts a Hello call over a connection that agreed on fds",
    async () => {
      using files = folder();
      using runtime = new Runtime();
      const address = `unix:path=${files.path("bus")}`;
      await using daemon = start([
        ...["dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address"],
        `--address=${address}`,
      ]);
      await daemon.until(/unix:path=/);
      const uid = Buffer.from(String(process.getuid?.())).toString("hex");
      const lines = await runtime.run(function* () {
        using bus = yield* UnixStream.connect(files.path("bus"));
        const ask = function* (line: string) {
          yield* bus.writeAll(line);
          return text(yield* bus.readChunk());
        };
        const answers = [
          yield* ask(`\0AUTH EXTERNAL ${uid}\r\n`),
          yield* ask("NEGOTIATE_UNIX_FD\r\n"),
        ];
        yield* bus.writeAll("BEGIN\r\n");
        yield* bus.send(helloCall());
        const buffer = new Uint8Array(4096);
        using reply = yield* bus.recv(buffer);
        return [...answers, text(buffer.subarray(0, reply.bytes))];
      });
      expect(lines[0]).toStartWith("OK ");
      expect(lines[1]).toBe("AGREE_UNIX_FD\r\n");
      expect(lines[2]).toMatch(/:1\.\d+/); // our unique name
    },
  );
});

/** The D-Bus message org.freedesktop.DBus.Hello(), as the D-Bus specification marshals it. */
function helloCall(): Uint8Array {
  const fields: number[] = [];
  const align = (size: number): void => {
    while (fields.length % size !== 0) fields.push(0);
  };
  const field = (code: number, type: string, value: string): void => {
    align(8);
    fields.push(code, 1, type.charCodeAt(0), 0);
    align(4);
    fields.push(value.length, 0, 0, 0, ...bytes(value), 0);
  };
  field(1, "o", "/org/freedesktop/DBus");
  field(2, "s", "org.freedesktop.DBus");
  field(3, "s", "Hello");
  field(6, "s", "org.freedesktop.DBus");
  const header = [
    108,
    1,
    0,
    1,
    0,
    0,
    0,
    0,
    1,
    0,
    0,
    0,
    fields.length & 255,
    fields.length >> 8,
    0,
    0,
  ];
  const message = [...header, ...fields];
  while (message.length % 8 !== 0) message.push(0);
  return new Uint8Array(message);
}
