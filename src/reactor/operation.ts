// Operation: one attempt at a syscall that may have to wait for its fd. All socket futures are this.

import type { Context } from "../core/context.ts";
import { polledAfterEnd } from "../core/future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { ENDED, LIVE, Waiting } from "../core/waiting.ts";
import { EAGAIN, EINTR } from "../sys/errno.ts";
import { ClosedError, type Direction, type Source } from "./source.ts";

/** From an attempt: to be made again, now. It costs one of the budget, too. */
export const AGAIN: number = -EINTR;

export abstract class Operation<T> extends Waiting<T> {
  protected source: Source;
  readonly #direction: Direction;

  constructor(source: Source, direction: Direction) {
    super();
    this.source = source;
    this.#direction = direction;
  }

  /** Tries the syscall: a result, or the negative errno. `-EAGAIN` waits for the fd. */
  protected abstract attempt(source: Source, cx: Context): number;
  /** The value of a result that is not negative. */
  protected abstract complete(result: number): T;
  /** The error of a negative one. */
  protected abstract fail(errno: number): Error;

  /** Whether it is worth an attempt. */
  protected isReady(): boolean {
    return this.source.isReady(this.#direction);
  }

  override poll(cx: Context): Poll<T> {
    if (this.life === ENDED) throw polledAfterEnd("an operation on a socket");
    this.life = LIVE;
    const { source } = this;
    const direction = this.#direction;
    if (cx.isExhausted()) return Pending;
    if (source.isClosed) {
      this.end();
      cx.runtime.budget--; // an error, too, costs one: a loop may catch it
      throw new ClosedError(`the socket (fd ${source.fd}) is closed`);
    }
    try {
      while (this.isReady()) {
        const result = this.attempt(source, cx);
        if (result === -EAGAIN) {
          source.block(direction);
        } else if (result === AGAIN) {
          cx.runtime.budget--;
          if (cx.isExhausted()) return Pending;
        } else {
          if (result < 0) throw this.fail(result);
          this.end();
          cx.runtime.budget--;
          return this.complete(result);
        }
      }
      source.wait(direction, this, cx);
      cx.waitsOn = this;
      return Pending;
    } catch (error) {
      this.end(); // also when the attempt itself threw
      cx.runtime.budget--;
      throw error;
    }
  }

  override drop(): void {
    if (this.life === LIVE) this.end();
  }

  override waitsOn(): string {
    return `${this.#direction} fd ${this.source.fd}`;
  }

  /** It is over, whichever way: no waiter stays behind. */
  protected end(): void {
    this.life = ENDED;
    if (this.list !== null) this.source.leave(this.#direction, this);
  }
}
