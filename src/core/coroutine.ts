// CoroutineFuture: a generator as a future. unwind.ts cancels it.

import { codedError } from "../base/coded-error.ts";
import type { Context } from "./context.ts";
import { current, currentContextOrNull, wakeOwner } from "./current.ts";
import { type Coroutine, Future, polledAfterEnd } from "./future.ts";
import { realNext, realReturn, rejectStrayYields } from "./generator.ts";
import { Pending, type Poll } from "./poll.ts";
import { Unwinding } from "./unwind.ts";

export class CoroutineFuture<T> extends Future<T> {
  /** null once this future has ended. */
  private generator: Coroutine<T> | null;
  /** The context of the latest poll. Its owner waits for the end. null before the first poll. */
  private lastContext: Context | null;
  private isRunning = false;
  /** Set once cancellation has begun, which cannot be undone. */
  private unwinding: Unwinding | null = null;

  /** `lastContext` is that of code that has resumed the generator itself. */
  constructor(generator: Coroutine<T>, lastContext: Context | null = null) {
    super();
    this.generator = generator;
    this.lastContext = lastContext;
  }

  override get runsUserCode(): boolean {
    return true;
  }

  override get showsStack(): boolean {
    return true;
  }

  override inspectLine(): string {
    if (this.generator === null) return "Future (ended)";
    return `Future (a coroutine${this.lastContext === null ? " that has not started" : ""})`;
  }

  override poll(cx: Context): Poll<T> {
    const generator = this.generator;
    if (generator === null || this.unwinding !== null) throw polledAfterEnd("a coroutine");
    if (this.isRunning)
      throw codedError(
        "ERR_REENTRANT_POLL",
        "a coroutine was polled from inside its own poll: it cannot await itself",
      );
    this.lastContext = cx;
    this.isRunning = true;
    const previous = current.context;
    if (previous !== cx) current.context = cx; // usually a task has set it
    let isSuspended = false;
    try {
      let result = realNext.call(generator) as IteratorResult<symbol, T>;
      if (result.done !== true && result.value !== Pending)
        result = rejectStrayYields(generator, result);
      if (result.done === true) return result.value;
      isSuspended = true;
      return Pending;
    } finally {
      if (previous !== cx) current.context = previous;
      this.isRunning = false;
      if (!isSuspended) this.generator = null;
    }
  }

  override pollCancel(cx: Context): Poll<void> {
    const generator = this.generator;
    if (generator === null) return;
    if (this.isRunning)
      throw codedError(
        "ERR_REENTRANT_POLL",
        "a coroutine was dropped from inside its own poll; return from it instead",
      );
    if (this.lastContext === null) {
      // The generator never started, so its `return` runs no user code.
      this.generator = null;
      realReturn.call(generator);
      return;
    }
    this.lastContext = cx;
    this.unwinding ??= new Unwinding(generator);
    this.isRunning = true;
    try {
      if (this.unwinding.poll(cx) === Pending) return Pending;
    } finally {
      this.isRunning = false;
    }
    this.generator = null;
  }

  override drop(): void {
    if (this.generator === null) return;
    if (this.isRunning && this.unwinding !== null) return; // its own cleanup called drop(): it is already ending
    const last = this.lastContext;
    const cx = currentContextOrNull() ?? last;
    if (cx === null) {
      realReturn.call(this.generator);
      this.generator = null;
      return;
    }
    try {
      if (this.pollCancel(cx) !== Pending) return;
    } finally {
      wakeOwner(last);
    }
    const unwinding = this.unwinding!; // set: cancellation is pending
    // Only the runtime drives the cleanup: a second driver would steal its wakes. An owner sees this future as ended.
    this.generator = null;
    cx.runtime.finishCleanup((cleanup) => unwinding.poll(cleanup));
  }
}
