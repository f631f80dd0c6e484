// OwnedFd: an fd that belongs to one object until it is closed or released. Fds that arrive over a unix socket come as
// OwnedFds.

import { invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { inspectableParts } from "../base/inspect.ts";
import { currentSys } from "../reactor/reactor.ts";
import { check } from "../sys/errno.ts";
import { F_GETFL } from "../sys/socket.ts";
import type { Sys } from "../sys/sys.ts";
import { fdShortage } from "./fd-shortage.ts";
import { ClosedError } from "./source.ts";

/** An fd, or what has one: an OwnedFd, an AsyncFd, a socket. */
export type FdLike = number | { readonly fd: number };

/** Returns the number of `fd`. Throws TypeError if it is not an FdLike. `name` names the argument. */
export function fdOf(fd: unknown, name: string): number {
  const number = typeof fd === "object" && fd !== null ? (fd as { fd?: unknown }).fd : fd;
  // The kernel receives 32 bits: of a larger number, those of another fd.
  if (typeof number === "number" && (number | 0) === number && number >= 0) return number;
  throw invalidType(`${name} must be an fd, or an object with one; got ${describe(fd)}`);
}

/**
 * Owns an fd: `close` closes it, once, and `release` passes it on. Bind it with `using`.
 *
 * @example
 * import { openSync } from "node:fs";
 * using file = new OwnedFd(openSync("/etc/hostname", "r"));
 * console.log(file.fd >= 0); // true
 */
export class OwnedFd implements Disposable {
  static {
    inspectableParts(OwnedFd, (it) => (it.isOpen ? `fd ${it.#fd}` : "closed"));
  }

  readonly #sys: Sys;
  #fd: number;

  /** Takes ownership of `fd`. Throws TypeError if it is not an fd number, and SysError (`EBADF`) if it is not open. */
  constructor(fd: number) {
    if (typeof fd !== "number") throw invalidType(`OwnedFd: fd must be an fd; got ${describe(fd)}`);
    this.#fd = fdOf(fd, "OwnedFd: fd");
    this.#sys = currentSys();
    check(this.#sys.fcntl(fd, F_GETFL, 0), "fcntl");
  }

  /** The fd number. Do not close it: this object owns it. Throws ClosedError once it is closed or released. */
  get fd(): number {
    if (this.#fd < 0) throw new ClosedError("the fd was closed or released");
    return this.#fd;
  }

  /** False once the fd is closed or released. */
  get isOpen(): boolean {
    return this.#fd >= 0;
  }

  /** Returns the fd number. The caller owns it now. Throws ClosedError once it is closed or released. */
  release(): number {
    const { fd } = this;
    this.#fd = -1;
    return fd;
  }

  /** Closes the fd. Idempotent; does nothing after `release`. See close(2). */
  close(): void {
    if (this.#fd < 0) return;
    this.#sys.close(this.release());
    fdShortage.onFdClosed();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
