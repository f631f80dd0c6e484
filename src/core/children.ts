// Children: the futures inside one future, each with a waker of its own, so that a wake of one polls
// that one only. The combinators, scopes and async functions stand on this.

import { Context, type RuntimeRef, swapContext, type TaskRef } from "./context.ts";
import type { Future } from "./future.ts";
import { type Linked, List } from "./list.ts";
import { type Outcome, Pending, type Poll } from "./poll.ts";
import type { WakeFd, WakeTarget } from "./waker.ts";

/** Until its first poll a child has no runtime; nobody can have its waker, either. */
const NO_RUNTIME = {} as RuntimeRef;
const NO_TASK: TaskRef = { id: 0, name: "none" };
/** A spare child has no future; nobody polls it, either. */
const NO_FUTURE = {} as Future<unknown>;

/** A child, and the context of its polls. */
class Child<K> extends Context implements Linked<Child<K>> {
  key: K;
  future: Future<unknown>;
  /** Its place among all children there have been. */
  index: number;
  readonly #children: Children<K>;
  override task: TaskRef = NO_TASK;
  /** Links of the list of those that are alive. */
  before: Child<K> | null = null;
  after: Child<K> | null = null;
  list: object | null = null;
  /** In a queue of those to be polled. */
  isQueued = true;

  constructor(children: Children<K>, index: number, key: K, future: Future<unknown>) {
    super(NO_RUNTIME);
    this.#children = children;
    this.index = index;
    this.key = key;
    this.future = future;
  }

  get isEnded(): boolean {
    return this.list === null;
  }

  override wake(): void {
    if (!this.isQueued && !this.isEnded) this.#children.enqueue(this);
  }

  override openWakeFd(): WakeFd {
    if (this.isEnded) throw new Error("this future has ended: it has no eventfd");
    this.wakeFd ??= this.runtime.openWakeFd(() => this.wake());
    return this.wakeFd;
  }

  /** It has ended, and nobody can wake it any more: it lets go of all that it had. */
  rest(): this {
    this.key = undefined as K;
    this.future = NO_FUTURE;
    this.waitsOn = this.spares = null;
    return this;
  }

  /** It becomes another. */
  useAgain(index: number, key: K, future: Future<unknown>): this {
    this.isQueued = true;
    this.index = index;
    this.key = key;
    this.future = future;
    return this;
  }

  /** It is about to be polled by `cx`, out of its queue; false if it has ended. */
  enter(cx: Context): boolean {
    this.isQueued = false;
    if (this.isEnded) return false;
    this.runtime = cx.runtime;
    this.task = cx.task;
    this.waitsOn = null;
    return true;
  }

  /** As the current context: its future may drive a generator, or the iterator of another future, by hand. */
  perform<T>(step: Step<K, T>): Poll<T> {
    const { future } = this;
    const previous = swapContext(this);
    let result: Poll<T>;
    try {
      result = step(future, this, this.key);
    } finally {
      swapContext(previous);
    }
    // It has dropped the parent meanwhile, and gone on: nobody else knows what it waits for since.
    if (result === Pending && this.isEnded) future.drop();
    return result;
  }
}

/** A poll of a child, or one for its end. */
type Step<K, T> = (future: Future<unknown>, cx: Context, key: K) => Poll<T>;

/** Takes what a child ended with; throws nothing. */
type OnEnd<K> = (key: K, outcome: Outcome<unknown>, future: Future<unknown>) => void;

export class Children<K> {
  /** Of several that were woken, whether the first added is polled first; else it is the first woken. */
  isInOrder = false;
  /** Those that have not ended, in the order in which they came. */
  readonly #alive: List<Child<K>> = new List();
  /** Those to be polled. */
  #woken: Child<K>[] = [];
  /** The round in progress, and who is next in it; if the coop budget ended it, the next goes on there. */
  #round: Child<K>[] = [];
  #next = 0;
  /** Adopted, and never polled yet. */
  #adopted: Child<K>[] = [];
  /** One that has ended, for the next: an async function awaits one future after the other. */
  #spare: Child<K> | null = null;
  /** Whom to wake when a child is: the target of the parent's latest poll. */
  #parent: WakeTarget | null = null;
  #isCancelling = false;
  #count = 0;

  get size(): number {
    return this.#alive.size;
  }

  get hasAdopted(): boolean {
    return this.#adopted.length > 0;
  }

  /** Adds a child; it is polled in the parent's next poll, which this asks for. */
  add(key: K, future: Future<unknown>): void {
    this.#woken.push(this.#make(key, future));
    this.#parent?.wake();
  }

  /** Adds a child, and wakes nobody: for a parent that is about to call `pollAdopted`. */
  adopt(key: K, future: Future<unknown>): void {
    this.#adopted.push(this.#make(key, future));
  }

  /** Part of the contract with Child. */
  enqueue(child: Child<K>): void {
    this.#queue(child);
    this.#parent?.wake();
  }

