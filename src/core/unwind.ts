// How a suspended generator is cancelled: innermost first, each `finally` driven to its end.
//
// `outer.return()` is not enough. With nested generators and a `finally` that suspends it answers
// `done: false`, and resuming with `next()` then completes the outer `yield*` *normally*: user code
// runs on after its cancellation. So we first find the chain of generators without running any user
// code, then unwind it from the inside.
//
// To find it, `%GeneratorPrototype%.return` is shadowed for the length of one synchronous call with
// a function that notes `this` and answers `{ done: false }`. The real `return` on a generator that
// is suspended in `yield* inner` looks `return` up on `inner`, and so names it. Futures answer the
// same way (`probe` in future.ts). Repeat with what was found until a Future is reached.
//
// A generator suspended at a bare `yield Pending` delegates to nobody: the real `return` starts its
// cleanup at once, and user code of that cleanup must not see the shadow. It removes itself before
// it answers; what remains is a first `return()` of another generator in the first synchronous part
// of such a cleanup, which we cannot tell from a delegation. Use `yield*`, and it cannot occur.
//
// Where intrinsics are frozen we fall back to `throw(AbortError)`: `catch` can then see it.

import { type Context, swapContext } from "./context.ts";
import { AbortError, type Coroutine, Future, probe } from "./future.ts";
import { GeneratorPrototype } from "./generator.ts";
import { Pending, type Poll } from "./poll.ts";

type AnyGenerator = Coroutine<unknown>;

const realReturn = GeneratorPrototype.return;
const PROBED: IteratorYieldResult<symbol> = { done: false, value: Pending };

function shadowReturn(this: unknown): IteratorResult<unknown> {
  GeneratorPrototype.return = realReturn;
  probe.found = this as object;
  return PROBED;
}

const canShadow: boolean = (() => {
  const descriptor = Object.getOwnPropertyDescriptor(GeneratorPrototype, "return");
  return descriptor?.writable === true;
})();

/** One step of a generator's end: how it answered. */
interface Frame {
  readonly generator: AnyGenerator;
  /** Its `return` has been called: from here on `next()` drives its cleanup. */
  isReturning: boolean;
}

/** The cancellation of one coroutine: polled until it is over. */
export class Unwinding {
  /** From the outermost to the innermost; a Future can only be the last. */
  readonly #frames: Frame[] = [];
  #leaf: Future<unknown> | null = null;
  /** Where intrinsics are frozen: what was thrown into the coroutine, and comes out of it again. */
  #thrown: AbortError | null = null;

  constructor(generator: AnyGenerator, cx: Context) {
    this.#find(generator, cx);
  }

  poll(cx: Context): Poll<void> {
    const previous = swapContext(cx);
    try {
      if (this.#leaf !== null) {
        if (this.#attempt(cx, () => this.#leaf?.pollCancel(cx)) === Pending) return Pending;
        probe.cancelled = this.#leaf;
        this.#leaf = null;
      }
      for (let frame = this.#frames.at(-1); frame !== undefined; frame = this.#frames.at(-1)) {
        const { generator } = frame;
        const resume = frame.isReturning
          ? () => generator.next()
          : () => realReturn.call(generator, undefined);
        frame.isReturning = true;
        const result = this.#attempt(cx, resume);
        probe.cancelled = null;
        if (result !== undefined && result.done !== true) return Pending;
        this.#frames.pop();
      }
      return undefined;
    } finally {
      swapContext(previous);
    }
  }

  /** A cleanup that throws is reported; the outer `finally` blocks still run. */
  #attempt<R>(cx: Context, step: () => R): R | undefined {
    try {
      return step();
    } catch (error) {
      if (error !== this.#thrown) {
        cx.runtime.report(error, `cleanup of cancelled task ${cx.task.name}`);
      }
      return undefined;
    }
  }

  #find(outermost: AnyGenerator, cx: Context): void {
    let generator = outermost;
    const previous = swapContext(cx);
    try {
      for (;;) {
        const frame: Frame = { generator, isReturning: false };
        this.#frames.push(frame);
        if (!canShadow) {
          this.#throwInto(frame, cx);
          return;
        }
        probe.found = null;
        probe.isOn = true;
        GeneratorPrototype.return = shadowReturn;
        let result: IteratorResult<unknown> | undefined;
        try {
          result = this.#attempt(cx, () => realReturn.call(generator, undefined));
        } finally {
          GeneratorPrototype.return = realReturn;
          probe.isOn = false;
        }
        const found = probe.found as object | null;
        probe.found = null;
        if (found === null) {
          // Nobody to delegate to: the cleanup of this one has begun, and may have ended.
          frame.isReturning = true;
          if (result === undefined || result.done === true) this.#frames.pop();
          return;
        }
        if (found instanceof Future) {
          this.#leaf = found;
          return;
        }
        generator = found as AnyGenerator;
      }
    } finally {
      swapContext(previous);
    }
  }

  #throwInto(frame: Frame, cx: Context): void {
    frame.isReturning = true;
    const error = new AbortError("the task was aborted");
    this.#thrown = error;
    const result = this.#attempt(cx, () => frame.generator.throw(error));
    if (result === undefined || result.done === true) this.#frames.pop();
  }
}
