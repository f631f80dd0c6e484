// Children: the futures inside one future, each with a waker of its own, so that a wake of one polls
// that one only. The combinators, scopes and async functions stand on this.

import { Context } from "./context.ts";
import type { Future } from "./future.ts";
import { Pending, type Poll } from "./poll.ts";
import { type WakeFd, WakeTarget } from "./waker.ts";

/** A child, and what its wakers wake. */
export class Child<K> extends WakeTarget {
  readonly key: K;
  readonly future: Future<unknown>;
  readonly #children: Children<K>;
  /** Of the parent's latest poll, with this as its target. */
  cx: Context | null = null;
  /** In the queue of those to be polled. */
  isQueued = false;
  isEnded = false;

  constructor(children: Children<K>, key: K, future: Future<unknown>) {
    super();
    this.#children = children;
    this.key = key;
    this.future = future;
  }

  override wake(): void {
    if (!this.isQueued && !this.isEnded) this.#children.enqueue(this);
  }

  override openWakeFd(): WakeFd {
    if (this.isEnded || this.cx === null)
      throw new Error("this future has ended: it has no eventfd");
    this.wakeFd ??= this.cx.runtime.openWakeFd(() => this.wake());
    return this.wakeFd;
  }

  end(): void {
    this.isEnded = true;
    this.wakeFd?.release();
    this.wakeFd = null;
  }
}

/** Takes what a child ended with; throws nothing. */
type OnEnd<K> = (key: K, outcome: { value: unknown } | { error: unknown }) => void;

export class Children<K> {
  /** Those that have not ended, in the order in which they came. */
  readonly #alive: Set<Child<K>> = new Set();
  #woken: Child<K>[] = [];
  /** Adopted, and never polled yet. */
  #adopted: Child<K>[] = [];
  /** Whom to wake when a child is: the target of the parent's latest poll. */
  #parent: WakeTarget | null = null;
  #isCancelling = false;

  get size(): number {
    return this.#alive.size;
  }

  get hasAdopted(): boolean {
    return this.#adopted.length > 0;
  }

  /** Adds a child; it is polled in the parent's next poll, which this asks for. */
  add(key: K, future: Future<unknown>): void {
    const child = new Child(this, key, future);
    this.#alive.add(child);
    this.enqueue(child);
  }

  /** Adds a child, and wakes nobody: for a parent that is about to call `pollAdopted`. */
  adopt(key: K, future: Future<unknown>): void {
    const child = new Child(this, key, future);
    this.#alive.add(child);
    child.isQueued = true;
    this.#adopted.push(child);
  }

  /** Part of the contract with Child. */
  enqueue(child: Child<K>): void {
    this.#queue(child);
    this.#parent?.wake();
  }

  /**
   * Polls the children that were woken, first come, first served, until `isOver`. One that is woken
   * meanwhile waits for the next poll: a child that is always ready cannot keep the thread.
   */
  poll(cx: Context, onEnd: OnEnd<K>, isOver: () => boolean): void {
    const round = this.#woken;
    this.#woken = [];
    this.#pollRound(round, cx, onEnd, isOver);
  }

  /** Polls those that were adopted since; not those that were woken. */
  pollAdopted(cx: Context, onEnd: OnEnd<K>, isOver: () => boolean): void {
    const round = this.#adopted;
    this.#adopted = [];
    this.#pollRound(round, cx, onEnd, isOver);
  }

  #pollRound(round: Child<K>[], cx: Context, onEnd: OnEnd<K>, isOver: () => boolean): void {
    this.#visit(round, cx, (child, childCx) => {
      if (isOver()) {
        this.#queue(child); // not polled; it will be cancelled
        return;
      }
      try {
        const value = child.future.poll(childCx);
        if (value === Pending) return;
        this.#end(child);
        onEnd(child.key, { value });
      } catch (error) {
        this.#end(child);
        onEnd(child.key, { error });
      }
    });
  }

  /** Drives the cleanup of all that are left, side by side; `step` is how one is driven. */
  pollCancel(
    cx: Context,
    onEnd?: (key: K) => void,
    step: (future: Future<unknown>, cx: Context, key: K) => Poll<void> = cancelStep,
  ): Poll<void> {
    if (!this.#isCancelling) {
      this.#isCancelling = true;
      for (const child of this.#alive) if (!child.isQueued) this.#queue(child);
    }
    const round = this.#woken.concat(this.#adopted);
    this.#woken = [];
    this.#adopted = [];
    this.#visit(round, cx, (child, childCx) => {
      if (step(child.future, childCx, child.key) === Pending) return;
      this.#end(child);
      onEnd?.(child.key);
    });
    return this.#alive.size > 0 ? Pending : undefined;
  }

  /** Drops all that are left; cleanup that suspends goes to the runtime. */
  drop(onEnd?: (key: K) => void): void {
    for (const child of this.#alive) {
      this.#end(child);
      child.future.drop();
      onEnd?.(child.key);
    }
    this.#woken = this.#adopted = [];
  }

  /** What the children wait on, in words. */
  waitsOn(): string {
    const all = [...this.#alive].map((child) => child.cx?.waitsOn?.waitsOn() ?? "a wake");
    return all.length > 4
      ? `${all.slice(0, 4).join(", ")} and ${all.length - 4} more`
      : all.join(", ");
  }

  #queue(child: Child<K>): void {
    child.isQueued = true;
    this.#woken.push(child);
  }

  #visit(round: Child<K>[], cx: Context, visit: (child: Child<K>, childCx: Context) => void): void {
    this.#parent = cx.target;
    for (const child of round) {
      child.isQueued = false;
      if (child.isEnded) continue;
      if (child.cx === null || child.cx.runtime !== cx.runtime || child.cx.task !== cx.task) {
        child.cx = new Context(cx.runtime, cx.task, child);
      }
      child.cx.waitsOn = null;
      visit(child, child.cx);
    }
  }

  #end(child: Child<K>): void {
    child.end();
    this.#alive.delete(child);
  }
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
