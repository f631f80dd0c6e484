// Unix sockets in a simulated world: what the random scripts of fidelity.test.ts do not reach, because it takes hosts,
// crashes, or sockets that travel in sockets.

import { expect, test } from "bun:test";
import {
  type Coroutine,
  pipe,
  type SysError,
  sleep,
  spawn,
  TcpListener,
  TcpStream,
  UnixDatagram,
  UnixListener,
  UnixStream,
} from "../../src/index.ts";
import { type Host, SimulationError, simulate } from "../../src/sim/index.ts";
import { caught, failureOf } from "../support/caught.ts";

const PATH = "/run/app.sock";
const NAME = "\0app";

/** Returns the code of the error of a connect; "connected" without one. */
function* outcomeOf(path: string): Coroutine<string> {
  try {
    using _ = yield* UnixStream.connect(path);
    return "connected";
  } catch (error) {
    return (error as SysError).code ?? "";
  }
}

test.each(["crash", "kill"] as const)(
  "after a %s the file of a socket is there and stale, and its abstract name is free",
  (how) => {
    const seen = simulate(function* (world) {
      const seen: unknown[] = [];
      let life = 0;
      const host = world.host("host", function* () {
        life++;
        if (life > 1) {
          seen.push(yield* outcomeOf(PATH), yield* outcomeOf(NAME));
          seen.push(caught(() => UnixListener.bind(PATH)));
        }
        using files = UnixListener.bind({ path: PATH, replaceStale: life > 1 });
        using names = UnixListener.bind(NAME);
        seen.push(yield* outcomeOf(PATH), yield* outcomeOf(NAME));
        if (life === 1) yield* sleep(1e6);
        return [files.localAddress, names.localAddress];
      });
      yield* sleep(10);
      host[how]();
      host.restart();
      yield* host;
      return seen;
    });
    expect(seen).toEqual([
      ...["connected", "connected"],
      ...["ECONNREFUSED", "ECONNREFUSED"],
      expect.objectContaining({ code: "EADDRINUSE" }),
      ...["connected", "connected"],
    ]);
  },
);

test("a unix socket never leaves its host", () => {
  const seen = simulate(function* (world) {
    world.host("server", function* () {
      using _files = UnixListener.bind(PATH);
      using _names = UnixListener.bind(NAME);
      yield* sleep(1000);
    });
    yield* sleep(10);
    return yield* world.host("client", function* () {
      return [yield* outcomeOf(PATH), yield* outcomeOf(NAME)];
    });
  });
  expect(seen).toEqual(["ENOENT", "ECONNREFUSED"]);
});

test("the credentials of a peer are those of its process, and each start is another process", () => {
  const seen = simulate(function* (world) {
    const seen: unknown[] = [];
    const work = function* (): Coroutine<void> {
      using listener = UnixListener.bind("");
      using client = yield* UnixStream.connect(listener.localAddress);
      using server = yield* listener.accept();
      seen.push(client.peerCredentials(), server.peerCredentials());
      const [a, b] = UnixDatagram.pair();
      using _a = a;
      using _b = b;
      b.setPassCredentials(true);
      yield* a.send(new Uint8Array(1));
      using message = yield* b.recv(new Uint8Array(1));
      seen.push(message.credentials);
    };
    const host = world.host("host", () => work());
    yield* host;
    host.restart();
    yield* host;
    return seen;
  });
  const ids = (pid: number): unknown => ({ pid, uid: 0, gid: 0 });
  expect(seen).toEqual([1, 1, 1, 2, 2, 2].map(ids));
});

test("a listener and a connection that are passed work at the receiver, and close with the message", () => {
  const seen = simulate(function* () {
    const [a, b] = UnixStream.pair();
    using _a = a;
    const [kept, passed] = UnixStream.pair();
    using _kept = kept;
    const listener = TcpListener.bind("127.0.0.1:0");
    const address = listener.localAddress;
    yield* a.send(new Uint8Array(1), { fds: [listener, passed] });
    listener.close();
    passed.close();
    yield* kept.writeAll("hello");
    const buffer = new Uint8Array(8);
    {
      using message = yield* b.recv(buffer);
      const [first, second] = message.fds;
      using received = UnixStream.fromFd(second!);
      const count = yield* received.read(buffer);
      using again = TcpListener.fromFd(first!);
      using _client = yield* TcpStream.connect(address);
      using _server = yield* again.accept();
      yield* a.send(new Uint8Array(1), { fds: [received] });
      expect(count).toBe(5);
    }
    const reading = spawn(kept.read(buffer));
    yield* sleep(10);
    const isOpen = !reading.isFinished; // a message that is on its way keeps the connection open
    b.close();
    return [isOpen, yield* reading];
  });
  expect(seen).toEqual([true, 0]);
});

test("a process that crashes takes the files of its messages along, and one that is killed closes them", () => {
  const ends = (stop: (host: Host) => void): unknown =>
    simulate(function* (world) {
      let left: number | null = null;
      const server = world.host("server", function* () {
        using listener = TcpListener.bind("0.0.0.0:7000");
        const stream = yield* listener.accept();
        const [a, _b] = UnixStream.pair();
        yield* a.send(new Uint8Array(1), { fds: [stream] });
        stream.close();
        yield* sleep(1e6);
      });
      yield* sleep(10);
      world.host("client", function* () {
        using stream = yield* TcpStream.connect("server:7000");
        left = yield* stream.read(new Uint8Array(1));
      });
      yield* sleep(100);
      expect(left).toBeNull();
      stop(server as Host);
      yield* sleep(100);
      return left;
    });
  expect(ends((host) => host.kill())).toBe(0);
  expect(ends((host) => host.crash())).toBeNull();
});

test("the log names unix addresses", () => {
  const log = simulate(function* (world) {
    using _files = UnixListener.bind(PATH);
    using _names = UnixListener.bind(NAME);
    yield* outcomeOf(NAME);
    return [...world.log];
  });
  const calls = log.map((line) => line.replace(/^\S+ world /, ""));
  expect(calls).toContain("bind(10001, /run/app.sock) = 0");
  expect(calls).toContain("bind(10002, @app) = 0");
  expect(calls).toContain("connect(10003, @app) = 0");
});

test("a pidfd, and an fd that was opened outside the simulation, are refused by name", () => {
  simulate(function* () {
    const [a, b] = UnixStream.pair();
    using _a = a;
    using _b = b;
    expect(() => a.peerPidfd()).toThrow(SimulationError);
    expect(() => a.peerPidfd()).toThrow("a pidfd");
    const foreign = yield* failureOf(a.send(new Uint8Array(1), { fds: [1] }));
    expect(foreign).toBeInstanceOf(SimulationError);
    const { reader, writer } = pipe();
    using _reader = reader;
    using _writer = writer;
    expect(yield* a.send(new Uint8Array(1), { fds: [reader] })).toBe(1);
  });
});
