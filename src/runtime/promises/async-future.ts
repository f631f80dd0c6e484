// AsyncFuture: an async function as work.
//
// An async function cannot be polled; its continuations are microtasks. So the future of one, its
// *owner*, adopts each future that the function awaits as a child, polls those that were woken,
// settles their promises, and drains the microtasks, until the function awaits something new that is
// not ready. `then` never polls: it is called in a microtask, and only adds a child (adopt.ts).

import { isThenable } from "../../base/thenable.ts";
import { cancelStep } from "../../combine/children.ts";
import { Combinator } from "../../combine/combinator.ts";
import { Shield } from "../../combine/shield.ts";
import type { Context } from "../../core/context.ts";
import { currentContextOrNull } from "../../core/current.ts";
import { AbortError, type Future, polledAfterEnd } from "../../core/future.ts";
import { type Outcome, Pending, type Poll, type Settle } from "../../core/poll.ts";
import { InStorage } from "./in-storage.ts";
import { drain, usePromises } from "./microtasks.ts";
import type { Owner } from "./owner.ts";
import { foreignPromise } from "./promise-future.ts";
import { captureStorage, owners } from "./storage.ts";

/** More awaits than any cleanup makes, and few enough to be over soon. */
const MAX_REFUSALS = 1000;

/** An async function that was given as work: the owner of what it awaits. */
export class AsyncFuture<T> extends Combinator<Settle, T> implements Owner {
  /** Of the latest poll. */
  cx: Context | null;
  #isPolling = false;
  #isCancelling = false;
  /** It was dropped, and the runtime drives its cleanup: for its owner it has ended. */
  #isHandedOver = false;
  /** Awaits that were refused since it was cancelled. */
  #refusals = 0;
  /** It waits for a promise that none of its futures will settle. */
  #isForeign = false;

  constructor() {
    super();
    usePromises();
    this.cx = currentContextOrNull();
  }

  /** The function has been called, and returned this. */
  watch(promise: PromiseLike<T>): void {
    // What is thenable only is taken as `await` takes it; a lazy one starts now, and awaits for this.
    const real =
      promise instanceof Promise ? promise : owners().run(this, () => Promise.resolve(promise));
    real.then(
      (value) => this.#settle({ value }),
      (error: unknown) => this.#settle({ error }),
    );
  }

  /** Nobody will poll it: async functions that were called in it await for themselves. */
  dismiss(): void {
    if (this.hasAdopted) this.children.drop(this.onChildCancelled);
    this.end();
    this.drop(); // does nothing more; debug mode hears that it was not forgotten
  }

  #settle(outcome: Outcome<T>): void {
    if (this.isEnded) {
      if ("error" in outcome && !isAbort(outcome.error)) {
        this.cx?.runtime.report(outcome.error, "an async function that had been cancelled");
      }
      return;
    }
    this.outcome ??= outcome;
    if (!this.#isPolling) this.cx?.target.wake();
  }

