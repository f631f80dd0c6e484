// Await: one future that an async function awaits. It has its own place in the ready queue. A wake polls the
// future and settles the await; it polls neither the function nor the task around it.
//
// Invariants:
// - A pending Await is in one list: its owner's, or the runtime's (then it is *loose*: it belongs to nobody).
// - It settles exactly once. That only queues microtasks, so it may happen in any poll: in a turn, or in the
//   microtask in which the engine calls `then`. (A loose Await that ends in a guest's turn settles after the turn.)
// - It is reused only if nothing can wake its earlier use: it is in no queue, and no code has read its waker.

import { codedError } from "../../base/coded-error.ts";
import { cold } from "../../base/cold.ts";
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
import { host } from "../../core/host.ts";
import { Pending, type Poll } from "../../core/poll.ts";
import type { WakeFd } from "../../core/wake-target.ts";
import { AwaitResult, type Handler } from "./await-result.ts";
import { driving } from "./driving.ts";
import { isResolver } from "./engine-function.ts";
import { usePromises } from "./microtasks.ts";
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

// The states of an Await.

/** Loose, and fulfilled in a guest's turn: it is in the runtime's queue of what follows the turn, and settles then. */
const SETTLING = -2;
/** It failed, was cancelled or was abandoned: not to be reused, because a poll may be on the stack. */
const SPENT = -1;
/** Fulfilled; or new. */
const ENDED = 0;
/** Waits for a wake. */
const PENDING = 1;
/** Its future is being polled. */
const POLLING = 2;
/** Its future is being polled, and that poll has called `abort`: the next one begins the cancellation. */
const ABORTED = 3;

type State =
  | typeof SETTLING
  | typeof SPENT
  | typeof ENDED
  | typeof PENDING
  | typeof POLLING
  | typeof ABORTED;

/** Returns false without coop budget, and while another runtime holds the thread: `runtime` must not run then. */
const canPollNow = (runtime: RuntimeRef): boolean => {
  const holder = driving.runtime;
  return (holder === null || holder === runtime) && runtime.budget > 0;
};

/**
 * Returns true in a turn of a guest. An await without an owner then settles after the turn: the code that continues
 * belongs to no task, and may call `blockOn`.
 */
const isInGuestTurn = (runtime: RuntimeRef): boolean => runtime.isDriving && !runtime.holdsThread;

export class Await extends Context implements LooseFuture {
  id = 0;
  before: LooseFuture | null = null;
  after: LooseFuture | null = null;
  /** The owner's list, in which a spare Await stays; or, for a loose one that is pending, the runtime's. */
  list: object | null = null;
  next: LooseFuture["next"] = null;
  owner: Owner | null;
  private future: Future<unknown> = NO_FUTURE;
  private onFulfilled!: Handler; // set by `begin`
  private onRejected: unknown = null;
  private result!: AwaitResult; // set by `begin`
  /** The value of the future while the state is SETTLING. */
  private value: unknown = undefined;
  /** The error with which the await rejects once the future's cancellation is done. */
  private abortError: unknown = NOT_CANCELLED;
  private state: State = ENDED;

  constructor(runtime: RuntimeRef, owner: Owner | null) {
    super(runtime);
    this.owner = owner;
  }

  /** True before `begin`, and once the await is settled. */
  get isEnded(): boolean {
    return this.state <= ENDED;
  }

  /** Prepares an ended Await for reuse. Returns false if it has not ended, or if something may still wake its earlier use. */
  tryReuse(): boolean {
    if (this.state !== ENDED || this.next !== null || this.hasSharedWaker) return false;
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
    if (this.next === null && this.state > ENDED) this.runtime.enqueue(this);
  }

  override openWakeFd(): WakeFd {
    if (this.state <= ENDED)
      throw codedError("ERR_FUTURE_ENDED", "this future has ended: it has no eventfd");
    this.wakeFd ??= this.runtime.openWakeFd(() => this.wake());
    return this.wakeFd;
  }

  /** True from `abort` to the end: the future's cleanup is in progress. */
  get isAborting(): boolean {
    return this.abortError !== NOT_CANCELLED;
  }

