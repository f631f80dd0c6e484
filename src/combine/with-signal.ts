// withSignal: work that an AbortSignal cancels.

import { checkSignal } from "../base/check.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { type IntoFuture, takeCancellable } from "../core/into-future.ts";
import type { Poll } from "../core/poll.ts";
import type { WakeTarget } from "../core/wake-target.ts";
import { Combinator } from "./combinator.ts";

class WithSignal<T> extends Combinator<null, T> {
  private readonly signal: AbortSignal;
  private target: WakeTarget | null = null;
  private isListening = false;

  constructor(signal: AbortSignal, work: Future<T>) {
    super();
    this.signal = signal;
    this.children.add(null, work);
  }

  private readonly onAbort = (): void => {
    this.outcome ??= { error: this.signal.reason };
    this.target?.wake();
  };

  override poll(cx: Context): Poll<T> {
    this.target = cx.target;
    if (this.outcome === null && !this.isListening) {
      if (this.signal.aborted) this.onAbort();
      else {
        this.isListening = true;
        this.signal.addEventListener("abort", this.onAbort);
      }
    }
    return super.poll(cx);
  }

  protected override onValue(_: null, value: unknown): void {
    this.outcome ??= { value: value as T };
  }

  /** Removes the listener. */
  protected override end(): void {
    super.end();
    this.target = null;
    if (this.isListening) this.signal.removeEventListener("abort", this.onAbort);
  }
}

/**
 * Returns the value of `work`, or throws its error. When `signal` aborts first, cancels the work, waits for its
 * cleanup, and throws `signal.reason`. If the signal has aborted before the first poll, the work never starts.
 * Leaves no listener on the signal. Throws TypeError when `signal` is not an AbortSignal, or `work` is not work.
 *
 * Dropping the returned future drops the work, so it is cancel safe if `work` is.
 *
 * @example
 * const reply = yield* withSignal(request.signal, ask(stream, question));
 */
export function withSignal<T>(signal: AbortSignal, work: IntoFuture<T>): Future<T> {
  checkSignal(signal, "withSignal: signal");
  return new WithSignal(signal, takeCancellable(work, "withSignal"));
}
