// serve: ownership of connections, failures, the limit, and the graceful stop.

import { expect, setDefaultTimeout, test } from "bun:test";
import {
  type Acceptor,
  abortSignal,
  BufReader,
  ClosedError,
  type Coroutine,
  type Future,
  intoFuture,
  now,
  type Receiver,
  Runtime,
  SysError,
  serve,
  sleep,
  spawn,
  TcpListener,
  TcpStream,
  type UnboundedSender,
  unboundedMpsc,
} from "../../src/index.ts";
import { ECONNRESET, EMFILE } from "../../src/sys/errno.ts";
import { caught, failureOf } from "../support/caught.ts";
import { FaultSys } from "../support/fault-sys.ts";
import { countFds } from "../support/fds.ts";
import { untilIdle } from "../support/idle.ts";
import { captureConsoleError, silenceWarnings } from "../support/output.ts";
import { VirtualClock } from "../support/virtual-clock.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

class Connection implements Disposable {
  readonly id: number;
  isOpen = true;

  constructor(id: number) {
    this.id = id;
  }

  [Symbol.dispose](): void {
    this.isOpen = false;
  }
}

/** A listener in memory. */
class Listener implements Acceptor<Connection> {
  readonly connections: Connection[] = [];
  isClosed = false;
  accepted = 0;
  readonly #sender: UnboundedSender<Connection>;
  readonly #receiver: Receiver<Connection>;

  constructor() {
    const { sender, receiver } = unboundedMpsc<Connection>();
    this.#sender = sender;
    this.#receiver = receiver;
  }

  connect(): Connection {
    const connection = new Connection(this.connections.length);
    this.connections.push(connection);
    this.#sender.send(connection);
    return connection;
  }

  accept(): Future<Connection> {
    return intoFuture(this.#accept());
  }

  *#accept(): Coroutine<Connection> {
    const next = yield* this.#receiver.recv();
    if (next.done) throw new ClosedError("closed");
    this.accepted++;
    return next.value;
  }

  close(): void {
    this.isClosed = true;
    this.#sender[Symbol.dispose]();
  }

  get open(): number[] {
    return this.connections.filter(({ isOpen }) => isOpen).map(({ id }) => id);
  }
}

const virtual = (): Runtime => new Runtime({ clock: new VirtualClock() });
const boom = new Error("boom");

test("each connection has a task that owns it, and a failure ends only its own connection", () => {
  using reported = captureConsoleError();
  using runtime = virtual();
  const listener = new Listener();
  const server = runtime.spawn(
    serve(listener, async ({ id }) => {
      await sleep(10 * (id + 1));
      if (id === 1) throw boom;
      if (id === 2) throw new SysError(-ECONNRESET, "recv");
    }),
  );
  runtime.blockOn(function* () {
    for (let n = 0; n < 4; n++) listener.connect();
    yield* sleep(5);
    expect(listener.open).toEqual([0, 1, 2, 3]);
    yield* sleep(10);
    expect(listener.open).toEqual([1, 2, 3]);
    yield* sleep(20);
    expect(listener.open).toEqual([3]);
    yield* sleep(20);
    expect([listener.open, server.isFinished]).toEqual([[], false]);
    listener.close(); // also stops the server
    yield* server;
  });
  // A disconnect is not reported.
  expect(reported.mock.calls.map((call) => call[1])).toEqual([boom]);
});

test("a disconnect of the client is not reported, and one of what the handler asks is", async () => {
  using reported = captureConsoleError();
  await using runtime = new Runtime();
  const listener = TcpListener.bind("127.0.0.1:0");
  const database = new SysError(-ECONNRESET, "recv", { hostname: "127.0.0.1", port: 1 });
  const handled = Promise.withResolvers<void>();
  const server = runtime.run(
    serve(listener, async (client) => {
      const kind = (await new BufReader(client).readLine()) ?? "";
      if (kind === "last") handled.resolve();
      else if (kind === "database") throw database;
      await new BufReader(client).readExact(100);
    }),
  );
  await runtime.run(async () => {
    for (const text of ["database\n", "client\nsecret", "last\n"]) {
      await using client = await TcpStream.connect(listener.localAddress);
      await client.writeAll(text);
      client.shutdown();
      await client.readChunk(); // until the handler has ended
    }
    await handled.promise;
    listener.close();
  });
  await server;
  expect(reported.mock.calls.map((call) => call[1])).toEqual([database]);
});

