// How a suspended generator is cancelled: innermost first, each `finally` driven to its end.
//
// `outer.return()` is not enough. With nested generators and a `finally` that suspends it returns
// `done: false`, and a later `next()` completes the outer `yield*` *normally*: user code would continue after
// its cancellation. So we first find the chain of generators without running any user code, and then unwind
// it from the inside.
//
// To find the chain, we replace `%GeneratorPrototype%.return` for one synchronous call with a shadow: a function
// that records `this` and returns PROBED. When a generator is suspended in `yield* inner`, its real `return` calls
// `inner.return`. So the shadow runs with `inner` as `this`, and the real `return` passes PROBED on to us.
// `Future.return` records and returns the same (`unwindProbe` in future.ts). We repeat this with each generator we
// find until we reach a Future.
//
// A generator suspended at a bare `yield Pending` delegates to nothing, so the real `return` starts its
// cleanup at once, and we see a result other than PROBED. If that cleanup itself closes a generator (by leaving
// a `for of`, for example), the probe intercepts that `return`, and we call the real one afterwards. The first
// intercepted call ends the probe, so there is at most one.
//
// Where intrinsics are frozen we fall back to `throw(AbortError)`, which a `catch` can see.

import type { Context } from "./context.ts";
import { current } from "./current.ts";
import { AbortError, type Coroutine, Future, unwindProbe } from "./future.ts";
import {
  GeneratorPrototype,
  realNext,
  realReturn,
  realThrow,
  rejectStrayYields,
} from "./generator.ts";
import { Pending, type Poll } from "./poll.ts";

type AnyGenerator = Coroutine<unknown>;
type Found = AnyGenerator | Future<unknown>;

/** The result of an intercepted `return`. No other code has its symbol. */
const PROBED: IteratorYieldResult<symbol> = { done: false, value: Symbol("guillotine.PROBED") };

function shadowReturn(this: unknown): IteratorResult<unknown> {
  return unwindProbe.prober!.onFound(this as object); // set while the shadow is installed
}

function endProbe(): void {
  GeneratorPrototype.return = realReturn;
  unwindProbe.prober = null;
}

/** One generator of the chain. */
interface Frame {
  readonly generator: AnyGenerator;
  /** `return` has been called: from here on `next()` drives the cleanup. */
  isReturning: boolean;
}

/** The cancellation of one coroutine, polled until it is done. */
export class Unwinding {
  /** The coroutine, until the first poll. */
  private outermost: AnyGenerator | null;
  /** The chain, from the outermost generator to the innermost. */
  private readonly frames: Frame[] = [];
  /** The future that the innermost generator awaits, until it is cancelled. */
  private leaf: Future<unknown> | null = null;
  /** What the latest probe found. */
  private found: Found | null = null;
  /** Where intrinsics are frozen: the error that we threw into the coroutine, and that it rethrows. */
  private thrown: AbortError | null = null;

  constructor(generator: AnyGenerator) {
    this.outermost = generator;
  }

  poll(cx: Context): Poll<void> {
    const previous = current.context;
    current.context = cx;
    try {
      if (this.outermost !== null) {
        const generator = this.outermost;
        this.outermost = null;
        this.find(generator, cx);
      }
      if (this.leaf !== null) {
        if (this.attempt(cx, () => this.leaf?.pollCancel(cx)) === Pending) return Pending;
        unwindProbe.cancelled = this.leaf;
        this.leaf = null;
      }
      for (let frame = this.frames.at(-1); frame !== undefined; frame = this.frames.at(-1)) {
        const { generator, isReturning } = frame;
        frame.isReturning = true;
        const result = this.attempt(cx, () =>
          rejectStrayYields(
            generator,
            isReturning ? realNext.call(generator) : realReturn.call(generator),
          ),
        );
        unwindProbe.cancelled = null;
        if (result !== undefined && result.done !== true) return Pending;
        this.frames.pop();
      }
      return undefined;
    } finally {
      current.context = previous;
    }
  }

  /** Installs the shadow. Returns false where intrinsics are frozen. */
  private beginProbe(): boolean {
    try {
      GeneratorPrototype.return = shadowReturn; // `Reflect.set` costs four times as much
    } catch {
      return false;
    }
    unwindProbe.prober = this;
    this.found = null;
    return true;
  }

  /** Called for the first generator or future that the probe reaches. Ends the probe. */
  onFound(found: object): IteratorYieldResult<symbol> {
    endProbe();
    this.found = found as Found;
    return PROBED;
  }

  /** Runs one step. Reports an error, instead of throwing it, so that the outer `finally` blocks still run. */
  private attempt<R>(cx: Context, step: () => R): R | undefined {
    try {
      return step();
    } catch (error) {
      if (error !== this.thrown) {
        cx.runtime.report(error, `cleanup of cancelled task ${cx.task.name}`);
      }
      return undefined;
    }
  }

  /** Fills `frames`, and `leaf` unless the innermost generator awaits no future. */
  private find(outermost: AnyGenerator, cx: Context): void {
    for (let generator = outermost; ; ) {
      const frame: Frame = { generator, isReturning: false };
      this.frames.push(frame);
      if (!this.beginProbe()) {
        const error = new AbortError("the task was aborted");
        this.thrown = error;
        const answer = this.attempt(cx, () => realThrow.call(generator, error));
        this.onReturned(frame, cx, answer);
        return;
      }
      const result = this.attempt(cx, () => realReturn.call(generator, undefined));
      endProbe();
      const found = this.found as Found | null;
      if (result?.value !== PROBED.value) {
        // The generator delegates to nothing, and its cleanup has begun. If the cleanup closed
        // a generator or future, the probe intercepted the call: close it now.
        if (found !== null) this.attempt(cx, () => found.return(undefined));
        this.onReturned(frame, cx, result);
        return;
      }
      if (found instanceof Future) {
        this.leaf = found;
        return;
      }
      generator = found!; // set: the result is PROBED
    }
  }

  /** Records that the cleanup of `frame` has begun. An `answer` of undefined means that the cleanup threw. */
  private onReturned(frame: Frame, cx: Context, answer: IteratorResult<unknown> | undefined): void {
    frame.isReturning = true;
    const result = answer && this.attempt(cx, () => rejectStrayYields(frame.generator, answer));
    if (result === undefined || result.done === true) this.frames.pop();
  }
}
