// Operation: one attempt at a syscall that may have to wait for its fd. All socket futures are this.

import type { Context } from "../core/context.ts";
import { polledAfterEnd } from "../core/future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { ENDED, LIVE, Waiting } from "../core/waiting.ts";
import { EAGAIN, EINTR } from "../sys/errno.ts";
import { type Direction, READ, type Source } from "./source.ts";

/** From an attempt: to be made again, now. It costs one of the budget, too. */
export const AGAIN: number = -EINTR;

const NO_BUFFER: Uint8Array = new Uint8Array(0);

export abstract class Operation<T> extends Waiting<T> {
  protected readonly source: Source;
  protected readonly direction: Direction;
  /** The caller's, of an operation that has one, until it is over: its socket may keep this. */
  protected buffer: Uint8Array = NO_BUFFER;

  constructor(source: Source, direction: Direction) {
    super();
    this.source = source;
    this.direction = direction;
  }

  /** Tries the syscall: a result, or the negative errno. `-EAGAIN` waits for the fd. */
  protected abstract attempt(source: Source, cx: Context): number;
  /** The value of a result that is not negative. */
  protected abstract complete(result: number): T;
  /** The error of a negative one. */
  protected abstract fail(errno: number): Error;

  /** Whether it is worth an attempt. */
  protected isReady(): boolean {
    return (this.source.ready & this.direction) !== 0;
  }

  override poll(cx: Context): Poll<T> {
    if (this.isEnded) throw polledAfterEnd("an operation on a socket");
    this.life = LIVE;
    if (cx.isExhausted()) return Pending;
    const { source } = this;
    try {
      while (this.isReady()) {
        const result = this.attempt(source, cx);
        if (result >= 0) {
          const value = this.complete(result);
          this.end();
          cx.runtime.budget--;
          return value;
        }
        if (result === -EAGAIN) {
          source.block(this.direction);
        } else if (result === AGAIN) {
          cx.runtime.budget--;
          if (cx.isExhausted()) return Pending;
        } else throw this.fail(result);
      }
      source.wait(this.direction, this, cx);
      cx.waitsOn = this;
      return Pending;
    } catch (error) {
      this.end(); // also when the attempt itself threw
      cx.runtime.budget--; // an error, too, costs one: a loop may catch it
      throw error;
    }
  }

  override drop(): void {
    if (this.life === LIVE) this.end();
  }

  override waitsOn(): string {
    return `${this.direction === READ ? "read" : "write"} fd ${this.source.fd}`;
  }

  /** It is over, whichever way: no waiter stays behind, and no buffer. */
  protected end(): void {
    this.life = ENDED;
    this.buffer = NO_BUFFER;
    if (this.list !== null) this.source.leave(this.direction, this);
  }
}
