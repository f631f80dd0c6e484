// Prints the bytes of heap per waiting task and per sleep, as JSON. Runs in its own process: the garbage of other tests
// would change the numbers.

import { heapStats } from "bun:jsc";
import {
  type Context,
  Future,
  Pending,
  type Poll,
  Runtime,
  sleep,
  yieldNow,
} from "../../src/index.ts";

const COUNT = 50_000;

/** Returns the bytes of heap per object. `make` must create COUNT objects and return a value that keeps them alive. */
function bytesOfEach(make: () => unknown): number {
  const collected = (): number => {
    Bun.gc(true);
    Bun.gc(true);
    return heapStats().heapSize;
  };
  const before = collected();
  const kept = make();
  const bytes = (collected() - before) / COUNT;
  return kept === undefined ? Number.NaN : bytes; // this use keeps the objects alive until here
}

class Never extends Future<void> {
  override poll(): Poll<void> {
    return Pending;
  }
}

/** Polls each of its futures once, then completes. */
class PollAll extends Future<void> {
  readonly #futures: readonly Future<void>[];

  constructor(futures: readonly Future<void>[]) {
    super();
    this.#futures = futures;
  }

  override poll(cx: Context): Poll<void> {
    for (const one of this.#futures) one.poll(cx);
  }
}

const runtime = new Runtime();
const never = new Never();
function* wait() {
  yield* never;
}

const task = bytesOfEach(() => {
  for (let index = 0; index < COUNT; index++) runtime.spawn(wait).detach();
  runtime.blockOn(yieldNow());
  return runtime;
});
const pending = bytesOfEach(() => {
  const sleeps = Array.from({ length: COUNT }, () => sleep(1e9));
  runtime.blockOn(new PollAll(sleeps));
  return sleeps;
});
console.log(JSON.stringify({ task, sleep: pending }));
process.exit();