  /**
   * Polls the children that were woken, until `isOver` or the coop budget is used up. One that is woken
   * meanwhile waits for the next poll: a child that is always ready cannot keep the thread. Those that
   * the budget did not reach go first then: one that always uses it up cannot starve the rest.
   */
  poll(cx: Context, onEnd: OnEnd<K>, isOver: () => boolean): void {
    this.#parent = cx.target;
    this.#takeAdopted();
    if (!this.#pollRound(cx, onEnd, isOver)) return;
    if (this.#woken.length === 0) return;
    // The two arrays change places: a poll allocates none.
    const round = this.#woken;
    this.#woken = this.#round; // empty: it has come to its end
    this.#round = round;
    if (this.isInOrder && round.length > 1) round.sort(byIndex);
    this.#pollRound(cx, onEnd, isOver);
  }

  /** Polls those that were adopted since; not those that were woken. */
  pollAdopted(cx: Context, onEnd: OnEnd<K>, isOver: () => boolean): void {
    this.#parent = cx.target;
    // Who is adopted meanwhile (the poll of a child may drain microtasks) is polled, too.
    for (const child of this.#adopted) {
      if (isOver() || cx.runtime.budget <= 0) this.enqueue(child);
      else this.#pollOne(child, cx, onEnd);
    }
    this.#adopted.length = 0;
  }

  /** Goes on with the round; false if it did not come to its end. */
  #pollRound(cx: Context, onEnd: OnEnd<K>, isOver: () => boolean): boolean {
    while (this.#next < this.#round.length) {
      if (isOver()) return false; // they will be cancelled
      if (cx.runtime.budget <= 0) {
        cx.target.wake();
        return false;
      }
      this.#pollOne(this.#round[this.#next++]!, cx, onEnd); // next < length
    }
    this.#round.length = this.#next = 0; // those that ended are held no longer
    return true;
  }

  #pollOne(child: Child<K>, cx: Context, onEnd: OnEnd<K>): void {
    if (!child.enter(cx)) return;
    const { key, future } = child;
    try {
      const value = child.perform(pollStep);
      if (value === Pending) return;
      this.#end(child);
      if (!child.isQueued && !child.isKnown) this.#spare = child.rest();
      onEnd(key, { value }, future);
    } catch (error) {
      this.#end(child);
      onEnd(key, { error }, future);
    }
  }

  /** Drives the cleanup of all that are left, side by side; `step` is how one is driven. */
  pollCancel(cx: Context, onEnd?: (key: K) => void, step: Step<K, void> = cancelStep): Poll<void> {
    if (this.#alive.size === 0) return;
    if (!this.#isCancelling) {
      this.#isCancelling = true;
      for (const child of this.#alive) if (!child.isQueued) this.#queue(child);
    }
    this.#parent = cx.target;
    this.#takeAdopted();
    const round = this.#round.slice(this.#next).concat(this.#woken);
    this.#round.length = this.#next = this.#woken.length = 0;
    for (const child of round) {
      if (!child.enter(cx) || child.perform(step) === Pending || child.isEnded) continue;
      this.#end(child);
      onEnd?.(child.key);
    }
    return this.#alive.size > 0 ? Pending : undefined;
  }

  /** Drops all that are left; cleanup that suspends goes to the runtime. Throws, then, the first error. */
  drop(onEnd?: (key: K) => void): void {
    let thrown: { error: unknown } | null = null;
    for (const child of this.#alive) {
      this.#end(child);
      try {
        child.future.drop();
      } catch (error) {
        thrown ??= { error };
      }
      onEnd?.(child.key);
    }
    this.#woken = this.#round = this.#adopted = [];
    if (thrown !== null) throw thrown.error;
  }

  /** What the children wait on, in words. */
  waitsOn(): string {
    const all = [...this.#alive].map((child) => child.waitsOn?.waitsOn() ?? "a wake");
    return all.length > 4
      ? `${all.slice(0, 4).join(", ")} and ${all.length - 4} more`
      : all.join(", ");
  }

  #make(key: K, future: Future<unknown>): Child<K> {
    const index = this.#count++;
    const child = this.#spare?.useAgain(index, key, future) ?? new Child(this, index, key, future);
    this.#spare = null;
    this.#alive.push(child);
    return child;
  }

  /** They count as woken. */
  #takeAdopted(): void {
    if (this.#adopted.length === 0) return;
    this.#woken = this.#adopted.concat(this.#woken);
    this.#adopted = [];
  }

  #queue(child: Child<K>): void {
    child.isQueued = true;
    this.#woken.push(child);
  }

  #end(child: Child<K>): void {
    this.#alive.remove(child);
    child.wakeFd?.release();
    child.wakeFd = null;
  }
}

function byIndex(a: Child<unknown>, b: Child<unknown>): number {
  return a.index - b.index;
}

function pollStep(future: Future<unknown>, cx: Context): Poll<unknown> {
  return future.poll(cx);
}

/** One step of a cancellation. What it throws is reported: a cancelled future has nobody to tell. */
export function cancelStep(future: Future<unknown>, cx: Context): Poll<void> {
  try {
    return future.pollCancel(cx);
  } catch (error) {
    cx.runtime.report(error, `cleanup in task ${cx.task.name}`);
    return undefined;
  }
}
