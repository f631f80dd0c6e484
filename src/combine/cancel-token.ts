// CancelToken: cancels tasks that belong together, wherever they were spawned. Tokens form a tree.
//
// Invariants:
// - Cancelling a token cancels everything below it, once, with the same reason.
// - A parent refers to a child only while the child has something to cancel: a running task, a signal, or a child of
//   its own that has. So ended children leave nothing in a parent that lives as long as the program.

import { inspectableParts } from "../base/inspect.ts";
import { AbortError } from "../core/future.ts";

/** What a token cancels: a task, or a child. */
interface Member {
  cancel(reason: unknown): void;
}

/**
 * Cancels a group of tasks. A task joins by `spawn(work, { token })`, and leaves when it ends. `child()` returns a
 * token that is cancelled together with this one, and alone. For work that is not a task, use `token.signal`.
 *
 * Scopes do the same for tasks that one block starts. A token is for tasks that are started in many places, such as
 * all the tasks of one user or of one connection.
 *
 * @example
 * const server = new CancelToken();
 * const user = server.child();
 * const job = spawn(sleep(60_000), { token: user });
 * server.cancel(new Error("shutting down"));
 * console.log(user.isCancelled); // true
 * try {
 *   yield* job;
 * } catch (error) {
 *   console.log((error as Error).message); // shutting down
 * }
 */
export class CancelToken implements Disposable {
  static {
    inspectableParts(CancelToken, (it) =>
      it.isCancelled ? "cancelled" : `would cancel ${it.size}`,
    );
  }

  /** null for a root, and once this token was disposed. */
  #parent: CancelToken | null = null;
  readonly #members: Set<Member> = new Set();
  #cancelled: { readonly reason: unknown } | null = null;
  #controller: AbortController | null = null;

  /** How many running tasks, and children that have some, this token would cancel. */
  get size(): number {
    return this.#members.size;
  }

  /** True once this token or one above it was cancelled. */
  get isCancelled(): boolean {
    return this.#cancellation !== null;
  }

  /** The reason of the cancellation; undefined before. */
  get reason(): unknown {
    return this.#cancellation?.reason;
  }

  /**
   * A signal that is aborted, with the same reason, when the token is cancelled. Each read returns the same signal. A
   * child with a signal stays known to its parent: dispose the child (`using`) when its work is over.
   */
  get signal(): AbortSignal {
    if (this.#controller === null) {
      const cancelled = this.#cancellation;
      this.#controller = new AbortController();
      if (cancelled === null) this.#parent?.attach(this);
      else this.#controller.abort(cancelled.reason);
    }
    return this.#controller.signal;
  }

  /** Returns a token that is cancelled when this one is, and that can be cancelled alone. */
  child(): CancelToken {
    const child = new CancelToken();
    child.#parent = this;
    return child;
  }

  /**
   * Cancels the tasks of this token and of all tokens below it. Awaiting such a task throws `reason`, an AbortError by
   * default. A task that joins later is cancelled before it runs any code. Does nothing the second time.
   */
  cancel(reason: unknown = new AbortError("a CancelToken was cancelled")): void {
    if (this.#cancelled !== null) return;
    this.#cancelled = this.#cancellation ?? { reason }; // the reason of the parent, if that is cancelled
    this.#leaveParent();
    const members = [...this.#members];
    this.#members.clear();
    this.#controller?.abort(this.#cancelled.reason);
    for (const member of members) member.cancel(this.#cancelled.reason);
  }

  /** Leaves the parent: cancelling the parent no longer reaches this token. Cancels nothing. Idempotent. */
  [Symbol.dispose](): void {
    this.#cancelled = this.#cancellation;
    this.#leaveParent();
    this.#parent = null;
  }

  /** @internal Adds a member, which `#cancel` or the returned function removes. Cancels it now if it is late. */
  attach(member: Member): () => void {
    const cancelled = this.#cancellation;
    if (cancelled !== null) member.cancel(cancelled.reason);
    else {
      this.#members.add(member);
      this.#parent?.attach(this);
    }
    return () => this.#detach(member);
  }

  #detach(member: Member): void {
    this.#members.delete(member);
    if (this.#members.size === 0 && this.#controller === null) this.#leaveParent();
  }

  #leaveParent(): void {
    if (this.#parent !== null) this.#parent.#detach(this);
  }

  get #cancellation(): { readonly reason: unknown } | null {
    return this.#cancelled ?? (this.#parent === null ? null : this.#parent.#cancellation);
  }
}
