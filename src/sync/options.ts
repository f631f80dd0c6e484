// SyncOptions: the options that all channels and locks share.

import { checkObject, checkString } from "../base/check.ts";

/** Options of a channel or lock. */
export interface SyncOptions {
  /** A name for diagnostics, shown by `runtime.tasks()` and in deadlock errors. Default: the kind of primitive. */
  readonly name?: string;
}

/**
 * Returns the name of a channel or lock, which is `kind` by default. Throws TypeError when the options are bad; `what`
 * names the function that received them.
 */
export function nameOf(options: SyncOptions, what: string, kind: string): string {
  checkObject(options, `${what}: options`);
  const { name } = options;
  if (name === undefined) return kind;
  checkString(name, `${what}: options.name`);
  return name;
}