  /** Awaits `future`: polls it at once if this thread may do that now, else in the next turn. */
  begin(
    future: Future<unknown>,
    onFulfilled: Handler,
    onRejected: unknown,
    result: AwaitResult,
  ): void {
    this.future = future;
    this.onFulfilled = onFulfilled;
    this.onRejected = onRejected;
    this.result = result;
    if (!canPollNow(this.runtime)) {
      this.onNotPolled();
      return;
    }
    const value = this.poll();
    if (value === Pending) this.onPending();
    else this.fulfill(value);
  }

  private onNotPolled(): void {
    this.state = PENDING;
    if (this.owner === null) this.runtime.addLoose(this);
    this.runtime.enqueue(this);
  }

  private onPending(): void {
    if (this.owner === null || !this.runtime.isDriving) this.onPendingOutsideWork();
  }

  private onPendingOutsideWork(): void {
    if (this.isEnded) return; // it failed
    if (this.owner === null && this.list === null) this.runtime.addLoose(this);
    if (!this.runtime.isDriving) this.runtime.onPollOutsideTurn();
  }

  /** Called by the ready queue; and at the end of a guest's turn that has fulfilled this await. */
  run(): void {
    if (this.state <= ENDED) {
      this.runEnded();
      return;
    }
    this.runtime.budget = COOP_BUDGET;
    const value = this.poll();
    if (value !== Pending) this.fulfill(value);
  }

  /** Polls the future, or its cancellation. Returns the value for `fulfill`; Pending if there is none to pass on. */
  private poll(): Poll<unknown> {
    const { future } = this;
    const previous = current.context;
    current.context = this;
    this.blockedOn = null;
    this.state = POLLING;
    let value: unknown;
    try {
      value = this.abortError === NOT_CANCELLED ? future.poll(this) : this.pollAbort();
    } catch (error) {
      current.context = previous;
      if ((this.state as State) !== SPENT) this.reject(error);
      return Pending;
    }
    current.context = previous;
    if (this.state !== POLLING) return this.onEndedInPoll(future, value);
    if (value === Pending) this.state = PENDING;
    return value;
  }

  /** Polls the cancellation of the future. Throws `abortError` when it is done. */
  private pollAbort(): Pending {
    const { abortError } = this;
    const previous = current.cancelReason;
    current.cancelReason ??= (abortError as { readonly cause?: unknown }).cause ?? abortError;
    try {
      if (cancelStep(this.future, this) === Pending) return Pending;
    } finally {
      current.cancelReason = previous;
    }
    throw abortError;
  }

  /** The poll has cancelled or abandoned its own await. If it completed all the same, nobody receives its value. */
  private onEndedInPoll(future: Future<unknown>, value: unknown): Pending {
    if (this.state === SPENT) {
      if (value === Pending) future.drop(); // abandoned: nothing else can drop it now
      return Pending;
    }
    this.state = PENDING;
    if (value === Pending) return Pending;
    let error = this.abortError;
    try {
      future.reclaim(value);
    } catch (thrown) {
      error = thrown;
    }
    this.reject(error);
    return Pending;
  }

  /** Cancels the future; the await rejects with `error` once its cleanup is done. */
  abort(error: unknown): void {
    if (this.isEnded || this.abortError !== NOT_CANCELLED) return;
    this.abortError = error;
    const previous = current.cancelReason;
    current.cancelReason ??= error;
    try {
      abortSignalsOf(this);
      if (this.state === PENDING)
        this.poll(); // a cancellation has no value to pass on
      else if (this.state === POLLING) {
        this.state = ABORTED;
        this.wake();
      }
    } finally {
      current.cancelReason = previous;
    }
  }

  abandon(error: unknown): void {
    if (!this.isEnded) this.reject(error);
  }

  /** Settles the await with the value of its future. */
  private fulfill(value: unknown): void {
    const { owner, result, onFulfilled } = this;
    if (owner === null && isInGuestTurn(this.runtime)) {
      this.fulfillAfterTurn(value);
      return;
    }
    this.end(); // first: the value's `then` may be a getter that throws
    if (owner !== null && isThenable(value)) fulfillThenable(owner, result, value, onFulfilled);
    else {
      result.settle(value, false, onFulfilled);
      if (owner === null) this.recycle();
    }
    this.requestDrain();
  }

