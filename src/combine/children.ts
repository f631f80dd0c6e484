// Children: the futures inside one future, each with a waker of its own, so that a wake of one polls
// that one only. The combinators, scopes and async functions stand on this.

import { type Linked, List } from "../base/list.ts";
import { Queue, type Queued } from "../base/queue.ts";
import {
  Context,
  nextSerial,
  type Pollable,
  type RuntimeRef,
  type TaskRef,
} from "../core/context.ts";
import { current } from "../core/current.ts";
import type { Future } from "../core/future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import type { WakeFd, WakeTarget } from "../core/wake-target.ts";

/** Whose children they are: told what each ended with. It throws nothing. */
export interface Parent<K> {
  /** Its own outcome is known: there is no need to poll the rest. */
  readonly isDecided: boolean;
  onChildValue(key: K, value: unknown, future: Future<unknown>): void;
  onChildError(key: K, error: unknown): void;
}

/** A poll of a child, or one for its end. */
type Step<K, T> = (future: Future<unknown>, cx: Context, key: K) => Poll<T>;

/** Until its first poll a child has no runtime; nobody can have its waker, either. */
const NO_RUNTIME = {} as RuntimeRef;
const NO_TASK: TaskRef = { id: 0, name: "none" };
/** A spare child has no future; nobody polls it, either. */
const NO_FUTURE = {} as Future<unknown>;

/**
 * A child, and the context of its polls. (Twelve fields: one more, and the engine takes 160 bytes for it
 * instead of 112.)
 */
class Child<K> extends Context implements Linked<Child<K>>, Queued<Child<K>> {
  key: K;
  future: Future<unknown>;
  override task: TaskRef = NO_TASK;
  before: Child<K> | null = null;
  after: Child<K> | null = null;
  /** Those that it is one of; null once it has ended. */
  list: Children<K> | null = null;
  next: Child<K> | null = null;

  constructor(key: K, future: Future<unknown>) {
    super(NO_RUNTIME);
    this.key = key;
    this.future = future;
  }

  get isEnded(): boolean {
    return this.list === null;
  }

  override wake(): void {
    if (this.next === null) this.list?.enqueue(this);
  }

  override openWakeFd(): WakeFd {
    if (this.isEnded) throw new Error("this future has ended: it has no eventfd");
    this.wakeFd ??= this.runtime.openWakeFd(() => this.wake());
    return this.wakeFd;
  }

  /** It has ended, and nobody can wake it any more: it lets go of all that it had. */
  reset(): this {
    this.key = undefined as K;
    this.future = NO_FUTURE;
    this.blockedOn = null;
    return this;
  }

  /** It becomes another. */
  tryReuse(key: K, future: Future<unknown>): this {
    this.serial = nextSerial();
    this.key = key;
    this.future = future;
    return this;
  }

  /** It is about to be polled by `cx`; false if it has ended. */
  enter(cx: Context): boolean {
    if (this.isEnded) return false;
    this.runtime = cx.runtime;
    this.task = cx.task;
    this.blockedOn = null;
    return true;
  }

  /** As the current context: its future may drive a generator, or the iterator of another future, by hand. */
  perform<T>(step: Step<K, T>): Poll<T> {
    const { future } = this;
    const previous = current.context;
    current.context = this;
    let result: Poll<T>;
    try {
      result = step(future, this, this.key);
    } finally {
      current.context = previous;
    }
    // It has dropped the parent meanwhile, and gone on: nobody else knows what it waits for since.
    if (result === Pending && this.isEnded) future.drop();
    return result;
  }
}

/** A list of those that have not ended, in the order in which they came. */
export class Children<K> extends List<Child<K>> {
  /** Of several that were woken the one with the lowest key, a number, is polled first; else the first woken. */
  isInOrder = false;
  /** Those to be polled. */
  readonly #woken: Queue<Child<K>> = new Queue();
  /** What is left of the round in progress; if the coop budget ended it, the next poll goes on there. */
  readonly #round: Queue<Child<K>> = new Queue();
  /** Adopted, and never polled yet. */
  readonly #adopted: Queue<Child<K>> = new Queue();
  /** One that has ended, for the next: an async function awaits one future after the other. */
  #spare: Child<K> | null = null;
  /** Whom to wake when a child is: the target of the parent's latest poll. */
  #toWake: WakeTarget | null = null;
  #isCancelling = false;

  get hasAdopted(): boolean {
    return !this.#adopted.isEmpty;
  }

