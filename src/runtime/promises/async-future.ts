// AsyncFuture: an async function as work.
//
// An async function cannot be polled: its continuations are microtasks. So its future, the *owner*, makes each
// future that the function awaits an Await (await.ts), which runs by itself. The owner waits only for the
// function's own promise.
//
// The rule of cancellation: a cancellation is delivered once, to everything the function and the code in its
// async context await at that moment. Each of those awaits throws an AbortError; later awaits work, so cleanup
// may wait. The canceller waits until the function's own promise settles and the futures that it cancelled have
// ended. What the function leaves running, whether it was cancelled or ended by itself, goes on and belongs to
// nobody.
//
// A function that waits only for foreign promises at that moment cannot be cancelled. It is abandoned at once, like
// a promise that lost a race: to wait for it would make each `timeout` over a `fetch` late.
//
// A function that received the cancellation and does not end within the grace period is reported. From then on each
// of its awaits is refused, and the canceller no longer waits for its promise.

import { codedError } from "../../base/coded-error.ts";
import { cold } from "../../base/cold.ts";
import { List } from "../../base/list.ts";
import { abortSignalsOf, moveSignals } from "../../combine/abort-signal.ts";
import {
  type Blocker,
  blockersOfAll,
  type Context,
  describeWaits,
  isAnyInOtherRuntime,
  type LooseFuture,
} from "../../core/context.ts";
import { current, currentContext, currentContextOrNull, wakeOwner } from "../../core/current.ts";
import { AbortError, Future, isAbortError, polledAfterEnd } from "../../core/future.ts";
import { type Outcome, Pending, type Poll } from "../../core/poll.ts";
import { sleep } from "../../time/sleep.ts";
import { Await, rejecting } from "./await.ts";
import type { AwaitResult, Handler } from "./await-result.ts";
import { drain, isTooDeep, usePromises } from "./microtasks.ts";
import type { Owner } from "./owner.ts";
import { foreignPromise } from "./promise-future.ts";
import { owners } from "./storage.ts";

/** More awaits than any cleanup makes, and few enough to end soon. */
const MAX_REFUSALS = 1000;
/** Ends the message of an AbortError: what to do if it has reached work that should have continued. */
const HINT =
  ". Work that should outlive it needs spawn(work), or lazy(work) if several callers share it";

/** What a cancelled function has besides. Most functions are never cancelled. */
class Cancellation {
  /** Why it is cancelled; undefined if no error is the reason. */
  readonly cause: unknown = current.cancelReason;
  /** It was delivered to at least one await. */
  isDelivered = false;
  /** True while `deliver` is on the stack. */
  isDelivering = false;
  grace: Future<void> | null = null;
  /** The grace period is over: each await is refused. */
  isGivenUp = false;
  /** The function was dropped, and the runtime drives its cleanup: for its owner it has ended. */
  isHandedOver = false;
}

/** An async function that was given as work: the owner of what it awaits. */
export class AsyncFuture<T> extends Future<T> implements Owner, Blocker {
  static {
    cold(AsyncFuture.prototype.newAwait);
  }

  cx: Context;
  private readonly functionName: string;
  /** The awaits of the function and of the code in its async context; and the spare one, even when it has ended. */
  private readonly awaits: List<LooseFuture> = new List();
  /**
   * How many of `awaits` have not ended. While there are none, the function waits for a foreign promise, and its
   * runtime counts that.
   */
  private active = 0;
  /** Used again once it has ended: a function usually awaits one future after another. */
  private spare: Await | null = null;
  /** The outcome of the function's own promise. */
  private outcome: Outcome<T> | null = null;
  /** Completed, failed, cancelled or abandoned. */
  private isEnded = false;
  /** True from the first poll on. */
  private isStarted = false;
  private cancellation: Cancellation | null = null;
  private refusals = 0;

  constructor(name: string) {
    super();
    usePromises();
    this.functionName = name;
    this.cx = currentContext();
    this.cx.runtime.foreignPromises++;
  }

  override get runsUserCode(): boolean {
    return true;
  }

  /** For messages. */
  private get name(): string {
    return this.functionName === "" ? "an async function" : `async function ${this.functionName}`;
  }

  get isOver(): boolean {
    // A function that was given up is refused until it has really ended.
    return this.isEnded && (this.cancellation?.isGivenUp !== true || this.outcome !== null);
  }

