// Barrier: tasks that go on together.

import { checkCount } from "../base/check.ts";
import type { Context } from "../core/context.ts";
import { Future, polledAfterEnd } from "../core/future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { QueuedAttempt } from "../core/queued-attempt.ts";
import { WaitQueue } from "../core/wait-queue.ts";
import type { SyncOptions } from "./options.ts";

/** Those who wait for the same opening. */
interface Round {
  arrived: number;
  isOpen: boolean;
  readonly waiters: WaitQueue;
}

const newRound = (): Round => ({ arrived: 0, isOpen: false, waiters: new WaitQueue() });

/**
 * Lets tasks through when `size` of them have come; then it begins anew. Throws RangeError unless
 * `size` is a positive integer.
 *
 * @example
 * const start = new Barrier(2);
 * spawn(function* () {
 *   yield* start.wait();
 *   console.log("both are here");
 * });
 * if (yield* start.wait()) console.log("and this one came last");
 */
export class Barrier {
  readonly #size: number;
  readonly #name: string;
  #round: Round = newRound();

  constructor(size: number, options: SyncOptions = {}) {
    checkCount(size, "size");
    this.#size = size;
    this.#name = options.name ?? "barrier";
  }

  /**
   * Waits for the others; true for exactly one of them, the last to come. Cancel safe: one that is
   * dropped while it waits has not come.
   */
  wait(): Future<boolean> {
    return new Arrival(() => this.#arrive(), this.#name);
  }

  #arrive(): Round {
    const round = this.#round;
    round.arrived++;
    if (round.arrived === this.#size) {
      this.#round = newRound();
      round.isOpen = true;
      round.waiters.wakeAll();
    }
    return round;
  }
}

class Arrival extends Future<boolean> {
  readonly #arrive: () => Round;
  readonly #name: string;
  /** Set by the first poll: it has come. */
  #round: Round | null = null;
  #wait: QueuedAttempt<boolean> | null = null;
  #isEnded = false;

  constructor(arrive: () => Round, name: string) {
    super();
    this.#arrive = arrive;
    this.#name = name;
  }

  override poll(cx: Context): Poll<boolean> {
    if (this.#isEnded) throw polledAfterEnd(`the wait for barrier "${this.#name}"`);
    if (cx.isExhausted()) return Pending;
    if (this.#wait === null) {
      const round = this.#arrive();
      const isLeader = round.isOpen;
      this.#round = round;
      const attempt = (): Poll<boolean> => (round.isOpen ? isLeader : Pending);
      this.#wait = new QueuedAttempt(round.waiters, () => `barrier "${this.#name}"`, attempt);
    }
    return this.#wait.poll(cx);
  }

  override drop(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#wait?.drop();
    if (this.#round !== null && !this.#round.isOpen) this.#round.arrived--;
  }
}
