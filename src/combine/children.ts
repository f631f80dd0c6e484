// Children: the futures inside another future, each with its own waker, so that waking a child polls
// only that child. Combinators and scopes use this class.
//
// Invariants:
// - A child is in the list exactly until it ends. An ended child is never polled, and waking it does nothing.
// - Wakes of a child before its poll coalesce into one poll.
// - One poll of the parent polls each woken child at most once, so a child that is always ready cannot keep the
//   thread. Children that the coop budget did not reach go first in the next poll, so a child that always uses
//   up the budget cannot starve its siblings.

import { codedError } from "../base/coded-error.ts";
import { forAll } from "../base/for-all.ts";
import { type Linked, List } from "../base/list.ts";
import { Queue, type Queued } from "../base/queue.ts";
import {
  Context,
  type Deadline,
  describeWaits,
  isAnyInOtherRuntime,
  type RuntimeRef,
  type TaskRef,
} from "../core/context.ts";
import { current, wakeOwner } from "../core/current.ts";
import type { Future } from "../core/future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import type { WakeFd } from "../core/wake-target.ts";
import { abortSignalsOf } from "./abort-signal.ts";

/** The owner of the children. It receives the value or error of each child. Its methods must not throw. */
export interface Parent<K> {
  /** True once the parent knows its own outcome, so the other children need not be polled. */
  readonly isDecided: boolean;
  /** Called after the child of `key` has completed. `future` is the child's future, to reclaim `value` through. */
  onChildValue(key: K, value: unknown, future: Future<unknown>): void;
  /** Called after the child of `key` has failed. */
  onChildError(key: K, error: unknown): void;
}

/** One poll of a child's future: an ordinary one, or one that cancels it. */
type Step<T> = (future: Future<unknown>, cx: Context) => Poll<T>;

/** The runtime of a child before its first poll. Never used: no code can have the child's waker yet. */
const NO_RUNTIME = {} as RuntimeRef;
const NO_TASK: TaskRef = { id: 0, name: "none", isEnded: false };

/**
 * One child, and the context in which its future is polled. (It has twelve fields: with one more, the engine
 * allocates 160 bytes instead of 112.)
 */
class Child<K> extends Context implements Linked<Child<K>>, Queued<Child<K>> {
  readonly key: K;
  readonly future: Future<unknown>;
  override task: TaskRef = NO_TASK;
  before: Child<K> | null = null;
  after: Child<K> | null = null;
  /** The list of the parent's live children; null once this child has ended. */
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

  override get parent(): Context | null {
    return this.list === null || this.list.isShielded ? null : this.list.parent;
  }

  override get deadline(): Deadline | null {
    return this.list?.timer ?? null;
  }

  override wake(): void {
    if (this.next === null) this.list?.enqueue(this);
  }

  override openWakeFd(): WakeFd {
    if (this.isEnded)
      throw codedError("ERR_FUTURE_ENDED", "this future has ended, so its waker has no eventfd");
    this.wakeFd ??= this.runtime.openWakeFd(() => this.wake());
    return this.wakeFd;
  }

  /** Prepares a poll in `cx`. Returns false if the child has ended. */
  beginPoll(cx: Context): boolean {
    if (this.isEnded) return false;
    this.runtime = cx.runtime;
    this.task = cx.task;
    this.blockedOn = null;
    return true;
  }

  /**
   * Runs `step` with this child as the current context. The child's future may call `next()` of a generator or of
   * another future, which then finds this context.
   */
  run<T>(step: Step<T>): Poll<T> {
    const { future } = this;
    const previous = current.context;
    current.context = this;
    let result: Poll<T>;
    try {
      result = step(future, this);
    } finally {
      current.context = previous;
    }
    // The step dropped our parent, then suspended again. The parent no longer knows the child, so drop it here.
    if (result === Pending && this.isEnded) future.drop();
    return result;
  }
}

/** The live children of one parent, in the order in which they were added. */
export class Children<K> extends List<Child<K>> {
  /**
   * If true, woken children are polled in the order of their keys, which must be numbers. If false, in the order of
   * their wakes.
   */
  isOrderedByKey = false;
  /** The timer of a parent that cancels its children at a deadline. */
  timer: Deadline | null = null;
  /** True if a cancellation of the parent does not reach the children. */
  isShielded = false;
  /** The children that were woken since the last round began. */
  private readonly woken: Queue<Child<K>> = new Queue();
  /** The children left in the current round. If the coop budget ends the round, the next poll continues it. */
  private readonly round: Queue<Child<K>> = new Queue();
  /** The context of the parent's latest poll: a woken child wakes its target. */
  parent: Context | null = null;
  private isCancelling = false;

