// map and forEach: the same work for each item, a limited number at once.
//
// Invariants:
// - An item is taken from the iterator only when its work can start: an endless or lazy iterator is never read ahead.
// - An iterator that was not read to its end is closed (`return`) exactly once.
// - An item that a socket or a channel has given goes back to it, unless its work has started.

import { checkLimit, checkObject, invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { forAll } from "../base/for-all.ts";
import { AsyncIteration } from "../core/async-iteration.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { intoFuture } from "../core/into-future.ts";
import { Combinator } from "./combinator.ts";
import { checkRepeatable, type Repeatable, repeat } from "./repeatable.ts";

/** The options of {@link forEach}. */
export interface ForEachOptions {
  /** How many items are worked on at once: an integer >= 1, or Infinity. Default: Infinity. */
  readonly concurrency?: number;
}

/** The options of {@link map}. */
export interface MapOptions extends ForEachOptions {
  /** Return the values in the order in which they arrive, instead of the order of the items. Default false. */
  readonly unordered?: boolean;
}

type Work<I, T> = Repeatable<[item: I, index: number], T>;
type AnyIterator<I> = Iterator<I> | AsyncIterator<I>;

/** The key of the wait for the next item of an async iterator. */
const NEXT = -1;

/** What becomes of a value: `index` is the place of its item. */
type Collect = (index: number, value: unknown) => void;

class MapFuture<I, R> extends Combinator<number, R> {
  private readonly items: Iterable<I> | AsyncIterable<I>;
  private readonly isAsync: boolean;
  private readonly work: Work<I, unknown>;
  private readonly concurrency: number;
  private readonly collect: Collect;
  private readonly result: R;
  /** null before the first poll, and once the iterator has ended or was closed. */
  private iterator: AnyIterator<I> | null = null;
  private isStarted = false;
  private isNextPending = false;
  /** Code of the iterator is running: it cannot be closed now. */
  private isStepping = false;
  /** How many items the iterator has returned. */
  private taken = 0;
  /** By the index of an item whose work has not started: gives it back to the future that returned it. */
  private readonly unstarted: Map<number, () => void> = new Map();

  constructor(
    items: Iterable<I> | AsyncIterable<I>,
    work: Work<I, unknown>,
    concurrency: number,
    collect: Collect,
    result: R,
  ) {
    super();
    this.items = items;
    this.isAsync = typeof (items as AsyncIterable<I>)[Symbol.asyncIterator] === "function";
    this.work = work;
    this.concurrency = concurrency;
    this.collect = collect;
    this.result = result;
  }

  protected override pollChildren(cx: Context): void {
    if (!this.isStarted) {
      this.isStarted = true;
      this.step(() => {
        const { items } = this;
        this.iterator = this.isAsync
          ? (items as AsyncIterable<I>)[Symbol.asyncIterator]()
          : (items as Iterable<I>)[Symbol.iterator]();
      });
      this.takeItems();
    }
    super.pollChildren(cx);
  }

  /** Starts the work of as many items as may run now. */
  private takeItems(): void {
    while (this.iterator !== null && this.outcome === null && !this.isEnded) {
      if (this.isNextPending || this.children.size >= this.concurrency) return;
      const { iterator } = this;
      this.step(() => {
        if (this.isAsync) {
          const next = nextStep(iterator as AsyncIterator<I>);
          if (this.isEnded) next.drop();
          else this.children.add(NEXT, next);
          this.isNextPending = true;
        } else this.onNext(iterator.next() as IteratorResult<I>, null);
      });
    }
    if (this.children.size === 0) this.outcome ??= { value: this.result };
  }

  /** Runs code of the iterator. An error that it throws is the outcome: the iterator has then ended. */
  private step(code: () => void): void {
    this.isStepping = true;
    try {
      code();
    } catch (error) {
      this.iterator = null;
      this.outcome ??= { error };
    }
    this.isStepping = false;
    if (this.isEnded) this.close(); // the iterator has dropped this future
  }

  /** `from` is the future that has returned `next`; null if it was no future. */
  private onNext(next: IteratorResult<I>, from: Future<unknown> | null): void {
    if (next.done) this.iterator = null;
    else if (this.isEnded) from?.reclaim(next);
    else {
      const index = this.taken++;
      if (from !== null) this.unstarted.set(index, () => from.reclaim(next));
      this.children.add(index, repeat(this.begin, next.value, index));
    }
  }

  private readonly begin: Work<I, unknown> = (item, index) => {
    this.unstarted.delete(index);
    return this.work(item, index);
  };

  override onChildValue(key: number, value: unknown, future: Future<unknown>): void {
    if (key === NEXT) {
      this.isNextPending = false;
      this.step(() => this.onNext(value as IteratorResult<I>, future));
      this.takeItems();
    } else super.onChildValue(key, value, future);
  }

  protected override onValue(key: number, value: unknown): void {
    this.collect(key, value);
    this.takeItems();
  }

  override reclaim(): void {
    const latestFirst = [...this.unstarted.values()].reverse();
    this.unstarted.clear();
    forAll([...latestFirst, () => super.reclaim()], (giveBack) => giveBack());
  }

  override onChildError(key: number, error: unknown): void {
    if (key === NEXT) this.iterator = null; // it has ended
    super.onChildError(key, error);
  }

  protected override end(): void {
    super.end();
    if (!this.isStepping) this.close();
  }

  /** Closes the iterator, as leaving a `for of` does. */
  private close(): void {
    const { iterator } = this;
    this.iterator = null;
    try {
      const closed: unknown = iterator?.return?.();
      if (closed instanceof Promise) closed.catch(() => {}); // as for the error below
    } catch {
      // The outcome of the work counts, as in a `for of` that throws.
    }
  }
}

/** Returns the wait for the next item. A promise could not give back an item that does not reach its awaiter. */
function nextStep<I>(iterator: AsyncIterator<I>): Future<unknown> {
  if (iterator instanceof AsyncIteration) return intoFuture(iterator.step());
  return intoFuture(Promise.resolve(iterator.next())); // `for await` accepts a result that is no promise, too
}

class ForEach<I> extends MapFuture<I, void> {
  constructor(items: Iterable<I> | AsyncIterable<I>, work: Work<I, unknown>, concurrency: number) {
    super(items, work, concurrency, () => {}, undefined);
  }

  /** Its values are discarded as they arrive. An endless loop must not keep them. */
  protected override holdForReclaim(): void {}
}

function check(items: unknown, work: unknown, options: unknown, name: string): number {
  const { [Symbol.iterator]: sync, [Symbol.asyncIterator]: async } = Object(items);
  if (typeof sync !== "function" && typeof async !== "function") {
    throw invalidType(`${name}: items must be iterable or async iterable; got ${describe(items)}`);
  }
  checkRepeatable(work, `${name}: work`);
  checkObject(options, `${name}: options`);
  const { concurrency = Number.POSITIVE_INFINITY } = options as ForEachOptions;
  checkLimit(concurrency, `${name}: options.concurrency`);
  return concurrency;
}

/**
 * Calls `work` with each item and its index, `concurrency` at once, and returns the values in the order of the items;
 * with `unordered`, in the order in which they arrive. `items` is iterable or async iterable. An item is taken only
 * when its work can start, so an endless generator works, too.
 *
 * If one fails, cancels the others, waits for their cleanup, closes the iterator and throws that first error. An
 * error of the iterator has the same effect. Throws TypeError at once when `items` is not iterable, `work` is not a
 * function or an option is bad, RangeError for a bad `concurrency`.
 *
 * Dropping the future drops the work that runs and closes the iterator.
 *
 * @example
 * const pages = yield* map(urls, (url) => load(url), { concurrency: 2 });
 */
export function map<I, T>(
  items: Iterable<I> | AsyncIterable<I>,
  work: Repeatable<[item: NoInfer<I>, index: number], T>,
  options: MapOptions = {},
): Future<T[]> {
  const concurrency = check(items, work, options, "map");
  const values: T[] = [];
  const collect: Collect = options.unordered
    ? (_, value) => void values.push(value as T)
    : (index, value) => {
        values[index] = value as T;
      };
  return new MapFuture(items, work, concurrency, collect, values);
}

/**
 * Like `map`, and keeps no values.
 *
 * @example
 * yield* forEach(urls, function* (url) {
 *   console.log((yield* intoFuture(load(url))).text);
 * }, { concurrency: 1 });
 */
export function forEach<I>(
  items: Iterable<I> | AsyncIterable<I>,
  work: Repeatable<[item: NoInfer<I>, index: number], unknown>,
  options: ForEachOptions = {},
): Future<void> {
  return new ForEach<I>(items, work, check(items, work, options, "forEach"));
}
