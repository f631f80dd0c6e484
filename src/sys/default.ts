// The default Sys of a thread: the kernel, unless a test or a simulation installed another.

import { linux } from "./linux.ts";
import { checkSys, type Sys } from "./sys.ts";

let installed: Sys | null = null;

/**
 * Returns the Sys that code outside any runtime uses, and that `new Runtime()` uses without `options.sys`.
 * Opens libc on the first call. Throws UnsupportedPlatformError where libc cannot be opened.
 *
 * @example
 * import { defaultSys } from "bun-guillotine/sys";
 * const sys = defaultSys();
 * const fd = sys.eventfd();
 * sys.close(fd);
 */
export function defaultSys(): Sys {
  return installed ?? linux();
}

/** Returns true for the Sys of libc itself: its fds are those of the process. */
export function isKernel(sys: Sys): boolean {
  return sys === linux();
}

/**
 * Installs `sys` as this thread's default; null restores the kernel. Returns the previously installed Sys, to
 * restore it later, or null. Existing runtimes keep their own. Throws TypeError if `sys` lacks a method.
 *
 * @example
 * import { EMFILE, linux, setDefaultSys } from "bun-guillotine/sys";
 * const previous = setDefaultSys({ ...linux(), socket: () => -EMFILE });
 * try {
 *   TcpListener.bind("127.0.0.1:0"); // throws SysError: socket EMFILE
 * } catch (error) {
 *   console.log((error as SysError).code);
 * } finally {
 *   setDefaultSys(previous);
 * }
 */
export function setDefaultSys(sys: Sys | null): Sys | null {
  const previous = installed;
  installed = sys === null ? null : checkSys(sys, "setDefaultSys: sys");
  return previous;
}
