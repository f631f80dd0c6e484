// race and select: several futures at once, the first of them.

import type { Future } from "../core/future.ts";
import { type IntoFuture, intoFuture, type Output } from "../core/into-future.ts";
import { Combinator } from "./combinator.ts";

/** The keys of the work, and what it gives. */
type Selected<W> = { [K in keyof W]: { readonly key: K; readonly value: Output<W[K]> } }[keyof W];

class Race<T> extends Combinator<number, T> {
  readonly #toValue: (index: number, value: unknown) => T;

  constructor(work: readonly IntoFuture<unknown>[], toValue: (index: number, value: unknown) => T) {
    super();
    this.#toValue = toValue;
    this.children.isInOrder = true;
    for (const [index, one] of work.entries()) this.children.add(index, intoFuture(one));
    if (this.children.size === 0) {
      throw new TypeError("race and select need at least one piece of work: none would ever end");
    }
  }

  protected override onValue(index: number, value: unknown): void {
    this.outcome = { value: this.#toValue(index, value) };
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
  return new Race(work, (_, value) => value as Output<W[number]>);
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
  const keys = Object.keys(work);
  return new Race(
    Object.values(work),
    (index, value) => ({ key: keys[index], value }) as Selected<W>,
  );
}
