// A program of test/runtime/deadlock.test.ts: a microtask wakes the only task, in a thread that has created no promise
// yet.

import { type Context, Future, Pending, type Poll, Runtime } from "../../../src/index.ts";

class WokenByMicrotask extends Future<string> {
  #polls = 0;

  override poll(cx: Context): Poll<string> {
    if (++this.#polls > 1) return "woken";
    const waker = cx.waker.clone();
    queueMicrotask(() => waker.wake());
    return Pending;
  }
}

console.log(new Runtime().blockOn(new WokenByMicrotask()));
