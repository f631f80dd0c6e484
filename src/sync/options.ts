// What channels and locks may be told.

/** What channels and locks may be told. */
export interface SyncOptions {
  /** Shown by `runtime.tasks()` and in deadlocks. */
  readonly name?: string;
}
