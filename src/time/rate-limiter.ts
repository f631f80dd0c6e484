// RateLimiter: a token bucket. It holds up to `burst` tokens, and gains `tokens` of them each `perMs`.
//
// Invariant: only the head of the queue waits for the clock, so callers are served in order, and one that needs many
// tokens is not overtaken.

import { checkCount, checkObject, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { inspectableParts } from "../base/inspect.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { Leaf } from "../core/leaf.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { WaitQueue } from "../core/wait-queue.ts";
import { clockOf } from "./deadline.ts";
import { now, Sleep } from "./sleep.ts";

/** The options of {@link RateLimiter}. */
export interface RateLimiterOptions {
  /** How many tokens the bucket gains in `perMs`: an integer >= 1. They arrive evenly, not all at once. */
  readonly tokens: number;
  /** The period in milliseconds, a finite number above 0. Default 1000. */
  readonly perMs?: number;
  /** How many tokens the bucket holds at most, and at first: an integer >= 1. Default: `tokens`. */
  readonly burst?: number;
}

/** The tokens, and the callers that wait for them. */
class Bucket {
  readonly burst: number;
  readonly queue: WaitQueue = new WaitQueue();
  private readonly msPerToken: number;
  /** How many tokens there were at `sinceMs`; may have a fraction. */
  private tokens: number;
  /** null before the first use: the clock of the first caller counts. */
  private sinceMs: number | null = null;

  constructor(burst: number, msPerToken: number) {
    this.burst = this.tokens = burst;
    this.msPerToken = msPerToken;
  }

  /** Returns how many tokens there are at `nowMs`. */
  tokensAt(nowMs: number): number {
    const gainedMs = Math.max(0, nowMs - (this.sinceMs ?? nowMs));
    return Math.min(this.burst, this.tokens + gainedMs / this.msPerToken);
  }

  /** Adds the tokens that have arrived until `nowMs`. Returns how many there are. */
  refill(nowMs: number): number {
    this.tokens = this.tokensAt(nowMs);
    this.sinceMs = nowMs;
    return this.tokens;
  }

  take(count: number): void {
    this.tokens = Math.max(0, this.tokens - count);
  }

  /** Returns when there will be `count` tokens, if nobody takes any. */
  readyAt(nowMs: number, count: number): number {
    return nowMs + (count - this.tokens) * this.msPerToken;
  }

  wakeHead(): void {
    this.queue.head?.target?.wake();
  }
}

class Take extends Leaf<void> {
  private readonly bucket: Bucket;
  private readonly count: number;
  /** The wait of the head of the queue. */
  private wait: Future<void> | null = null;

  constructor(bucket: Bucket, count: number) {
    super();
    this.bucket = bucket;
    this.count = count;
  }

  protected override attempt(cx: Context): Poll<void> {
    const { bucket, count } = this;
    const { queue } = bucket;
    if (queue.head === null || queue.head === this) {
      const nowMs = clockOf(cx).now();
      const isEnough = bucket.refill(nowMs) >= count;
      if (!isEnough) this.wait ??= new Sleep(bucket.readyAt(nowMs, count));
      // Nobody else takes tokens while a head waits. So after its wait they are there, except for a rounding error.
      if (isEnough || this.wait?.poll(cx) !== Pending) {
        bucket.take(count);
        return;
      }
    }
    queue.wait(this, cx.target);
    return Pending;
  }

  protected override release(): void {
    const { queue } = this.bucket;
    this.wait?.drop();
    this.wait = null;
    const wasHead = queue.head === this;
    queue.leave(this);
    if (wasHead) this.bucket.wakeHead();
  }

  override describe(): string {
    return `${this.count} tokens of a rate limiter`;
  }
}

/**
 * Limits how often something happens: a token bucket. `acquire` takes a token, and waits until there is one. Up to
 * `burst` calls pass at once after a pause; in the long run `tokens` pass in each `perMs`. First come, first served.
 * Throws TypeError or RangeError for a bad option.
 *
 * @example
 * const limiter = new RateLimiter({ tokens: 100, burst: 10 }); // 100 a second, 10 at once
 * await limiter.acquire();
 * const answer = await ask(question);
 */
export class RateLimiter {
  static {
    inspectableParts(
      RateLimiter,
      (it) => `${it.available} of ${it.#bucket.burst} tokens, ${it.#bucket.queue.size} waiting`,
    );
  }

  readonly #bucket: Bucket;

  constructor(options: RateLimiterOptions) {
    checkObject(options, "RateLimiter: options");
    const { tokens, perMs = 1000, burst = tokens } = options;
    checkCount(tokens, "RateLimiter: options.tokens");
    checkCount(burst, "RateLimiter: options.burst");
    if (typeof perMs !== "number" || !(perMs > 0 && perMs < Number.POSITIVE_INFINITY)) {
      throw outOfRange(
        `RateLimiter: options.perMs must be a finite number > 0; got ${describe(perMs)}`,
      );
    }
    this.#bucket = new Bucket(burst, perMs / tokens);
  }

  /** How many tokens there are now, by the clock of the code that asks. Asking changes nothing. */
  get available(): number {
    return Math.floor(this.#bucket.tokensAt(now()));
  }

  /**
   * Takes `count` tokens, 1 by default, as soon as there are that many. Throws RangeError unless `count` is an integer
   * from 1 to `burst`. Cancel safe: a dropped wait takes none and leaves the queue.
   */
  acquire(count = 1): Future<void> {
    this.#check(count, "acquire");
    return new Take(this.#bucket, count);
  }

  /**
   * Takes `count` tokens if they are there and nobody waits. Returns whether it did. Throws RangeError unless `count`
   * is an integer from 1 to `burst`.
   */
  tryAcquire(count = 1): boolean {
    this.#check(count, "tryAcquire");
    if (this.#bucket.queue.size > 0 || this.#bucket.refill(now()) < count) return false;
    this.#bucket.take(count);
    return true;
  }

  #check(count: number, method: string): void {
    checkCount(count, `${method}: count`);
    const { burst } = this.#bucket;
    if (count > burst) {
      throw outOfRange(`${method}: count must be at most ${burst}, the burst; got ${count}`);
    }
  }
}
