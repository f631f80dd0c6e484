// A generator as a future. How it is cancelled is in unwind.ts.

import { type Context, current, currentContextOrNull } from "./context.ts";
import { type Coroutine, Future, polledAfterEnd } from "./future.ts";
import { corrected, realNext, realReturn } from "./generator.ts";
import { Pending, type Poll } from "./poll.ts";
import { Unwinding } from "./unwind.ts";

export class CoroutineFuture<T> extends Future<T> {
  /** null once it has ended, whichever way. */
  #generator: Coroutine<T> | null;
  /** The context of the last poll, also for its end: who waits for it. null before the first poll. */
  #lastContext: Context | null = null;
  #isRunning = false;
  /** Set once cancellation has begun; from then on there is no way back. */
  #unwinding: Unwinding | null = null;

  constructor(generator: Coroutine<T>) {
    super();
    this.#generator = generator;
  }

  override get runsWork(): boolean {
    return true;
  }

  override poll(cx: Context): Poll<T> {
    const generator = this.#generator;
    if (generator === null || this.#unwinding !== null) throw polledAfterEnd("a coroutine");
    if (this.#isRunning) throw new Error("a coroutine was polled from inside itself");
    this.#lastContext = cx;
    this.#isRunning = true;
    const previous = current.context;
    current.context = cx;
    let isSuspended = false;
    try {
      let result = realNext.call(generator) as IteratorResult<symbol, T>;
      if (result.done !== true && result.value !== Pending) result = corrected(generator, result);
      if (result.done === true) return result.value;
      isSuspended = true;
      return Pending;
    } finally {
      current.context = previous;
      this.#isRunning = false;
      if (!isSuspended) this.#generator = null;
    }
  }

  override pollCancel(cx: Context): Poll<void> {
    const generator = this.#generator;
    if (generator === null) return;
    if (this.#isRunning) throw new Error("a coroutine was dropped from inside its own poll");
    if (this.#lastContext === null) {
      // Never started: no user code runs.
      this.#generator = null;
      realReturn.call(generator);
      return;
    }
    this.#lastContext = cx;
    this.#unwinding ??= new Unwinding(generator);
    this.#isRunning = true;
    try {
      if (this.#unwinding.poll(cx) === Pending) return Pending;
    } finally {
      this.#isRunning = false;
    }
    this.#generator = null;
  }

  override drop(): void {
    if (this.#generator === null) return;
    if (this.#isRunning && this.#unwinding !== null) return; // by its own cleanup: it ends already
    const last = this.#lastContext;
    const cx = currentContextOrNull() ?? last;
    if (cx === null) {
      realReturn.call(this.#generator);
      this.#generator = null;
    } else if (this.pollCancel(cx) === Pending) {
      const unwinding = this.#unwinding!; // it is pending
      this.#generator = null; // for its owner it has ended: two who drive it would take each other's wakes
      cx.runtime.finishCleanup((cleanup) => unwinding.poll(cleanup));
      last?.wake(); // the owner may be another, and wait for its end
    }
  }
}
