// Operation: a leaf that attempts a syscall on an fd, and waits for the fd when the syscall would block.

import type { Context, WaitingFd } from "../core/context.ts";
import { Leaf } from "../core/leaf.ts";
import { Again, type Pending } from "../core/poll.ts";
import { EAGAIN, EINTR } from "../sys/errno.ts";
import { type Direction, READ, type Source } from "./source.ts";

const NO_BUFFER: Uint8Array = new Uint8Array(0);

export abstract class Operation<T> extends Leaf<T> {
  protected readonly source: Source;
  /** The caller's buffer while the operation runs. Cleared at the end: a socket keeps the operation for reuse. */
  protected buffer: Uint8Array = NO_BUFFER;

  constructor(source: Source) {
    super();
    this.source = source;
  }

  /** The readiness to wait for. (Not a field: with a ninth the engine allocates 112 bytes instead of 80.) */
  protected abstract get direction(): Direction;

  /** The name of the syscall, for errors. */
  protected abstract get syscall(): string;

  /** Returns the error to throw for the negative errno of a failed attempt. */
  protected errorOf(errno: number): Error {
    return this.source.errorOf(errno, this.syscall);
  }

  /** Handles the negative errno of an attempt: waits after EAGAIN, retries after EINTR, and otherwise throws. */
  protected onErrno(errno: number, cx: Context): Pending | Again {
    if (errno === -EAGAIN) {
      this.source.clearReady(this.direction);
      return this.source.wait(this.direction, this, cx);
    }
    if (errno === -EINTR) return Again;
    const error = this.errorOf(errno); // before the drop, which forgets where to send
    this.drop(); // see Leaf.beginNext
    throw error;
  }

  protected override release(): void {
    this.buffer = NO_BUFFER;
    if (this.list !== null) this.source.leave(this.direction, this);
  }

  /** The fd with the addresses of its socket. */
  get waitingFd(): WaitingFd {
    return { fd: this.source.fd, ...this.source.addresses };
  }

  override describe(): string {
    return `${this.direction === READ ? "read" : "write"} ${this.source.describe()}`;
  }
}