  /** The promise of a future that the function awaits. */
  adopt(future: Future<unknown>): Promise<unknown> {
    const isRefused = this.isEnded || (this.#isCancelling && !(future instanceof Shield));
    if (isRefused) {
      future.drop();
      if (++this.#refusals > MAX_REFUSALS) return this.#abandon();
      return Promise.reject(new AbortError("the async function that awaits this was cancelled"));
    }
    return new Promise((resolve, reject) => {
      const one = future.runsUserCode ? new InStorage(future, captureStorage()) : future;
      this.children.addWithoutWake({ resolve, reject }, one);
      if (!this.#isPolling) this.cx?.target.wake();
    });
  }

  /** It would go round for ever, in microtasks, and keep the thread. */
  #abandon(): Promise<never> {
    if (this.#refusals === MAX_REFUSALS + 1) {
      const error = new Error(
        `it was cancelled, and has caught ${MAX_REFUSALS} AbortErrors since: it is abandoned. Leave the loop when an await throws an AbortError`,
      );
      this.cx?.runtime.report(error, "an async function");
    }
    return new Promise(() => {});
  }

  /** It has called `then` of a future. */
  get hasAdopted(): boolean {
    return this.children.hasNew;
  }

  /** From then on what its code awaits is not its own. (One that was cancelled goes on to refuse it.) */
  get hasEndedByItself(): boolean {
    return this.isEnded && !this.#isCancelling;
  }

  override poll(cx: Context): Poll<T> {
    if (this.#isHandedOver) throw polledAfterEnd("an async function");
    this.cx = cx;
    return super.poll(cx);
  }

  protected override pollChildren(cx: Context): void {
    this.#isPolling = true;
    try {
      super.pollChildren(cx);
      drain();
      // Each await of a future that is ready costs one of the budget, like any operation.
      while (this.outcome === null && this.children.hasNew && !cx.isExhausted()) {
        this.children.pollNew(cx, this);
        drain();
      }
    } finally {
      this.#isPolling = false;
    }
    const isStuck = this.outcome === null && this.children.size === 0;
    this.#setForeign(cx, isStuck && !this.isEnded); // it may have been dropped by its own microtasks
  }

  /** The function has it: it goes to who awaits the child. */
  protected override holdForReclaim(): void {}

  protected override onValue(settle: Settle, value: unknown): void {
    this.cx!.charge(); // polled just now
    try {
      // A value that is itself awaited is awaited by the same function.
      if (isThenable(value)) owners().run(this, settle.resolve, value);
      else settle.resolve(value);
    } catch (error) {
      settle.reject(error); // its `then` is a getter, and throws: told as `await` tells it
    }
  }

  override onChildError(settle: Settle, error: unknown): void {
    this.cx!.charge(); // polled just now
    settle.reject(error);
  }

  override pollCancel(cx: Context): Poll<void> {
    return this.#isHandedOver ? undefined : this.#cancel(cx);
  }

  /**
   * What it awaits is dropped and rejects, and every later await of a future rejects, but of a shield.
   * If it then waits for a promise that is not ours it is abandoned.
   */
  #cancel(cx: Context): Poll<void> {
    if (this.isEnded) return;
    this.cx = cx;
    this.#isCancelling = true;
    this.#isPolling = true;
    try {
      do {
        this.children.pollCancel(cx, rejectCancelled, cancelUnlessShield);
        drain();
      } while (this.children.hasNew && !cx.isExhausted());
    } finally {
      this.#isPolling = false;
    }
    if (this.children.size > 0) {
      cx.blockedOn = this;
      return Pending;
    }
    const { outcome } = this;
    this.end();
    if (outcome !== null && "error" in outcome && !isAbort(outcome.error)) {
      cx.runtime.report(outcome.error, "cleanup of a cancelled async function");
    }
  }

  override drop(): void {
    if (this.isEnded || this.#isHandedOver) return;
    if (this.#isPolling && this.#isCancelling) return; // by its own cleanup: it ends already
    const last = this.cx;
    const cx = currentContextOrNull() ?? last;
    if (cx !== null && this.#cancel(cx) === Pending) {
      this.#isHandedOver = true;
      cx.runtime.finishCleanup((cleanup) => this.#cancel(cleanup));
      last?.wake(); // the owner may be another, and wait for its end
    }
  }

  protected override end(): void {
    super.end();
    if (this.cx !== null) this.#setForeign(this.cx, false);
  }

  /** The function ended: what it left behind is dropped, and told so. */
  protected override get onChildCancelled(): (settle: Settle) => void {
    return rejectLeftBehind;
  }

  override describe(): string {
    return this.#isForeign ? foreignPromise : super.describe();
  }

  #setForeign(cx: Context, isForeign: boolean): void {
    if (isForeign !== this.#isForeign) cx.runtime.countForeignPromise(isForeign ? 1 : -1);
    this.#isForeign = isForeign;
  }
}

/** What a cancelled function ends with: also if it awaits in an `await using`, and so gets one on top of one. */
function isAbort(error: unknown): boolean {
  if (error instanceof SuppressedError) return isAbort(error.error) && isAbort(error.suppressed);
  return error instanceof AbortError;
}

function rejectCancelled({ reject }: Settle): void {
  reject(new AbortError("the async function that awaits this was cancelled"));
}

function rejectLeftBehind({ reject }: Settle): void {
  reject(
    new AbortError(
      "the async function that this was awaited in has ended, and what it left behind is dropped: await it there, or spawn() it",
    ),
  );
}

/** A shield is finished, and its value given to who awaits it. */
function cancelUnlessShield(
  future: Future<unknown>,
  cx: Context,
  { resolve, reject }: Settle,
): Poll<void> {
  if (!(future instanceof InStorage && future.future instanceof Shield))
    return cancelStep(future, cx);
  try {
    const value = future.poll(cx);
    if (value === Pending) return Pending;
    resolve(value);
  } catch (error) {
    reject(error);
  }
  cx.charge(); // its work may have cost nothing, and a cleanup may await one after the other
}