  /** Adds a child; it is polled in the parent's next poll, which this asks for. */
  add(key: K, future: Future<unknown>): void {
    this.enqueue(this.#make(key, future));
  }

  /** Adds a child, and wakes nobody: for a parent that is about to call `pollAdopted`. */
  adopt(key: K, future: Future<unknown>): void {
    this.#adopted.push(this.#make(key, future));
  }

  /** Part of the contract with Child. */
  enqueue(child: Child<K>): void {
    this.#woken.push(child);
    this.#toWake?.wake();
  }

  /**
   * Polls the children that were woken, until `parent` is decided or the coop budget is used up. One that
   * is woken meanwhile waits for the next poll: a child that is always ready cannot keep the thread. Those
   * that the budget did not reach go first then: one that always uses it up cannot starve the rest.
   */
  poll(cx: Context, parent: Parent<K>): void {
    this.#toWake = cx.target;
    if (!this.#pollRound(cx, parent)) return;
    this.#takeWoken();
    if (this.isInOrder) this.#round.sort(byKey);
    this.#pollRound(cx, parent);
  }

  /** Polls those that were adopted since; not those that were woken. */
  pollAdopted(cx: Context, parent: Parent<K>): void {
    this.#toWake = cx.target;
    // Who is adopted meanwhile (the poll of a child may drain microtasks) is polled, too.
    for (let child = this.#adopted.shift(); child !== null; child = this.#adopted.shift()) {
      if (parent.isDecided || cx.runtime.budget <= 0) this.enqueue(child);
      else this.#pollOne(child, cx, parent);
    }
  }

  /** Goes on with the round; false if it did not come to its end. */
  #pollRound(cx: Context, parent: Parent<K>): boolean {
    while (!this.#round.isEmpty) {
      if (parent.isDecided) return false; // they will be cancelled
      if (cx.runtime.budget <= 0) {
        cx.target.wake();
        return false;
      }
      this.#pollOne(this.#round.shift()!, cx, parent); // not empty
    }
    return true;
  }

  #pollOne(child: Child<K>, cx: Context, parent: Parent<K>): void {
    if (!child.enter(cx)) return;
    const { key, future } = child;
    let value: unknown;
    try {
      value = child.perform(pollStep);
    } catch (error) {
      this.#end(child);
      parent.onChildError(key, error);
      return;
    }
    if (value === Pending) return;
    this.#end(child);
    if (child.next === null && !child.hasSharedWaker) this.#spare = child.reset();
    parent.onChildValue(key, value, future);
  }

  /** Drives the cleanup of all that are left, side by side; `step` is how one is driven. */
  pollCancel(cx: Context, onEnd?: (key: K) => void, step: Step<K, void> = cancelStep): Poll<void> {
    if (this.size === 0) return;
    if (!this.#isCancelling) {
      this.#isCancelling = true;
      for (const child of this) if (child.next === null) this.#woken.push(child);
    }
    this.#toWake = cx.target;
    this.#takeWoken();
    for (let child = this.#round.shift(); child !== null; child = this.#round.shift()) {
      if (!child.enter(cx) || child.perform(step) === Pending || child.isEnded) continue;
      this.#end(child);
      onEnd?.(child.key);
    }
    return this.size > 0 ? Pending : undefined;
  }

  /** Drops all that are left; cleanup that suspends goes to the runtime. Throws, then, the first error. */
  drop(onEnd?: (key: K) => void): void {
    let thrown: { error: unknown } | null = null;
    for (const child of this) {
      this.#end(child);
      try {
        child.future.drop();
      } catch (error) {
        thrown ??= { error };
      }
      onEnd?.(child.key);
    }
    for (const queue of [this.#adopted, this.#round, this.#woken]) queue.clear();
    if (thrown !== null) throw thrown.error;
  }

  /** True when some child waits for another runtime. */
  get isInOtherRuntime(): boolean {
    for (const child of this) if (child.blockedOn?.isInOtherRuntime) return true;
    return false;
  }

  /** What the children wait on, in words. */
  describe(): string {
    const all = [...this].map((child) => child.blockedOn?.describe() ?? "a wake");
    return all.length > 4
      ? `${all.slice(0, 4).join(", ")} and ${all.length - 4} more`
      : all.join(", ");
  }

  #make(key: K, future: Future<unknown>): Child<K> {
    const child = this.#spare?.tryReuse(key, future) ?? new Child(key, future);
    this.#spare = null;
    this.push(child);
    return child;
  }

  /** They are in the round from now on; who is woken meanwhile is in the next. */
  #takeWoken(): void {
    this.#round.append(this.#adopted);
    this.#round.append(this.#woken);
  }

  #end(child: Child<K>): void {
    this.remove(child);
    child.wakeFd?.release();
    child.wakeFd = null;
  }
}

function byKey(a: Child<unknown>, b: Child<unknown>): number {
  return (a.key as number) - (b.key as number); // said where `isInOrder` is
}

function pollStep(future: Future<unknown>, cx: Context): Poll<unknown> {
  return future.poll(cx);
}

/** One step of a cancellation. What it throws is reported: a cancelled future has nobody to tell. */
export function cancelStep(future: Pollable<unknown>, cx: Context): Poll<void> {
  try {
    return future.pollCancel(cx);
  } catch (error) {
    cx.runtime.report(error, `cleanup in task ${cx.task.name}`);
    return undefined;
  }
}
