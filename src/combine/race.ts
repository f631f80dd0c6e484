// race and select: run futures concurrently and wait for the first to end.

import type { Future } from "../core/future.ts";
import { type IntoFuture, intoFuture, type Output } from "../core/into-future.ts";
import { Combinator } from "./combinator.ts";

/** The winner of a `select`: one of the keys of `W`, with the value of its work. */
type Selected<W> = { [K in keyof W]: { readonly key: K; readonly value: Output<W[K]> } }[keyof W];

class Race<T> extends Combinator<number, T> {
  private readonly toValue: (index: number, value: unknown) => T;

  constructor(
    name: string,
    work: readonly IntoFuture<unknown>[],
    toValue: (index: number, value: unknown) => T,
  ) {
    super();
    this.toValue = toValue;
    this.children.isOrderedByKey = true;
    for (const [index, one] of work.entries()) this.children.add(index, intoFuture(one));
    if (this.children.size === 0) {
      throw new TypeError(
        `${name}: needs at least one piece of work; got none, and would never complete`,
      );
    }
  }

  protected override onValue(index: number, value: unknown): void {
    this.outcome = { value: this.toValue(index, value) };
  }
}

/**
 * Runs all of `work` concurrently in the current task until the first one ends. Then cancels the others, waits
 * for their cleanup, and returns the winner's value or throws its error. If several are ready at once, the one
 * listed first wins. Throws TypeError when called without work, or with something that is not work.
 *
 * Dropping the race drops all of `work`, so it is cancel safe if all of `work` is. A loser that is not cancel safe may
 * stop halfway: a `writeAll` may have written a part of its data.
 *
 * @example
 * const line = yield* race(readLine(stream), function* () {
 *   yield* sleep(1000);
 *   return "nothing came within a second";
 * });
 */
export function race<const W extends readonly IntoFuture<unknown>[]>(
  ...work: W
): Future<Output<W[number]>> {
  return new Race("race", work, (_, value) => value as Output<W[number]>);
}

/**
 * Like `race`, for an object of named work. Returns the winner's `key` and `value`, or throws its error. Of
 * several that are ready at once, the one listed first wins. Throws TypeError when `work` is empty, or contains
 * something that is not work. Dropping the select drops all of `work`, so it is cancel safe if all of `work` is.
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
    "select",
    Object.values(work),
    (index, value) => ({ key: keys[index], value }) as Selected<W>,
  );
}