test("a stop closes the listener, lets connections finish within graceMs, and then cancels the rest", () => {
  using runtime = virtual();
  const listener = new Listener();
  const stop = new AbortController();
  const log: string[] = [];
  const handler = function* ({ id }: Connection): Coroutine<void> {
    const signal = abortSignal();
    try {
      yield* sleep(100 * (id + 1));
      log.push(`${id} finished`);
    } finally {
      log.push(`${id} ended at ${now()}, ${signal.aborted ? "aborted" : "not aborted"}`);
    }
  };
  runtime.blockOn(function* () {
    const server = spawn(serve(listener, handler, { signal: stop.signal, graceMs: 150 }));
    for (let n = 0; n < 3; n++) listener.connect();
    yield* sleep(50);
    stop.abort();
    yield* untilIdle();
    expect([listener.isClosed, listener.open]).toEqual([true, [0, 1, 2]]);
    yield* server;
    expect(now()).toBe(200);
  });
  expect(log).toEqual([
    "0 finished",
    "0 ended at 100, not aborted",
    "1 finished",
    "1 ended at 200, not aborted",
    "2 ended at 200, aborted",
  ]);
  expect(listener.open).toEqual([]);
});

test("a stop without open connections completes at once, also if the signal has aborted before", () => {
  using runtime = virtual();
  for (const signal of [AbortSignal.abort(), AbortSignal.abort(boom)]) {
    const listener = new Listener();
    runtime.blockOn(serve(listener, async () => {}, { signal }));
    expect([listener.isClosed, listener.accepted]).toEqual([true, 0]);
  }
  expect(runtime.blockOn(async () => now())).toBe(0);
});

test("with maxConnections open, the server does not accept", () => {
  using runtime = virtual();
  const listener = new Listener();
  const server = runtime.spawn(serve(listener, () => sleep(10), { maxConnections: 2 }));
  runtime.blockOn(function* () {
    for (let n = 0; n < 5; n++) listener.connect();
    yield* sleep(5);
    expect(listener.accepted).toBe(2);
    yield* sleep(10);
    expect(listener.accepted).toBe(4);
    yield* sleep(30);
    expect([listener.accepted, listener.open]).toEqual([5, []]);
    server.abort();
    yield* failureOf(server);
    expect(listener.isClosed).toBe(true);
  });
});

test("a connection stays open until an async onError has ended; an error that it throws is reported", () => {
  using reported = captureConsoleError();
  using runtime = virtual();
  const listener = new Listener();
  const stop = new AbortController();
  const open: [number, boolean][] = [];
  const onError = async (_: unknown, connection: Connection): Promise<void> => {
    await sleep(1);
    open.push([connection.id, connection.isOpen]);
    if (connection.id === 1) throw new Error("bug in onError");
  };
  const fail = () => Promise.reject(new Error("handler"));
  runtime.blockOn(function* () {
    const server = spawn(serve(listener, fail, { signal: stop.signal, onError }));
    listener.connect();
    listener.connect();
    yield* sleep(5); // of a virtual clock
    stop.abort();
    yield* server;
  });
  expect(open).toEqual([
    [0, true],
    [1, true],
  ]);
  expect(listener.open).toEqual([]);
  expect(reported.mock.calls.map((call) => (call[1] as Error).message)).toEqual(["bug in onError"]);
});

test("onError receives each error with the connection, which is still open; an error that it throws is reported", () => {
  using reported = captureConsoleError();
  using runtime = virtual();
  const listener = new Listener();
  const seen: unknown[] = [];
  const onError = (error: unknown, connection: Connection): void => {
    seen.push([error, connection.id, connection.isOpen]);
    if (connection.id === 1) throw new Error("bug in onError");
  };
  const stop = new AbortController();
  runtime.blockOn(function* () {
    const fail = () => Promise.reject(boom);
    const server = spawn(serve(listener, fail, { signal: stop.signal, onError }));
    listener.connect();
    listener.connect();
    yield* untilIdle();
    stop.abort();
    yield* server;
  });
  expect(seen).toEqual([
    [boom, 0, true],
    [boom, 1, true],
  ]);
  expect(listener.open).toEqual([]);
  expect(reported.mock.calls.map((call) => (call[1] as Error).message)).toEqual(["bug in onError"]);
});

test("a server that is cancelled at any suspension closes the listener and each connection that it accepted", () => {
  for (let turns = 1; turns < 25; turns++) {
    using runtime = virtual();
    const listener = new Listener();
    const stop = new AbortController();
    runtime.blockOn(function* () {
      const handler = async (): Promise<void> => await sleep(1);
      const options = { signal: stop.signal, maxConnections: 2 };
      const server = spawn(serve(listener, handler, options));
      for (let n = 0; n < 5; n++) listener.connect();
      for (let turn = 0; turn < turns; turn++) {
        if (turn === 15) stop.abort();
        yield* sleep(0.3);
      }
      server.abort();
      if (!server.isFinished) yield* failureOf(server);
    });
    expect(listener.isClosed).toBe(true);
    const accepted = listener.connections.slice(0, listener.accepted);
    expect(accepted.every(({ isOpen }) => !isOpen)).toBe(true);
    expect(runtime.tasks()).toEqual([]);
  }
});

