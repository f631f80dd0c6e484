// The executor benchmarks on this library.

import {
  Future,
  joinAll,
  Mutex,
  mpsc,
  Pending,
  Runtime,
  race,
  sleep,
  sleepUntil,
  spawn,
  TcpListener,
  TcpStream,
  yieldNow,
} from "../../src/index.ts";
import { inspect } from "../../src/inspect/index.ts";
import { answer, bytes, lateness, percentile, sleepMs } from "./answer.mjs";

const runtime = new Runtime();
if (process.argv[2] === "observed") runtime.observe();
if (process.argv[2] === "looked-at") {
  // A client in a Worker: this thread holds its own loop.
  const data = inspect().url.replace("/?", "/data?");
  const program = `setInterval(() => fetch("${data}").then((found) => found.text()), 500)`;
  new Worker(URL.createObjectURL(new Blob([program]))).unref();
}

class Never extends Future {
  poll() {
    return Pending;
  }
}

class Ready extends Future {
  poll() {
    return 1;
  }
}

/** Polls each of its futures once. */
class Begin extends Future {
  constructor(futures) {
    super();
    this.futures = futures;
  }

  poll(cx) {
    for (const future of this.futures) future.poll(cx);
  }
}

function* one() {
  return 1;
}

function* deep(depth) {
  if (depth === 0) yield* yieldNow();
  else yield* deep(depth - 1);
}

/** Runs the work in a task, as the other peers do. */
const inTask = (body) => (count) => runtime.blockOn(() => body(count));

const late = inTask(function* (count) {
  const lateMs = [];
  for (let index = 0; index < count; index++) {
    const dueMs = performance.now() + 1;
    yield* sleepUntil(dueMs);
    lateMs.push(performance.now() - dueMs);
  }
  return lateMs;
});

let isCrowded = false;

/** The runtime gets 100,000 idle tasks, once. */
function crowd() {
  if (isCrowded) return;
  isCrowded = true;
  for (let index = 0; index < 100_000; index++) {
    spawn(sleep(3_600_000), { name: `idle ${index % 7}` }).detach();
  }
}

function* echo(listener) {
  using stream = yield* listener.accept();
  const buffer = new Uint8Array(64);
  for (;;) {
    const length = yield* stream.read(buffer);
    if (length === 0) return;
    yield* stream.writeAll(buffer, length);
  }
}

await answer({
  "crowded-echo": inTask(function* (count) {
    crowd();
    using listener = TcpListener.bind("127.0.0.1:0");
    spawn(echo(listener));
    using client = yield* TcpStream.connect(listener.localAddress);
    const buffer = new Uint8Array(64);
    for (let index = 0; index < count; index++) {
      yield* client.writeAll(buffer);
      yield* client.read(buffer);
    }
  }),
  yield: inTask(function* (count) {
    for (let index = 0; index < count; index++) yield* yieldNow();
  }),
  spawn: inTask(function* (count) {
    for (let index = 0; index < count; index++) yield* spawn(one);
  }),
  "ping-pong": inTask(function* (count) {
    const [there, back] = [mpsc(1), mpsc(1)];
    spawn(function* () {
      for (;;) {
        const next = yield* there.receiver.recv();
        if (next.done) return;
        yield* back.sender.send(next.value);
      }
    });
    for (let index = 0; index < count; index++) {
      yield* there.sender.send(index);
      yield* back.receiver.recv();
    }
    there.sender.close();
  }),
  join: inTask(function* (count) {
    for (let round = 0; round < count / 10_000; round++) {
      yield* joinAll(Array.from({ length: 10_000 }, () => yieldNow()));
    }
  }),
  deep: inTask(function* (count) {
    for (let index = 0; index < count; index++) yield* deep(10);
  }),
  await: (count) =>
    runtime.blockOn(async () => {
      for (let index = 0; index < count; index++) await new Ready();
    }),
  lock: inTask(function* (count) {
    const mutex = new Mutex(null);
    function* task() {
      for (let index = 0; index < count / 10; index++) {
        const guard = yield* mutex.lock();
        yield* yieldNow();
        guard.release();
      }
    }
    yield* joinAll(Array.from({ length: 10 }, () => spawn(task)));
  }),
  sleeps: (count) =>
    lateness(() =>
      runtime.blockOn(() =>
        joinAll(Array.from({ length: count }, (_, index) => sleep(sleepMs(index)))),
      ),
    ),
  cancel: inTask(function* (count) {
    for (let index = 0; index < count; index++) {
      const future = sleep(1000);
      future.next();
      future.drop();
    }
  }),
  p50: async (count) => percentile(late(count), 0.5),
  p99: async (count) => percentile(late(count), 0.99),
  losers: inTask(function* (count) {
    for (let index = 0; index < count; index++) yield* race(sleep(1000), yieldNow());
  }),
  "task-bytes": (count) =>
    bytes(count, () => {
      const never = new Never();
      function* task() {
        yield* never;
      }
      for (let index = 0; index < count; index++) runtime.spawn(task);
      runtime.blockOn(yieldNow());
      return runtime;
    }),
  "sleep-bytes": (count) =>
    bytes(count, () => {
      const sleeps = Array.from({ length: count }, () => sleep(1_000_000));
      runtime.blockOn(new Begin(sleeps));
      return sleeps;
    }),
});
