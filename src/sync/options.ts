// SyncOptions: the options that all channels and locks share.

/** Options of a channel or lock. */
export interface SyncOptions {
  /** A name for diagnostics, shown by `runtime.tasks()` and in deadlock errors. Default: the kind of primitive. */
  readonly name?: string;
}
