// The default Sys of a thread: the kernel, unless a test or a simulation installed another.

import { linux } from "./linux.ts";
import type { Sys } from "./sys.ts";

let installed: Sys | null = null;

/**
 * Returns the Sys that code outside any runtime uses, and that `new Runtime()` uses without `options.sys`.
 * Opened on the first call. Throws `ERR_UNSUPPORTED_PLATFORM` where the kernel cannot be used.
 */
export function defaultSys(): Sys {
  return installed ?? linux();
}

/** Installs `sys` as this thread's default; null restores the kernel. Returns what was installed before. */
export function setDefaultSys(sys: Sys | null): Sys | null {
  const previous = installed;
  installed = sys;
  return previous;
}
