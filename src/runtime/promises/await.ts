// Await: one future that an async function awaits. It has its own place in the ready queue. A wake polls the
// future and settles the await; it polls neither the function nor the task around it.
//
// Invariants:
// - A pending Await is in one list: its owner's, or the runtime's (then it is *loose*: it belongs to nobody).
// - It settles exactly once. That only queues microtasks, so it may happen in any poll: in a turn, or in the
//   microtask in which the engine calls `then`. (A loose Await of a guest settles after the turn.)
// - It is reused only if nothing can wake its earlier use: it is in no queue, and no code has read its waker.

import { codedError } from "../../base/coded-error.ts";
import { isThenable } from "../../base/thenable.ts";
import { abortSignalsOf } from "../../combine/abort-signal.ts";
import { cancelStep } from "../../combine/children.ts";
import {
  COOP_BUDGET,
  Context,
  type LooseFuture,
  nextSerial,
  type RuntimeRef,
  type TaskRef,
} from "../../core/context.ts";
import { current } from "../../core/current.ts";
import type { Future } from "../../core/future.ts";
import { Pending } from "../../core/poll.ts";
import type { WakeFd } from "../../core/wake-target.ts";
import { AwaitResult, type Handler } from "./await-result.ts";
import { driving } from "./driving.ts";
import type { Owner } from "./owner.ts";
import { rethrow } from "./rethrow.ts";
import { owners } from "./storage.ts";

/** The task of an await that belongs to nobody. */
const NOBODY: TaskRef = { id: 0, name: "none", isEnded: false };
/** A spare Await has no future. Nothing polls it. */
const NO_FUTURE = {} as Future<unknown>;
/** A spare Await keeps no result alive. */
const NO_RESULT = new AwaitResult();
const NOT_CANCELLED: unique symbol = Symbol("guillotine.NOT_CANCELLED");

export class Await extends Context implements LooseFuture {
  id = 0;
  before: LooseFuture | null = null;
  after: LooseFuture | null = null;
  /** The owner's list, in which a spare Await stays; or, for a loose one that is pending, the runtime's. */
  list: object | null = null;
  next: LooseFuture["next"] = null;
  owner: Owner | null;
  private future: Future<unknown> = NO_FUTURE;
  private onFulfilled!: Handler; // set by `arm`
  private result!: AwaitResult; // set by `arm`
  /** The error with which the await rejects once the future's cancellation is done. */
  private abortError: unknown = NOT_CANCELLED;
  private isPolling = false;
  /** True before `arm`, and once the await is settled. */
  isEnded = true;

  constructor(runtime: RuntimeRef, owner: Owner | null) {
    super(runtime);
    this.owner = owner;
  }

  /** Prepares an ended Await for reuse. Returns false if something may still wake its earlier use. */
  tryReuse(runtime: RuntimeRef): boolean {
    if (this.next !== null || this.hasSharedWaker || this.isPolling) return false;
    this.runtime = runtime;
    this.serial = nextSerial();
    return true;
  }

  override get task(): TaskRef {
    return this.owner?.cx?.task ?? NOBODY;
  }

  override get parent(): Context | null {
    return this.owner?.cx ?? null;
  }

  override wake(): void {
    if (this.next === null && !this.isEnded) this.runtime.enqueue(this);
  }

  override openWakeFd(): WakeFd {
    if (this.isEnded)
      throw codedError("ERR_FUTURE_ENDED", "this future has ended: it has no eventfd");
    this.wakeFd ??= this.runtime.openWakeFd(() => this.wake());
    return this.wakeFd;
  }

  /** True from `abort` to the end: the future's cleanup is in progress. */
  get isAborting(): boolean {
    return this.abortError !== NOT_CANCELLED;
  }

  /** Awaits `future`: polls it at once if this thread may do that now, else in the next turn. */
  begin(future: Future<unknown>, onFulfilled: Handler, result: AwaitResult): void {
    this.future = future;
    this.onFulfilled = onFulfilled;
    this.result = result;
    this.abortError = NOT_CANCELLED;
    this.isEnded = false;
    const { runtime } = this;
    const canPoll = runtime.budget > 0 && canPollNow(runtime);
    if (canPoll) this.poll();
    if (!this.isEnded) this.onPending(canPoll);
  }

  private onPending(isPolled: boolean): void {
    const { runtime } = this;
    if (this.owner === null) runtime.addLoose(this);
    if (!isPolled) runtime.enqueue(this);
    else if (!runtime.isDriving) runtime.onPollOutsideTurn();
  }

  /** Called by the ready queue. */
  run(): void {
    if (this.isEnded) return; // it ended while it was queued
    this.runtime.budget = COOP_BUDGET;
    this.poll();
  }

