// race and select: several futures at once, the first of them.

import { Combinator } from "./core/combinator.ts";
import type { Future } from "./core/future.ts";
import { type IntoFuture, intoFuture, type Output } from "./core/into-future.ts";
import type { Outcome } from "./core/poll.ts";

/** The keys of the work, and what it gives. */
type Selected<W> = { [K in keyof W]: { readonly key: K; readonly value: Output<W[K]> } }[keyof W];

class Race<K, T> extends Combinator<K, T> {
  readonly #toValue: (key: K, value: unknown) => T;

  constructor(work: Iterable<[K, IntoFuture<unknown>]>, toValue: (key: K, value: unknown) => T) {
    super();
    this.#toValue = toValue;
    this.children.isInOrder = true;
    for (const [key, one] of work) this.children.add(key, intoFuture(one));
    if (this.children.size === 0) {
      throw new TypeError("race and select need at least one piece of work: none would ever end");
    }
  }

  protected override onChildEnd(key: K, outcome: Outcome<unknown>): void {
    this.outcome = "error" in outcome ? outcome : { value: this.#toValue(key, outcome.value) };
  }
}

/**
 * The value, or the error, of the first of `work` to end. The others are dropped, and their cleanup
 * is over before this completes. Of several that are ready at once the first listed wins. Dropped, it
 * drops all. Throws TypeError for no work at all: it would never end.
 *
 * @example
 * const line = yield* race(readLine(stream), sleepThen(1000, ""));
 */
export function race<const W extends readonly IntoFuture<unknown>[]>(
  ...work: W
): Future<Output<W[number]>> {
  return new Race(work.entries(), (_, value) => value as Output<W[number]>);
}

/**
 * `race`, and which it was.
 *
 * @example
 * const winner = yield* select({ stream: listener.accept(), stop: stopped });
 * if (winner.key === "stop") return;
 * serve(winner.value); // a TcpStream
 */
export function select<const W extends Readonly<Record<string, IntoFuture<unknown>>>>(
  work: W,
): Future<Selected<W>> {
  return new Race(Object.entries(work), (key, value) => ({ key, value }) as Selected<W>);
}