test("an error of accept other than a ClosedError cancels the connections and fails the server", () => {
  using runtime = virtual();
  const listener = new Listener();
  const accept = listener.accept.bind(listener);
  listener.accept = () =>
    listener.accepted === 1 ? intoFuture(() => Promise.reject(boom)) : accept();
  const server = runtime.spawn(serve(listener, () => sleep(1e6)));
  listener.connect();
  expect(caught(() => runtime.blockOn(server))).toBe(boom);
  expect([listener.open, listener.isClosed]).toEqual([[], true]);
});

test("when no eventfd is left for the task of a connection, the connection is closed and the server continues", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys, eventfd: "eager" });
  const listener = new Listener();
  const errors: unknown[] = [];
  const stop = new AbortController();
  runtime.blockOn(function* () {
    const onError = (error: unknown): void => void errors.push(error);
    const server = spawn(serve(listener, () => sleep(0), { signal: stop.signal, onError }));
    yield* untilIdle();
    faults.fail("eventfd", -EMFILE);
    listener.connect();
    listener.connect();
    yield* untilIdle();
    expect([listener.accepted, listener.open]).toEqual([2, []]);
    stop.abort();
    yield* server;
  });
  expect(errors).toMatchObject([{ code: "EMFILE" }]);
});

test("a connection that got no task is closed, also when onError throws, is cancelled, or the disposal throws", () => {
  using reported = captureConsoleError();
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys, eventfd: "eager", clock: new VirtualClock() });
  const listener = new Listener();
  const stop = new AbortController();
  const onError = (_: unknown, { id }: Connection): Future<void> => {
    if (id === 0) throw new Error("bug in onError");
    return sleep(id === 1 ? 1 : 1e6);
  };
  runtime.blockOn(function* () {
    const server = spawn(serve(listener, () => sleep(0), { signal: stop.signal, onError }));
    yield* untilIdle();
    faults.on("eventfd", () => -EMFILE);
    listener.connect();
    listener.connect()[Symbol.dispose] = () => {
      throw new Error("bug in dispose");
    };
    listener.connect();
    yield* sleep(5); // of a virtual clock
    expect([listener.accepted, listener.open]).toEqual([3, [1, 2]]);
    stop.abort();
    yield* server;
  });
  expect(listener.open).toEqual([1]);
  expect(reported.mock.calls.map((call) => (call[1] as Error).message)).toEqual([
    "bug in onError",
    "bug in dispose",
  ]);
});

test("a TCP server survives a shortage of fds and leaves no fd behind", () => {
  using _warnings = silenceWarnings();
  const before = countFds("socket");
  const faults = new FaultSys();
  {
    using runtime = new Runtime({ sys: faults.sys });
    runtime.blockOn(function* () {
      const listener = TcpListener.bind("127.0.0.1:0");
      const stop = new AbortController();
      const echo = async (stream: TcpStream): Promise<void> => {
        const buffer = new Uint8Array(64);
        for (;;) {
          const count = await stream.read(buffer);
          if (count === 0) return;
          await stream.writeAll(buffer, count);
        }
      };
      const server = spawn(serve(listener, echo, { signal: stop.signal, graceMs: 0 }));
      faults.fail("accept", -EMFILE);
      for (let n = 0; n < 3; n++) {
        using client = yield* TcpStream.connect(listener.localAddress);
        yield* client.writeAll("ping");
        expect(yield* client.read(new Uint8Array(8))).toBe(4);
      }
      using _open = yield* TcpStream.connect(listener.localAddress);
      yield* sleep(1);
      stop.abort();
      yield* server;
      expect(yield* failureOf(TcpStream.connect(listener.localAddress))).toMatchObject({
        code: "ECONNREFUSED",
      });
    });
  }
  expect(countFds("socket")).toBe(before);
});

test("serve throws at once for bad arguments", () => {
  const listener = new Listener();
  const handler = async (): Promise<void> => {};
  expect(() => serve(5 as never, handler)).toThrow("serve: listener must have the methods accept");
  expect(() => serve(listener, 5 as never)).toThrow("serve: handler must be a function that");
  for (const [options, message] of [
    [null, "serve: options must be an object"],
    [{ signal: 5 }, "serve: options.signal must be an AbortSignal; got 5"],
    [{ graceMs: -1 }, "serve: options.graceMs must be a number >= 0; got -1"],
    [{ maxConnections: 0 }, "serve: options.maxConnections must be a positive integer; got 0"],
    [{ onError: 5 }, "serve: options.onError must be a function; got 5"],
  ]) {
    expect(() => serve(listener, handler, options as never)).toThrow(message as string);
  }
});