  /** Queues this Await, which has no owner, until the turn is over. */
  private fulfillAfterTurn(value: unknown): void {
    const { result, onFulfilled, runtime } = this;
    this.end();
    if (this.next === null) {
      this.state = SETTLING;
      this.result = result;
      this.value = value;
      runtime.defer(this);
    } else runtime.afterTurn(() => result.settle(value, false, onFulfilled)); // its own poll has queued it
  }

  /** Settles the await if the turn that has fulfilled it is over. (Otherwise it has ended while it was queued.) */
  private runEnded(): void {
    if (this.state !== SETTLING) return;
    const { result, value, onFulfilled } = this;
    this.state = ENDED;
    this.result = NO_RESULT;
    this.value = undefined;
    result.settle(value, false, onFulfilled);
    this.recycle();
  }

  private reject(error: unknown): void {
    const { owner, result, runtime } = this;
    const handler = rejecting(this.onFulfilled, this.onRejected);
    this.end();
    this.state = SPENT;
    if (owner === null && isInGuestTurn(runtime)) {
      runtime.afterTurn(() => result.settle(error, true, handler));
      return;
    }
    result.settle(error, true, handler);
    this.requestDrain();
  }

  /** Makes the reactions of the promises run that were settled. Outside a turn the engine runs them by itself. */
  private requestDrain(): void {
    const { runtime } = this;
    // `isDrainDue` first: it is usually true, and that saves calls which are too deep for the JIT to inline.
    if (!runtime.isDrainDue && runtime.isDriving) runtime.requestDrain();
  }

  private end(): void {
    this.state = ENDED;
    this.runtime.budget--; // the future may have charged nothing, and a loop may await it again
    this.future = NO_FUTURE;
    this.result = NO_RESULT;
    if (this.wakeFd !== null) this.closeWakeFd(this.wakeFd);
    if (this.owner !== null) this.owner.onAwaitEnded(this);
    else if (this.list !== null) this.runtime.removeLoose(this);
  }

  private closeWakeFd(wakeFd: WakeFd): void {
    wakeFd.release();
    this.wakeFd = null;
  }

  /** Keeps this Await, which has no owner and is fulfilled, for reuse. */
  private recycle(): void {
    this.onFulfilled = this.onRejected = ignore; // they would keep the code alive that awaited
    if (spares.length < MAX_SPARES) spares.push(this);
  }

  /** Makes this Await loose. The owner has removed it from the list of awaits. */
  loosen(): void {
    this.owner = null;
    this.runtime.addLoose(this);
  }
}

/** The engine awaits a value that is itself a thenable: for the same owner. */
function fulfillThenable(
  owner: Owner,
  result: AwaitResult,
  value: unknown,
  handler: Handler,
): void {
  owners().run(owner, () => result.settle(value, false, handler));
}

/**
 * Returns what receives the error of an await that has these two handlers. Two functions of the engine belong to one
 * promise: the handler resolves it to one that rejects, so that the error's stack shows the awaiting functions. Otherwise
 * the handler returns what `then` returns for a promise that has rejected.
 */
export function rejecting(onFulfilled: Handler, onRejected: unknown): Handler {
  if (onFulfilled === ignore) return ignore;
  if (isResolver(onFulfilled) && isResolver(onRejected))
    return (error) => onFulfilled(rethrow(error));
  return (error) => Promise.reject(error).then(null, onRejected as Handler);
}

/** The handler of an await that only its AwaitResult observes. */
export const ignore: Handler = () => undefined;

/** Fulfilled loose Awaits, of any runtime, for reuse. */
const spares: Await[] = [];
/** How many are kept at most: more than usually settle in one turn. */
const MAX_SPARES = 256;

/** Returns the runtime of what code without an owner awaits: as `currentRuntime` does, without looking for the owner. */
export const looseRuntime = (): RuntimeRef =>
  current.context?.runtime ?? driving.runtime ?? (host.ambientRuntime() as RuntimeRef);

const newLooseAwait = cold((runtime: RuntimeRef): Await => {
  usePromises();
  return new Await(runtime, null);
});

/** Returns an Await without an owner. */
export const looseAwait = (): Await => {
  const runtime = looseRuntime();
  const awaiting = spares.pop();
  if (!awaiting?.tryReuse()) return newLooseAwait(runtime);
  awaiting.runtime = runtime;
  return awaiting;
};