  /** Polls the future, or its cancellation, and settles the await if that was the end. */
  poll(): void {
    this.blockedOn = null;
    const future = this.future;
    const previous = current.context;
    current.context = this;
    this.isPolling = true;
    let value: unknown;
    let isError = false;
    try {
      if (this.abortError !== NOT_CANCELLED) value = this.pollAbort();
      else {
        value = future.poll(this);
        if (this.abortError !== NOT_CANCELLED) value = this.onAbortInPoll(value);
      }
    } catch (error) {
      value = error;
      isError = true;
    } finally {
      this.isPolling = false;
      current.context = previous;
    }
    if (value !== Pending && !this.isEnded) this.end(value, isError);
    // The poll abandoned this await, then suspended again: nothing else can drop the future now.
    else if (value === Pending && this.isEnded) future.drop();
  }

  /** Polls the cancellation of the future. Throws `abortError` when it is done. */
  private pollAbort(): Pending {
    if (cancelStep(this.future, this) === Pending) return Pending;
    throw this.abortError;
  }

  /** The poll itself cancelled this await. If it completed all the same, nobody receives its value. */
  private onAbortInPoll(value: unknown): Pending {
    if (value === Pending) return Pending;
    this.future.reclaim(value);
    throw this.abortError;
  }

  /** Cancels the future; the await rejects with `error` once its cleanup is done. */
  abort(error: unknown): void {
    if (this.isEnded || this.abortError !== NOT_CANCELLED) return;
    this.abortError = error;
    const previous = current.cancelReason;
    current.cancelReason ??= error;
    try {
      abortSignalsOf(this);
      if (this.isPolling)
        this.wake(); // the poll in progress cancels its own await: the next poll does that
      else if (!this.isEnded) this.poll();
    } finally {
      current.cancelReason = previous;
    }
  }

  abandon(error: unknown): void {
    if (!this.isEnded) this.end(error, true);
  }

  private end(value: unknown, isError: boolean): void {
    const { owner, runtime, result } = this;
    const handler = isError ? rejecting(this.onFulfilled) : this.onFulfilled;
    this.isEnded = true;
    this.charge(); // the future may have charged nothing, and a loop may await it again
    this.future = NO_FUTURE;
    this.result = NO_RESULT;
    this.blockedOn = null;
    if (this.wakeFd !== null) this.closeWakeFd(this.wakeFd);
    if (owner === null) {
      this.endLoose(value, isError, handler, result);
      return;
    }
    owner.onAwaitEnded(this);
    // The engine awaits a value that is itself a thenable: for the same owner.
    if (!isError && isThenable(value)) settleAs(owner, result, value, handler);
    else result.settle(value, isError, handler);
    if (runtime.isDriving) runtime.requestDrain(); // elsewhere the engine runs the reactions by itself
  }

  private closeWakeFd(wakeFd: WakeFd): void {
    wakeFd.release();
    this.wakeFd = null;
  }

  private endLoose(value: unknown, isError: boolean, handler: Handler, result: AwaitResult): void {
    const { runtime } = this;
    if (this.list !== null) runtime.removeLoose(this);
    spare.loose = this;
    // The code that continues belongs to no task, and may call `blockOn`: it must run outside the turn.
    if (runtime.isDriving && !runtime.holdsThread) {
      settleAfterTurn(runtime, result, value, isError, handler);
      return;
    }
    result.settle(value, isError, handler);
    if (runtime.isDriving) runtime.requestDrain();
  }

  /** Makes this Await loose. The owner has removed it from the list of awaits. */
  loosen(): void {
    this.owner = null;
    this.runtime.addLoose(this);
  }
}

// Two functions, because with their closures in it `end` would allocate a scope at each call.

function settleAfterTurn(
  runtime: RuntimeRef,
  result: AwaitResult,
  value: unknown,
  isError: boolean,
  handler: Handler,
): void {
  runtime.afterTurn(() => result.settle(value, isError, handler));
}

function settleAs(owner: Owner, result: AwaitResult, value: unknown, handler: Handler): void {
  owners().run(owner, () => result.settle(value, false, handler));
}

/** Returns a handler that rejects what `onFulfilled` resolves, with the awaiting functions in the error's stack. */
export function rejecting(onFulfilled: Handler): Handler {
  return onFulfilled === ignore ? ignore : (error) => onFulfilled(rethrow(error));
}

/** The handler of an await that only its AwaitResult observes. */
export const ignore: Handler = () => undefined;

/** An ended loose Await to reuse. */
const spare: { loose: Await | null } = { loose: null };

/** Returns an Await without an owner. */
export function looseAwait(runtime: RuntimeRef): Await {
  const { loose } = spare;
  spare.loose = null;
  return loose?.tryReuse(runtime) ? loose : new Await(runtime, null);
}

/** Returns false while another runtime holds the thread: `runtime` must not run then. */
function canPollNow(runtime: RuntimeRef): boolean {
  const holder = driving.runtime;
  return holder === null || holder === runtime;
}
