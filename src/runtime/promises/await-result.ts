// AwaitResult: what `future.then` returns, and the outcome that later calls of `then` share.

const PENDING = 0;
const FULFILLED = 1;
const REJECTED = 2;

/** Receives the outcome of an await: a function of the engine, or one that stands in for it. */
export type Handler = (result: unknown) => unknown;

/**
 * The outcome of a future that the engine awaits. `await` calls `then` with two functions of the engine and
 * ignores what it returns. So this object creates a promise only when some code asks for one: a promise with its
 * reactions costs more than the rest of an await.
 *
 * It is also the thenable that this `then` returned. Per Promises/A+ 2.2.7 that one has the outcome of the handler.
 */
export class AwaitResult {
  private state = PENDING;
  /** The value or the error of the future. */
  private value: unknown = undefined;
  /** What the handler returned or threw; null if it returned undefined, as the engine's functions do. */
  private handled: { readonly value: unknown } | { readonly error: unknown } | null = null;
  /** Callbacks for the end; null while there are none. */
  private onSettled: (() => void)[] | null = null;

  /** Keeps the outcome, and calls the handler with it. */
  settle(value: unknown, isError: boolean, handler: Handler): void {
    this.state = isError ? REJECTED : FULFILLED;
    this.value = value;
    try {
      const handled = handler(value);
      if (handled !== undefined) this.handled = { value: handled };
    } catch (error) {
      this.handled = { error };
    }
    if (this.onSettled !== null) this.notify(this.onSettled);
  }

  private notify(callbacks: readonly (() => void)[]): void {
    this.onSettled = null;
    for (const callback of callbacks) callback();
  }

  /** Returns the promise of the future's outcome. */
  promise(): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.whenSettled(() => {
        if (this.state === REJECTED) reject(this.value);
        else resolve(this.value);
      });
    });
  }

  // biome-ignore lint/suspicious/noThenProperty: it is a thenable
  then(onFulfilled?: Handler | null, onRejected?: Handler | null): Promise<unknown> {
    return this.handledPromise().then(onFulfilled, onRejected);
  }

  catch(onRejected?: Handler | null): Promise<unknown> {
    return this.handledPromise().catch(onRejected);
  }

  finally(onFinally?: (() => void) | null): Promise<unknown> {
    return this.handledPromise().finally(onFinally);
  }

  get [Symbol.toStringTag](): string {
    return "Promise";
  }

  private handledPromise(): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.whenSettled(() => {
        const handled = this.handled;
        if (handled !== null && "error" in handled) reject(handled.error);
        else resolve(handled?.value);
      });
    });
  }

  private whenSettled(callback: () => void): void {
    if (this.state !== PENDING) {
      callback();
      return;
    }
    this.onSettled ??= [];
    this.onSettled.push(callback);
  }
}
