// How a suspended generator is cancelled: innermost first, each `finally` driven to its end.
//
// `outer.return()` is not enough. With nested generators and a `finally` that suspends it answers
// `done: false`, and resuming with `next()` then completes the outer `yield*` *normally*: user code
// runs on after its cancellation. So we first find the chain of generators without running any user
// code, then unwind it from the inside.
//
// To find it, `%GeneratorPrototype%.return` is shadowed for the length of one synchronous call with
// a function that notes `this` and answers PROBED. The real `return` on a generator that is suspended
// in `yield* inner` looks `return` up on `inner`, which so names itself, and passes the answer on.
// Futures answer the same way (`probe` in future.ts). Repeat with what was found until a Future is
// reached.
//
// A generator suspended at a bare `yield Pending` delegates to nobody: the real `return` starts its
// cleanup at once. That it answers something else than PROBED tells us so. If this cleanup itself closes
// a generator (it leaves a `for of`, say), that one's `return` was taken by the probe, and not carried
// out. The first call ends the probe, so there is one such at most: its real `return` is called then.
//
// Where intrinsics are frozen we fall back to `throw(AbortError)`: `catch` can then see it.

import { type Context, current } from "./context.ts";
import { AbortError, type Coroutine, Future, probe } from "./future.ts";
import { corrected, GeneratorPrototype, realNext, realReturn, realThrow } from "./generator.ts";
import { Pending, type Poll } from "./poll.ts";

type AnyGenerator = Coroutine<unknown>;
type Found = AnyGenerator | Future<unknown>;

/** Its value is nobody else's. */
const PROBED: IteratorYieldResult<symbol> = { done: false, value: Symbol("guillotine.PROBED") };

function shadowReturn(this: unknown): IteratorResult<unknown> {
  return probe.by!.note(this as object); // set while the shadow is
}

function endProbe(): void {
  GeneratorPrototype.return = realReturn;
  probe.by = null;
}

/** One generator of the chain. */
interface Frame {
  readonly generator: AnyGenerator;
  /** Its `return` has been called: from here on `next()` drives its cleanup. */
  isReturning: boolean;
}

/** The cancellation of one coroutine: polled until it is over. */
export class Unwinding {
  /** The coroutine, until the first poll. */
  #outermost: AnyGenerator | null;
  /** From the outermost to the innermost; a Future can only be the last. */
  readonly #frames: Frame[] = [];
  #leaf: Future<unknown> | null = null;
  /** Who answered the probe. */
  #found: Found | null = null;
  /** Where intrinsics are frozen: what was thrown into the coroutine, and comes out of it again. */
  #thrown: AbortError | null = null;

  constructor(generator: AnyGenerator) {
    this.#outermost = generator;
  }

  poll(cx: Context): Poll<void> {
    const previous = current.context;
    current.context = cx;
    try {
      if (this.#outermost !== null) {
        const generator = this.#outermost;
        this.#outermost = null;
        this.#find(generator, cx);
      }
      if (this.#leaf !== null) {
        if (this.#attempt(cx, () => this.#leaf?.pollCancel(cx)) === Pending) return Pending;
        probe.cancelled = this.#leaf;
        this.#leaf = null;
      }
      for (let frame = this.#frames.at(-1); frame !== undefined; frame = this.#frames.at(-1)) {
        const { generator, isReturning } = frame;
        frame.isReturning = true;
        const result = this.#attempt(cx, () =>
          corrected(generator, isReturning ? realNext.call(generator) : realReturn.call(generator)),
        );
        probe.cancelled = null;
        if (result !== undefined && result.done !== true) return Pending;
        this.#frames.pop();
      }
      return undefined;
    } finally {
      current.context = previous;
    }
  }

  /** False where intrinsics are frozen. */
  #beginProbe(): boolean {
    try {
      GeneratorPrototype.return = shadowReturn; // (Reflect.set costs four times as much)
    } catch {
      return false;
    }
    probe.by = this;
    this.#found = null;
    return true;
  }

  /** The answer of what the probe reached first; it looks no further. */
  note(found: object): IteratorYieldResult<symbol> {
    endProbe();
    this.#found = found as Found;
    return PROBED;
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
    for (let generator = outermost; ; ) {
      const frame: Frame = { generator, isReturning: false };
      this.#frames.push(frame);
      if (!this.#beginProbe()) {
        const error = new AbortError("the task was aborted");
        this.#thrown = error;
        const answer = this.#attempt(cx, () => realThrow.call(generator, error));
        this.#begun(frame, cx, answer);
        return;
      }
      const result = this.#attempt(cx, () => realReturn.call(generator, undefined));
      endProbe();
      const found = this.#found as Found | null;
      if (result?.value !== PROBED.value) {
        // It delegates to nobody; what its cleanup closed is closed now.
        if (found !== null) this.#attempt(cx, () => found.return(undefined));
        this.#begun(frame, cx, result);
        return;
      }
      if (found instanceof Future) {
        this.#leaf = found;
        return;
      }
      generator = found!; // who answered PROBED
    }
  }

  /** The cleanup of this one has begun, and may have ended; without an answer, it threw. */
  #begun(frame: Frame, cx: Context, answer: IteratorResult<unknown> | undefined): void {
    frame.isReturning = true;
    const result = answer && this.#attempt(cx, () => corrected(frame.generator, answer));
    if (result === undefined || result.done === true) this.#frames.pop();
  }
}
