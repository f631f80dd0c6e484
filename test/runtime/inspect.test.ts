// What console.log shows of the library's objects: one line that says what matters.

import { expect, test } from "bun:test";
import { inspect } from "node:util";
import {
  AsyncFd,
  intoFuture,
  pipe,
  Runtime,
  sleep,
  TcpListener,
  TcpStream,
  UdpSocket,
} from "../../src/index.ts";
import { untilIdle } from "../support/idle.ts";

/** Returns what console.log prints, and checks that node:util shows the same. */
function shown(value: unknown): string {
  const text = Bun.inspect(value);
  expect(inspect(value)).toBe(text);
  return text;
}

test("sockets show their addresses and their fd, until they are closed", () => {
  using runtime = new Runtime();
  using listener = TcpListener.bind("127.0.0.1:0");
  const { port } = listener.localAddress;
  const accepting = runtime.spawn(listener.accept());
  using stream = runtime.blockOn(TcpStream.connect(listener.localAddress));
  using accepted = runtime.blockOn(accepting);
  using socket = UdpSocket.bind("127.0.0.1:0");
  const { reader, writer } = pipe();
  const client = stream.localAddress.port;
  expect(shown(listener)).toBe(`TcpListener { 127.0.0.1:${port}, fd ${listener.fd} }`);
  expect(shown(stream)).toBe(
    `TcpStream { 127.0.0.1:${client} -> 127.0.0.1:${port}, fd ${stream.fd} }`,
  );
  expect(shown(accepted)).toContain(`127.0.0.1:${port} -> 127.0.0.1:${client}`);
  expect(shown(socket)).toBe(
    `UdpSocket { 127.0.0.1:${socket.localAddress.port}, fd ${socket.fd} }`,
  );
  expect(shown(reader)).toBe(`AsyncFd { fd ${reader.fd} }`);
  for (const one of [stream, reader, writer]) one.close();
  expect(shown(stream)).toBe("TcpStream { closed }");
  expect(shown(reader)).toBe("AsyncFd { closed }");
  expect(reader).toBeInstanceOf(AsyncFd);
});

test("futures and handles show what they wait for, and how they ended", () => {
  using runtime = new Runtime({ onUncaught: "report" });
  expect(shown(sleep(10))).toBe("Future (sleep of 10 ms)");
  const sleeping = runtime.spawn(() => sleep(60_000));
  const named = runtime.spawn(sleep(60_000), { name: "sleeper" });
  const done = runtime.spawn(function* () {});
  const failed = runtime.spawn(function* () {
    throw new RangeError("too far\nand more");
  });
  failed.catch(() => {});
  expect(shown(sleeping)).toBe("JoinHandle #1 (ready: its turn)");
  untilIdle(runtime);
  expect(shown(sleeping)).toMatch(/^JoinHandle #1 \(waiting: sleep, \d+ ms left\)$/);
  expect(shown(named.abortHandle())).toMatch(
    /^AbortHandle sleeper \(waiting: sleep, \d+ ms left\)$/,
  );
  expect(shown(done)).toBe("JoinHandle #3 (completed)");
  expect(shown(failed)).toBe("JoinHandle #4 (failed: RangeError: too far)");
  expect(shown(runtime.tasks()[1])).toMatch(/^Task sleeper \(waiting: sleep, \d+ ms left\)$/);
  expect(shown(runtime)).toBe("Runtime { 2 tasks, 2 timers, 1 fd }");
  named.abort();
  untilIdle(runtime);
  expect(shown(named)).toBe("JoinHandle sleeper (aborted)");
  runtime[Symbol.dispose]();
  expect(shown(runtime)).toBe("Runtime { disposed }");
});

test("the future of a coroutine shows whether it has started", () => {
  using runtime = new Runtime();
  const future = intoFuture(function* () {
    yield* sleep(0);
  });
  expect(shown(future)).toBe("Future (a coroutine that has not started)");
  runtime.blockOn(future);
  expect(shown(future)).toBe("Future (ended)");
});
