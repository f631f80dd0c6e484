// AsyncIteration: what `for await` receives from a socket, a channel or an interval. It starts one future per step.
//
// Invariants: `return()` drops every future that still waits, and settles its step as done. The object behind the
// iteration stays open. After the end, an error or `return()`, each step is done and starts nothing.

import type { Context } from "./context.ts";
import type { Future } from "./future.ts";
import { type Next, Pending, type Poll } from "./poll.ts";
import { Stoppable } from "./stoppable.ts";

const END: { readonly done: true; readonly value: undefined } = { done: true, value: undefined };

class Step<V, T> extends Stoppable<V, Next<T>> {
  private readonly iteration: AsyncIteration<V, T>;

  constructor(iteration: AsyncIteration<V, T>, future: Future<V>, toNext: (value: V) => Next<T>) {
    super(future, toNext, END);
    this.iteration = iteration;
  }

  override poll(cx: Context): Poll<Next<T>> {
    try {
      const next = super.poll(cx);
      if (next !== Pending && next.done) this.iteration.isDone = true;
      return next;
    } catch (error) {
      this.iteration.isDone = true;
      throw error;
    }
  }

  protected override end(): void {
    this.iteration.steps.delete(this);
    super.end();
  }
}

export class AsyncIteration<V, T> implements AsyncIterableIterator<T, undefined> {
  private readonly start: () => Future<V>;
  private readonly toNext: (value: V) => Next<T>;
  /** The steps that wait: usually one. */
  readonly steps: Set<Stoppable<V, Next<T>>> = new Set();
  isDone = false;

  /** `start` returns the future of one step, and `toNext` converts its value. */
  constructor(start: () => Future<V>, toNext: (value: V) => Next<T>) {
    this.start = start;
    this.toNext = toNext;
  }

  next(): Promise<IteratorResult<T, undefined>> {
    return this.isDone ? Promise.resolve(END) : (this.step() as Future<Next<T>>).then();
  }

  /** Does what `next` does, and returns the future of the step: it gives back a value that does not reach its awaiter. */
  step(): Future<Next<T>> | Promise<Next<T>> {
    if (this.isDone) return Promise.resolve(END);
    const step = new Step(this, this.start(), this.toNext);
    this.steps.add(step);
    return step;
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.isDone = true;
    for (const step of this.steps) step.stop();
    return Promise.resolve(END);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

/** Returns the iterator over the values of `start`, which has no end. */
export function iterateValues<T>(start: () => Future<T>): AsyncIteration<T, T> {
  return new AsyncIteration(start, (value) => ({ done: false, value }));
}

/** Returns the iterator over the chunks of `start`, which ends with null. */
export function iterateChunks<T>(start: () => Future<T | null>): AsyncIteration<T | null, T> {
  const toNext = (value: T | null): Next<T> => (value === null ? END : { done: false, value });
  return new AsyncIteration(start, toNext);
}

/** Returns the iterator over the values of `start`, which ends by `{ done: true }`. */
export function iterateNext<T>(start: () => Future<Next<T>>): AsyncIteration<Next<T>, T> {
  return new AsyncIteration(start, (next) => next);
}
