// race and select: run futures concurrently and wait for the first to end.

import { invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { Future } from "../core/future.ts";
import { type IntoFuture, type Output, takeWork } from "../core/into-future.ts";
import { Combinator } from "./combinator.ts";
import { isWork, workList } from "./work-list.ts";

/** The winner of a `select`: its key, with the value of its work. */
export interface Winner<K, V> {
  readonly key: K;
  readonly value: V;
}
/** The winner of a `select` of an object: one of the keys of `W`. */
export type Selected<W> = { [K in keyof W]: Winner<K, Output<W[K]>> }[keyof W];

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
    for (const [index, one] of work.entries())
      this.children.add(index, takeWork(one, `${name}: work`));
    if (this.children.size === 0) {
      throw invalidType(
        `${name}: needs at least one piece of work; got none, and would never complete`,
      );
    }
  }

  protected override onValue(index: number, value: unknown): void {
    this.outcome = { value: this.toValue(index, value) };
  }
}

/**
 * Runs all of `work` concurrently in the current task until the first one ends. `work` is several pieces of work, or
 * one iterable of work, as for `Promise.race`. Then cancels the others, waits for their cleanup, and returns the
 * winner's value or throws its error. If several are ready at once, the one listed first wins. Throws TypeError when
 * there is no work, or something in it is not work.
 *
 * Dropping the race drops all of `work`, so it is cancel safe if all of `work` is. A loser that is not cancel safe may
 * stop halfway: a `writeAll` may have written a part of its data.
 *
 * @example
 * const line = yield* race(readLine(stream), function* () {
 *   yield* sleep(1000);
 *   return "nothing came within a second";
 * });
 * const page = yield* race(urls.map((url) => load(url)));
 */
export function race<const W extends readonly IntoFuture<unknown>[]>(
  ...work: W
): Future<Output<W[number]>>;
export function race<W extends IntoFuture<unknown>>(work: Iterable<W>): Future<Output<W>>;
export function race(...work: unknown[]): Future<unknown> {
  return new Race("race", workList(work), (_, value) => value);
}

/**
 * Like `race`, for named work: an object, a Map, or an iterable of `[key, work]` pairs. Returns the winner's `key` and
 * `value`, or throws its error. Of several that are ready at once, the one listed first wins. Throws TypeError when
 * `work` is empty, or contains something that is not work. Dropping the select drops all of `work`, so it is cancel
 * safe if all of `work` is.
 *
 * @example
 * const winner = yield* select({ stream: listener.accept(), stop: stopped });
 * if (winner.key === "stop") return;
 * talk(winner.value); // a TcpStream
 */
export function select<K, W extends IntoFuture<unknown>>(
  work: Iterable<readonly [K, W]>,
): Future<Winner<K, Output<W>>>;
export function select<const W extends Readonly<Record<string, IntoFuture<unknown>>>>(
  work: W,
): Future<Selected<W>>;
export function select(work: object): Future<unknown> {
  if (typeof work !== "object" || work === null || isWork(work)) {
    throw invalidType(
      `select: work must be an object of named work, a Map, or an iterable of [key, work] pairs; got ${describe(work)}`,
    );
  }
  const entries = (
    Symbol.iterator in work ? [...(work as Iterable<unknown>)] : Object.entries(work)
  ) as [unknown, IntoFuture<unknown>][];
  for (const entry of entries) {
    if (Array.isArray(entry)) continue;
    const hint = isWork(entry) ? ": for work without keys, use race(work)" : "";
    throw invalidType(
      `select: work must consist of [key, work] pairs; got ${describe(entry)}${hint}`,
    );
  }
  return new Race(
    "select",
    entries.map(([, one]) => one),
    (index, value) => ({ key: entries[index]![0], value }), // index < length
  );
}