  /** Waits for the promise that the function has returned. */
  watch(promise: PromiseLike<T>): void {
    // Treat a thenable as `await` does. A lazy one starts its work in `then`: what it awaits belongs to this owner.
    const real =
      promise.constructor === Promise
        ? promise
        : owners().run(this, () => Promise.resolve(promise));
    real.then(
      (value) => this.onSettled({ value }),
      (error: unknown) => this.onSettled({ error }),
    );
    this.cx.runtime.requestDrain();
  }

  /** Ends the owner of a function that returned no promise. */
  dismiss(): void {
    moveSignals(this, this.cx); // the work function may have passed its signal to the work that it returned
    this.end();
    this.drop(); // releases nothing more; it shows debug mode that nobody forgot this future
  }

  private get isDelivering(): boolean {
    return this.cancellation?.isDelivering === true;
  }

  private get isHandedOver(): boolean {
    return this.cancellation?.isHandedOver === true;
  }

  private onSettled(outcome: Outcome<T>): void {
    const { isEnded } = this;
    this.outcome ??= outcome;
    if (isEnded) {
      if ("error" in outcome && !this.isAbort(outcome.error)) {
        this.cx.runtime.report(outcome.error, `${this.name}, which had been cancelled,`);
      }
      return;
    }
    this.cx.target.wake();
  }

  get isRefusing(): boolean {
    return this.cancellation?.isGivenUp === true || !this.cx.runtime.isOpen;
  }

  nextAwait(): Await {
    if (this.active++ === 0) this.cx.runtime.foreignPromises--;
    const { spare } = this;
    return spare?.tryReuse() && this.cancellation === null ? spare : this.newAwait();
  }

  /** Returns an Await besides the spare one, or in its place if that has ended and cannot be reused. */
  private newAwait(): Await {
    const awaiting = new Await(this.cx.runtime, this);
    this.awaits.push(awaiting);
    if (this.spare?.isEnded !== false && !this.isDelivering) {
      if (this.spare !== null) this.awaits.remove(this.spare);
      this.spare = awaiting;
    }
    return awaiting;
  }

  onAwaitEnded(ended: LooseFuture): void {
    if (ended !== this.spare) this.onOtherEnded(ended as Await); // only Awaits are in the list
    if (--this.active === 0) this.cx.runtime.foreignPromises++;
    if (this.cancellation !== null) this.cx.target.wake(); // its canceller waits for this
  }

  /** Keeps it for the next await, if the spare one still waits. */
  private onOtherEnded(ended: Await): void {
    if (this.spare?.isEnded === false && !this.isDelivering) this.spare = ended;
    else this.awaits.remove(ended);
  }

  /** Refuses an await: it rejects at once. After MAX_REFUSALS it never settles, or a loop would hold the thread. */
  refuse(
    future: Future<unknown>,
    onFulfilled: Handler,
    onRejected: unknown,
    result: AwaitResult,
  ): void {
    future.drop();
    if (++this.refusals <= MAX_REFUSALS) {
      result.settle(this.abortError(), true, rejecting(onFulfilled, onRejected));
      return;
    }
    if (this.refusals > MAX_REFUSALS + 1) return;
    const error = codedError(
      "ERR_CANCELLATION_IGNORED",
      `it was cancelled and has caught ${MAX_REFUSALS} AbortErrors since: it is abandoned. Leave the loop when an await throws an AbortError`,
    );
    this.cx.runtime.report(error, this.name);
  }

  override poll(cx: Context): Poll<T> {
    if (this.isEnded || this.cancellation !== null) throw polledAfterEnd(this.name);
    if (this.cx !== cx) this.moveTo(cx);
    if (!this.isStarted) {
      if (isTooDeep(cx)) return Pending;
      this.isStarted = true;
      drain(); // a function that never waits ends in its first poll
      if (this.isEnded) throw polledAfterEnd(this.name); // its own microtasks dropped it
    }
    const outcome = this.outcome as Outcome<T> | null;
    if (outcome === null) {
      cx.blockedOn = this;
      return Pending;
    }
    if (cx.isExhausted()) return Pending;
    this.end();
    cx.charge();
    if ("error" in outcome) throw outcome.error;
    return outcome.value;
  }

  private moveTo(cx: Context): void {
    const { runtime } = this.cx;
    this.cx = cx;
    if (cx.runtime === runtime) return;
    if (this.active === 0) {
      runtime.foreignPromises--;
      cx.runtime.foreignPromises++;
    }
    for (const one of this.awaits) {
      (one as Await).runtime = cx.runtime;
      (one as Await).wake();
    }
  }

  override pollCancel(cx: Context): Poll<void> {
    if (this.isHandedOver) return;
    return isTooDeep(cx) ? Pending : this.cancel(cx);
  }