  /** Adds a child and wakes the parent. The parent's next poll polls the child. */
  add(key: K, future: Future<unknown>): void {
    const child = new Child(key, future);
    this.push(child);
    this.enqueue(child);
  }

  /** Queues a woken child, which must not be queued, and wakes the parent. */
  enqueue(child: Child<K>): void {
    this.woken.push(child);
    this.parent?.target.wake();
  }

  /**
   * Polls the woken children until `parent` is decided or the coop budget is used up. A child that is woken
   * meanwhile waits for the next poll. Children that the budget did not reach go first in that poll.
   */
  poll(cx: Context, parent: Parent<K>): void {
    this.parent = cx;
    if (!this.pollRound(cx, parent)) return;
    this.beginRound();
    if (this.isOrderedByKey) this.round.sort(byKey);
    this.pollRound(cx, parent);
  }

  /** Polls the rest of the round. Returns false if the parent was decided or the budget used up before its end. */
  private pollRound(cx: Context, parent: Parent<K>): boolean {
    while (!this.round.isEmpty) {
      if (parent.isDecided) return false; // the rest will be cancelled
      if (cx.runtime.budget <= 0) {
        cx.target.wake();
        return false;
      }
      this.pollChild(this.round.shift()!, cx, parent); // not empty
    }
    return true;
  }

  private pollChild(child: Child<K>, cx: Context, parent: Parent<K>): void {
    if (!child.beginPoll(cx)) return;
    const { key, future } = child;
    let value: unknown;
    try {
      value = child.run(pollStep);
    } catch (error) {
      this.end(child);
      parent.onChildError(key, error);
      return;
    }
    if (value === Pending) return;
    this.end(child);
    parent.onChildValue(key, value, future);
  }

  /**
   * Cancels the remaining children concurrently. Returns Pending until the cleanup of all of them is done. Reports
   * errors of the cleanup. Calls `onEnd` after each child has ended.
   */
  pollCancel(cx: Context, onEnd?: (key: K) => void): Poll<void> {
    if (this.size === 0) return;
    if (!this.isCancelling) {
      this.isCancelling = true;
      for (const child of this) {
        if (child.next === null) this.woken.push(child);
        abortSignalsOf(child);
      }
    }
    this.parent = cx;
    this.beginRound();
    for (let child = this.round.shift(); child !== null; child = this.round.shift()) {
      if (!child.beginPoll(cx) || child.run(cancelStep) === Pending || child.isEnded) continue;
      this.end(child);
      onEnd?.(child.key);
    }
    return this.size > 0 ? Pending : undefined;
  }

  /**
   * Drops the remaining children; the runtime drives cleanup that suspends. Calls `onEnd` after each child has
   * been dropped. If a child throws, the others are still dropped, and then the first error is thrown.
   */
  drop(onEnd?: (key: K) => void): void {
    try {
      forAll(this, (child) => {
        this.end(child);
        try {
          abortSignalsOf(child);
          child.future.drop();
        } finally {
          onEnd?.(child.key);
        }
      });
    } finally {
      this.round.clear();
      this.woken.clear();
      wakeOwner(this.parent);
    }
  }

  /** True when at least one child waits for another runtime. */
  get isInOtherRuntime(): boolean {
    return isAnyInOtherRuntime(this);
  }

  /** Returns a phrase for what the children wait for. */
  describe(): string {
    return describeWaits([...this]);
  }

  /** Moves the woken children into the round. Children that are woken later wait for the next round. */
  private beginRound(): void {
    this.round.append(this.woken);
  }

  private end(child: Child<K>): void {
    this.remove(child);
    child.wakeFd?.release();
    child.wakeFd = null;
  }
}

function byKey(a: Child<unknown>, b: Child<unknown>): number {
  return (a.key as number) - (b.key as number); // `isOrderedByKey` is set for numeric keys only
}

function pollStep(future: Future<unknown>, cx: Context): Poll<unknown> {
  return future.poll(cx);
}

/** Polls a cancellation once. Reports an error, because a cancelled future has no awaiter to throw it at. */
export function cancelStep(future: Future<unknown>, cx: Context): Poll<void> {
  try {
    return future.pollCancel(cx);
  } catch (error) {
    cx.runtime.report(error, `cleanup in task ${cx.task.name}`);
    return undefined;
  }
}
