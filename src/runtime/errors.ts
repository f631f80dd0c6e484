// What a drive of the runtime throws when it ends badly, apart from the work's own errors.

/** `blockOn` or `block` was about to wait, and nothing could ever wake it. */
export class DeadlockError extends Error {
  override readonly name = "DeadlockError";
  readonly code = "ERR_DEADLOCK";
}

/** A task failed, and nobody had asked for its result when `blockOn` or `block` was to return. */
export class UncaughtTaskError extends Error {
  override readonly name = "UncaughtTaskError";
  readonly code = "ERR_UNCAUGHT_TASK";
  /** All such failures; `cause` is the first. */
  readonly errors: readonly unknown[];

  constructor(message: string, errors: readonly unknown[]) {
    super(message, { cause: errors[0] });
    this.errors = errors;
  }
}