  /** Delivers the cancellation, once, and waits until the function's own promise settles. */
  private cancel(cx: Context): Poll<void> {
    if (this.isEnded) return;
    if (this.cx !== cx) this.moveTo(cx);
    if (this.cancellation === null) {
      this.cancellation = new Cancellation();
      // An await that has just settled has not resumed its code yet: let that code reach its next await.
      drain();
      if (this.isEnded) return; // its own microtasks dropped it
      abortSignalsOf(this);
      if (this.isEnded) return; // a listener of its signal dropped it
      if (this.outcome === null && this.active > 0) this.deliver(this.cancellation);
    }
    drain();
    const { cancellation } = this;
    if (cancellation.isDelivered && this.waitForEnd(cancellation, cx) === Pending) {
      cx.blockedOn = this;
      return Pending;
    }
    const outcome = this.outcome as Outcome<T> | null; // the drain may have set it
    if (this.isEnded) return; // its own microtasks dropped it
    this.end();
    if (outcome !== null && "error" in outcome && !this.isAbort(outcome.error)) {
      cx.runtime.report(outcome.error, `cleanup of ${this.name}, which was cancelled,`);
    }
  }

  /** Waits until the function and the cancelled futures have ended; after the grace period, only for the futures. */
  private waitForEnd(cancellation: Cancellation, cx: Context): Poll<void> {
    if (this.outcome === null && !cancellation.isGivenUp) {
      cancellation.grace ??= sleep(cx.runtime.cancelGraceMs);
      if (cancellation.grace.poll(cx) === Pending) return Pending;
      cancellation.grace = null;
      cancellation.isGivenUp = true;
      const error = codedError(
        "ERR_CANCELLATION_IGNORED",
        `it was cancelled ${cx.runtime.cancelGraceMs} ms ago and has not ended: each await throws an AbortError from now on. It waits on ${this.describe()}`,
      );
      cx.runtime.report(error, this.name);
      this.deliver(cancellation);
      drain();
    }
    if (this.pending.some((one) => one.isAborting)) return Pending;
  }

  /**
   * Cancels everything that is awaited now. The cleanup of one await may resume code that awaits again: those
   * later awaits are not cancelled, so no Await is reused meanwhile.
   */
  private deliver(cancellation: Cancellation): void {
    const error = this.abortError();
    cancellation.isDelivered = cancellation.isDelivering = true;
    for (const one of this.pending) one.abort(error);
    cancellation.isDelivering = false;
  }

  private abortError(): AbortError {
    const cause = this.cancellation?.cause;
    const why = cause instanceof Error ? ` (${cause.name}: ${cause.message})` : "";
    return new AbortError(
      `${this.name} was cancelled${why.replace(HINT, "")}${HINT}`,
      cause === undefined ? undefined : { cause },
    );
  }

  override drop(): void {
    if (this.isEnded || this.isHandedOver) return;
    const last = this.cx;
    const cx = currentContextOrNull() ?? last;
    if (this.cancel(cx) === Pending) {
      this.cancellation!.isHandedOver = true; // set: its cancellation is pending
      cx.runtime.finishCleanup((cleanup) => this.cancel(cleanup));
    }
    wakeOwner(last);
  }

  /** The function is over. What it left running belongs to nobody. */
  private end(): void {
    if (this.isEnded) return;
    this.isEnded = true;
    this.spare = null;
    if (this.cancellation !== null) {
      this.cancellation.grace?.drop();
      this.cancellation.grace = null;
    }
    if (this.active === 0) this.cx.runtime.foreignPromises--;
    for (let one = this.awaits.shift(); one !== null; one = this.awaits.shift()) {
      if (!(one as Await).isEnded) (one as Await).loosen();
    }
  }

  get parts(): readonly Blocker[] {
    return blockersOfAll(this.pending);
  }

  describe(): string {
    if (this.active === 0) return foreignPromise;
    return describeWaits(this.pending);
  }

  get isInOtherRuntime(): boolean {
    return isAnyInOtherRuntime(this.awaits);
  }

  /** The awaits that have not ended. */
  private get pending(): Await[] {
    return [...this.awaits].map((one) => one as Await).filter((one) => !one.isEnded);
  }

  /** True for the error of this cancellation. A `fetch` rejects with the reason of its signal, which is the cause. */
  private isAbort(error: unknown): boolean {
    return isAbortError(error) || (error !== undefined && error === this.cancellation?.cause);
  }
}
