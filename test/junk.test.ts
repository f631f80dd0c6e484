// Calls every public function, constructor and method with junk arguments. Each call succeeds, or throws an error of
// the library's own, which has a `code`. An error of the engine ("undefined is not an object") would name internals.

import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import * as guillotine from "../src/index.ts";
import { type Context, Future, Runtime, sleep, spawn } from "../src/index.ts";
import * as inspect from "../src/inspect/index.ts";
import * as sys from "../src/sys/index.ts";
import { createCertificates, hasOpenssl } from "./support/certificates.ts";
import { captureConsoleError, silenceWarnings } from "./support/output.ts";
import { root } from "./support/program.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const JUNK: readonly unknown[] = [
  ...[undefined, null, Number.NaN, -1, 0.5, Number.POSITIVE_INFINITY, 2 ** 53, 10n, true],
  ...["", "junk", Symbol("junk"), {}, [], Object.create(null), new Map(), new Uint8Array(2)],
  ...[() => {}, { name: 1 }, { port: "x" }, [undefined]],
];

const report = await Bun.file(`${root}docs/api.d.ts`).text();
/** The members and parameters that the declarations name. Other members are internal. */
const declared = new Set([...report.matchAll(/\b(\w+)[(?:<]/g)].map(([, name = ""]) => name));
/** The protocol of futures: a runtime calls these, and checks would cost in each poll. */
const PROTOCOL: ReadonlySet<string> = new Set([
  ...["constructor", "poll", "pollCancel", "reclaim", "next", "return", "throw"],
  ...["attempt", "release"],
]);
/** The memory that a Sys fills: called for each event of the kernel. Subclasses of Error take what Error does. */
const isExempt = (value: { readonly prototype: unknown }, name: string): boolean =>
  value.prototype instanceof Error ||
  ["EpollEvents", "Datagrams", "Message", "SockaddrBuffer"].includes(name) ||
  new RegExp(`abstract class ${name}\\b`).test(report);

/** Classes whose constructor takes over an fd. */
const TAKES_FD: ReadonlySet<string> = new Set(["AsyncFd", "OwnedFd"]);

/** Argument lists: one junk value in each of the first three places. */
const argumentLists: readonly (readonly unknown[])[] = [
  [],
  ...JUNK.flatMap((junk) => [
    [junk],
    [junk, junk],
    [1, junk],
    [() => sleep(0), junk],
    ["a", junk, junk],
  ]),
];

const runtime = new Runtime({ onUncaught: "report" });
afterAll(() => runtime[Symbol.dispose]());

function check(error: unknown, call: string): void {
  const code = (error as { code?: unknown } | null)?.code;
  if (typeof code === "string") return;
  throw new Error(`${call} threw ${error instanceof Error ? error.stack : String(error)}`);
}

/** Releases what a call returned: a future, something disposable, or several of them, as `pipe` returns. */
function release(value: unknown): void {
  if (value instanceof Future) value.drop();
  else if (typeof value !== "object" || value === null) return;
  else if (Array.isArray(value)) value.forEach(release);
  else if (Symbol.dispose in value) (value as Disposable)[Symbol.dispose]();
  else if (Object.getPrototypeOf(value) === Object.prototype) Object.values(value).forEach(release);
}

/** Performs `call` in a task; also polls the future that it returns, and drops it. */
function* perform(call: () => unknown, name: string) {
  try {
    const value = call();
    if (value instanceof Promise) value.catch((error) => check(error, name));
    if (value instanceof Future) {
      const task = spawn(value, { name: "junk" });
      yield* guillotine.yieldNow();
      yield* guillotine.yieldNow();
      if (!task.isFinished) task.abort();
      try {
        release(yield* task);
      } catch (error) {
        check(error, name);
      }
    } else release(value);
  } catch (error) {
    check(error, name);
  }
}

const show = (args: readonly unknown[]): string =>
  args.map((arg) => (typeof arg === "symbol" ? "a symbol" : Bun.inspect(arg))).join(", ");

const {
  Barrier,
  broadcast,
  BufReader,
  BufWriter,
  CancelToken,
  duplex,
  frameWriter,
  fromReadable,
  fromWritable,
  interval,
  JoinSet,
  Mutex,
  mpmc,
  mpsc,
  Notify,
  OnceCell,
  oneshot,
  pipe,
  RateLimiter,
  RwLock,
  Semaphore,
  TcpListener,
  TcpStream,
  TlsListener,
  UdpSocket,
  unboundedMpsc,
  watch,
} = guillotine;

/** null without openssl, which creates them. */
const certificates = hasOpenssl ? createCertificates() : null;
afterAll(() => certificates?.dispose());
/** The classes of families that the kernel lacks. */
const missing = new Set<string>();
for (const [name, open] of [
  ["VsockListener", () => guillotine.VsockListener.bind()],
  ["CanSocket", () => guillotine.CanSocket.open("")],
] as const) {
  try {
    open().close();
  } catch {
    missing.add(name);
  }
}
const listener = TcpListener.bind("127.0.0.1:0");
afterAll(() => listener.close());

/** Creates an instance of each class that is not exempt. */
const instances: Readonly<Record<string, (cx: Context) => unknown>> = {
  AbortHandle: () => spawn(sleep(0)).abortHandle(),
  AsyncFd: () => {
    const ends = pipe();
    release(ends.writer);
    return ends.reader;
  },
  Barrier: () => new Barrier(2),
  BroadcastReceiver: () => broadcast(1).receiver,
  BroadcastSender: () => broadcast(1).sender,
  BufReader: () => new BufReader(duplex()[0]),
  BufWriter: () => new BufWriter(duplex()[0]),
  CanSocket: () => guillotine.CanSocket.open(""),
  CancelToken: () => new CancelToken(),
  DuplexStream: () => duplex()[0],
  FrameWriter: () => frameWriter(duplex()[0], () => new Uint8Array(1)),
  Frames: () => new BufReader(duplex()[0]).lines(),
  Interval: () => interval(1),
  JoinHandle: () => spawn(sleep(0)),
  JoinSet: () => new JoinSet(),
  MpmcReceiver: () => mpmc(1).receiver,
  Mutex: () => new Mutex(0),
  MutexGuard: () => new Mutex(0).tryLock(),
  Netlink: () => guillotine.Netlink.open(),
  Notify: () => new Notify(),
  OnceCell: () => new OnceCell(),
  OneshotReceiver: () => oneshot().receiver,
  OneshotSender: () => oneshot().sender,
  OwnedFd: () => {
    const ends = pipe();
    release(ends.writer);
    return new guillotine.OwnedFd(ends.reader.release());
  },
  Permit: () => new Semaphore(1).tryAcquire(),
  RateLimiter: () => new RateLimiter({ tokens: 1 }),
  RawSocket: () => guillotine.RawSocket.open(2, 2),
  ReadHalf: () => guillotine.split(duplex()[0])[0],
  ReadGuard: () => new RwLock(0).tryRead(),
  Receiver: () => mpsc(1).receiver,
  Runtime: () => new Runtime({ onUncaught: "report" }),
  RwLock: () => new RwLock(0),
  Semaphore: () => new Semaphore(1),
  SendPermit: function* () {
    return yield* mpsc(1).sender.reserve();
  },
  Sender: () => mpsc(1).sender,
  TcpListener: () => TcpListener.bind("127.0.0.1:0"),
  TlsListener: () => TlsListener.bind("127.0.0.1:0", certificates!.server),
  TlsStream: function* () {
    using secure = TlsListener.bind("127.0.0.1:0", certificates!.server);
    using _client = yield* TcpStream.connect(secure.localAddress);
    return yield* secure.accept();
  },
  TcpStream: function* () {
    return yield* TcpStream.connect(listener.localAddress);
  },
  UdpSocket: () => UdpSocket.bind("127.0.0.1:0"),
  UnixDatagram: () => guillotine.UnixDatagram.bind(""),
  UnixListener: () => guillotine.UnixListener.bind(""),
  UnixSeqpacket: () => {
    const [ours, theirs] = guillotine.UnixSeqpacket.pair();
    release(theirs);
    return ours;
  },
  UnixSeqpacketListener: () => guillotine.UnixSeqpacketListener.bind(""),
  UnixStream: () => {
    const [ours, theirs] = guillotine.UnixStream.pair();
    release(theirs);
    return ours;
  },
  WebReader: () => fromReadable(new Blob(["text"]).stream()),
  WebWriter: () => fromWritable(new WritableStream()),
  UnboundedSender: () => unboundedMpsc().sender,
  VsockListener: () => guillotine.VsockListener.bind(),
  VsockStream: () => {
    const [ours, theirs] = guillotine.UnixStream.pair(); // no machine connects vsock sockets to itself
    release(theirs);
    return guillotine.VsockStream.create(ours.source);
  },
  Waker: (cx) => cx.waker.clone(),
  WatchReceiver: () => watch(0).receiver,
  WatchSender: () => watch(0).sender,
  WriteGuard: () => new RwLock(0).tryWrite(),
  WriteHalf: () => guillotine.split(duplex()[0])[1],
};

/** Captures the context of its poll. */
class Captured extends Future<Context> {
  override poll(cx: Context): Context {
    return cx;
  }
}

function* instanceOf(name: string): Generator<symbol, object> {
  const create = instances[name];
  if (create === undefined) throw new Error(`instances has no ${name}`);
  const made = create(yield* new Captured());
  const isWork = Object.prototype.toString.call(made) === "[object Generator]";
  return (isWork ? yield* made as Generator<symbol, object> : made) as object;
}

const exported: Record<string, unknown> = { ...sys, ...inspect, ...guillotine };
const isClass = (value: unknown): boolean => /^class\b/.test(String(value));
const functions = Object.entries(exported).filter(
  ([, value]) => typeof value === "function" && !isClass(value),
) as [string, (...args: unknown[]) => unknown][];
type Class = new (...args: unknown[]) => object;
const classes = Object.entries(exported).filter(
  ([name, value]) => isClass(value) && !isExempt(value as Class, name),
) as [string, Class][];

/** The declared methods and accessors of an object, also of the classes that its class extends. */
function membersOf(prototype: object): Map<string | symbol, PropertyDescriptor> {
  const members = new Map<string | symbol, PropertyDescriptor>();
  for (let at = prototype; at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    for (const name of Reflect.ownKeys(at)) {
      if (typeof name === "string" && (!declared.has(name) || PROTOCOL.has(name))) continue;
      if (name === Symbol.toStringTag || members.has(name)) continue;
      members.set(name, Object.getOwnPropertyDescriptor(at, name)!); // an own key
    }
  }
  return members;
}

/** Runs `work` to its end. What junk leaves behind may be reported, for example a task that fails. */
function run(work: () => Generator<symbol, void>): void {
  using _errors = captureConsoleError();
  using _warnings = silenceWarnings();
  runtime.blockOn(work);
}

test("every public class that is not abstract or an error is tested", () => {
  const names = classes.map(([name]) => name);
  expect(Object.keys(instances).sort()).toEqual(names.sort());
});

test.each(functions)("%s refuses junk with an error that has a code", (name, fn) => {
  run(function* () {
    for (const args of argumentLists) {
      // A worker that starts ends some time later, which tests that count fds would see.
      if (name === "spawnBlocking" && typeof args[0] === "function") continue;
      if (name === "traceToFile" && typeof args[0] === "string" && args[0] !== "") continue; // a file
      // No argument is fine for it: then it must not stay open.
      const call =
        name === "inspect"
          ? () => (fn(...args) as Disposable)[Symbol.dispose]()
          : () => fn(...args);
      yield* perform(call, `${name}(${show(args)})`);
      sys.setDefaultSys(null);
    }
  });
});

test.each(classes)(
  "the constructor of %s refuses junk with an error that has a code",
  (name, of) => {
    run(function* () {
      for (const args of argumentLists) {
        if (TAKES_FD.has(name) && args[0] === 1) continue; // that fd has an owner
        yield* perform(() => new of(...(args as never[])), `new ${name}(${show(args)})`);
      }
      for (const member of Object.getOwnPropertyNames(of)) {
        const method = Reflect.get(of, member);
        if (typeof method !== "function" || !declared.has(member)) continue;
        for (const args of argumentLists) {
          if (member === "fromFd" && args[0] === 1) continue; // that fd has an owner
          const call = `${name}.${member}(${show(args)})`;
          yield* perform(() => Reflect.apply(method, of, args), call);
        }
      }
    });
  },
);

test.each(classes)("the methods of %s refuse junk with an error that has a code", (name, of) => {
  if (name.startsWith("Tls") && certificates === null) return;
  if (missing.has(name)) return;
  run(function* () {
    for (const [member, { value, get, set }] of membersOf(of.prototype)) {
      for (const args of argumentLists) {
        const instance = yield* instanceOf(name);
        const call = `${name}.${String(member)}(${show(args)})`;
        yield* perform(() => (value ?? get).apply(instance, args), call);
        if (set !== undefined) yield* perform(() => Reflect.apply(set, instance, args), call);
        release(instance);
      }
    }
  });
});
