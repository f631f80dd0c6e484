// A future of our own, woken by another thread.
//
//   bun run examples/waker.ts
//
// The future sends its waker to a Worker, which wakes it twice: once spuriously, and once after setting the
// flag. You will see: three polls, of which the last finds the flag set, and then the result. Between the
// polls the main thread blocks in epoll_wait. A wake writes 8 bytes to the eventfd of the future.

import { type Context, Future, Pending, type Poll, Runtime } from "../src/index.ts";

class Flag extends Future<string> {
  readonly #flag = new Int32Array(new SharedArrayBuffer(4));
  #worker: Worker | null = null;

  override poll(cx: Context): Poll<string> {
    const isSet = Atomics.load(this.#flag, 0) === 1;
    console.log(`poll: the flag is ${isSet ? "set" : "not set"}`);
    if (isSet) {
      this.drop();
      return "the worker set the flag";
    }
    if (this.#worker === null) {
      this.#worker = new Worker(new URL("./waker-worker.ts", import.meta.url));
      this.#worker.postMessage({ handle: cx.waker.toHandle(), flag: this.#flag });
    }
    return Pending;
  }

  override drop(): void {
    this.#worker?.unref(); // it exits by itself
    this.#worker = null;
  }
}

using runtime = new Runtime();
console.log(runtime.blockOn(new Flag()));
