// What console.log shows of the library's objects: one line that says what matters.

import { expect, test } from "bun:test";
import { inspect } from "node:util";
import * as api from "../../src/index.ts";
import {
  AsyncFd,
  Barrier,
  BufReader,
  BufWriter,
  broadcast,
  CancelToken,
  type Context,
  duplex,
  Future,
  fromReadable,
  fromWritable,
  interval,
  intoFuture,
  JoinSet,
  lengthDelimited,
  lengthDelimitedWriter,
  Mutex,
  mpmc,
  mpsc,
  Notify,
  OnceCell,
  OwnedFd,
  oneshot,
  type Poll,
  pipe,
  RateLimiter,
  Runtime,
  RwLock,
  Semaphore,
  scope,
  sleep,
  split,
  TcpListener,
  TcpStream,
  TlsListener,
  UdpSocket,
  unboundedMpsc,
  watch,
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

test("each exported class but the errors has a line of its own", () => {
  const custom = Symbol.for("nodejs.util.inspect.custom");
  const isClass = (value: unknown): value is { readonly prototype: object } =>
    typeof value === "function" && Function.prototype.toString.call(value).startsWith("class ");
  const classes = Object.entries(api).filter(
    ([, value]) => isClass(value) && !(value.prototype instanceof Error),
  );
  expect(classes.length).toBeGreaterThan(50);
  const without = classes.filter(([, value]) => !(custom in (value as typeof Runtime).prototype));
  expect(without.map(([name]) => name)).toEqual([]);
});

test("locks show their name and their holder, and guards whether they are released", () => {
  using runtime = new Runtime();
  const mutex = new Mutex(0, { name: "table" });
  const lock = new RwLock(0);
  const semaphore = new Semaphore(3);
  const cell = new OnceCell<number>();
  expect(shown(mutex)).toBe('Mutex { "table", held by no task }');
  expect(shown(cell)).toBe('OnceCell { not initialized, Mutex { "once cell", held by no task } }');
  const holder = function* () {
    const guard = yield* mutex.lock();
    const reading = yield* lock.read();
    const permit = yield* semaphore.acquire(2);
    expect([mutex, lock, semaphore, guard, reading, permit].map(shown)).toEqual([
      'Mutex { "table", held by task 1 }',
      'RwLock { "rw lock", held by task 1 }',
      'Semaphore { "semaphore", 1 available, held by task 1 }',
      "MutexGuard { held by task 1 }",
      "ReadGuard { held by task 1 }",
      "Permit { 2 held by task 1 }",
    ]);
    for (const one of [guard, reading, permit]) one.release();
    expect([guard, reading, permit].map(shown)).toEqual([
      "MutexGuard { released }",
      "ReadGuard { released }",
      "Permit { released }",
    ]);
    yield* cell.getOrInit(async () => 1);
  };
  const handle = runtime.spawn(holder);
  runtime.blockOn(handle);
  semaphore.close();
  expect(shown(semaphore)).toBe('Semaphore { "semaphore", closed, held by no task }');
  expect(shown(cell)).toStartWith("OnceCell { initialized, ");
  expect(shown(new Notify())).toBe('Notify { "notify", 0 waiting }');
  expect(shown(new Barrier(3))).toBe('Barrier { "barrier", 0 of 3 arrived }');
});

test("the ends of channels show how full the channel is, and what is closed", () => {
  using runtime = new Runtime();
  const { sender, receiver } = mpsc<number>(64, { name: "jobs" });
  sender.trySend(1);
  expect(shown(sender)).toBe('Sender { "jobs", 1 of 64 messages }');
  expect(shown(receiver)).toBe('Receiver { "jobs", 1 of 64 messages }');
  const permit = runtime.blockOn(sender.reserve());
  expect(shown(permit)).toBe('SendPermit { "jobs", 1 of 64 messages }');
  permit.send(2);
  expect(shown(permit)).toBe("SendPermit { used }");
  sender.close();
  expect(shown(sender)).toBe('Sender { "jobs", 2 of 64 messages, closed }');
  expect(shown(receiver)).toBe('Receiver { "jobs", 2 of 64 messages, the sender is closed }');
  const unbounded = unboundedMpsc<number>();
  unbounded.sender.send(1);
  unbounded.receiver.close();
  expect(shown(unbounded.sender)).toBe(
    'UnboundedSender { "unbounded mpsc", 1 message, the receiver is closed }',
  );
  expect(shown(mpmc(2).receiver)).toBe('MpmcReceiver { "mpmc", 0 of 2 messages }');
  const once = oneshot<number>();
  expect(shown(once.sender)).toBe('OneshotSender { "oneshot", open }');
  expect(shown(once.receiver)).toBe('Future (recv on oneshot "oneshot")');
  const value = watch("a");
  value.sender.send("b");
  expect(shown(value.sender)).toBe('WatchSender { "watch", 1 change }');
  expect(shown(value.receiver)).toBe('WatchReceiver { "watch", 1 unseen change }');
  const news = broadcast<number>(4);
  news.sender.send(1);
  expect(shown(news.sender)).toBe('BroadcastSender { "broadcast", 1 receiver }');
  expect(shown(news.receiver)).toBe('BroadcastReceiver { "broadcast", 1 message }');
});

test("byte streams show what they hold, and what they are over", async () => {
  const [left, right] = duplex();
  const reader = new BufReader(right);
  const writer = new BufWriter(left);
  await writer.writeAll("hello");
  expect(shown(writer)).toBe("BufWriter { 5 bytes buffered }");
  await writer.flush();
  expect(shown(right)).toBe("DuplexStream { 5 bytes to read }");
  await reader.fill();
  expect(shown(reader)).toBe("BufReader { 5 bytes buffered }");
  expect(shown(lengthDelimitedWriter(writer))).toBe(
    "FrameWriter { BufWriter { 0 bytes buffered } }",
  );
  expect(shown(lengthDelimited(reader))).toStartWith("Frames { ");
  const [reading, writing] = split(left);
  expect(shown(reading)).toBe("ReadHalf { DuplexStream { 0 bytes to read } }");
  for (const half of [reading, writing]) half.close();
  expect(shown(writing)).toBe("WriteHalf { closed }");
  expect(shown(left)).toBe("DuplexStream { closed }");
  const web = fromReadable(new ReadableStream<Uint8Array>());
  expect(shown(web)).toBe("WebReader { 0 bytes to read }");
  web.close();
  expect(shown(web)).toBe("WebReader { closed }");
  expect(shown(fromWritable(new WritableStream()))).toBe("WebWriter { open }");
  const fd = new OwnedFd(pipe().writer.release());
  expect(shown(fd)).toBe(`OwnedFd { fd ${fd.fd} }`);
  fd.close();
  expect(shown(fd)).toBe("OwnedFd { closed }");
});

test("a TLS listener shows the socket below", () => {
  using listener = TlsListener.bind("127.0.0.1:0", { cert: "", key: "" } as never);
  const { port } = listener.localAddress;
  expect(shown(listener)).toMatch(
    new RegExp(`^TlsListener \\{ TcpListener \\{ 127.0.0.1:${port}, fd \\d+ \\} \\}$`),
  );
});

test("what groups and paces tasks shows its counts", () => {
  using runtime = new Runtime();
  runtime.blockOn(
    scope(function* (s) {
      s.spawn(() => sleep(1));
      expect(shown(s)).toBe("Scope { 1 task }");
      const set = new JoinSet<void>();
      set.spawn(() => sleep(1));
      expect(shown(set)).toBe("JoinSet { 1 running, 0 ended }");
      yield* set.shutdown();
      expect(shown(set)).toBe("JoinSet { disposed }");
      const token = new CancelToken();
      s.spawn(() => sleep(1e6), { token });
      expect(shown(token)).toBe("CancelToken { would cancel 1 }");
      token.cancel();
      expect(shown(token)).toBe("CancelToken { cancelled }");
      const limiter = new RateLimiter({ tokens: 5 });
      limiter.tryAcquire(2);
      expect(shown(limiter)).toBe("RateLimiter { 3 of 5 tokens, 0 waiting }");
      expect(shown(interval(10))).toBe("Interval { every 10 ms }");
    }),
  );
});

test("a context shows its task, and a waker what it is", () => {
  using runtime = new Runtime();
  class Shows extends Future<string[]> {
    override poll(cx: Context): Poll<string[]> {
      const owned = cx.waker.clone();
      const lines = [shown(cx), shown(cx.waker), shown(owned)];
      owned.drop();
      return [...lines, shown(owned)];
    }
  }
  const handle = runtime.spawn(new Shows(), { name: "me" });
  expect(runtime.blockOn(handle)).toEqual([
    "Task { task me }",
    "Waker { lent }",
    "Waker { owned }",
    "Waker { consumed }",
  ]);
});
