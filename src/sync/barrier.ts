// Barrier: tasks that go on together.

import { checkCount } from "../base/check.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { Leaf } from "../core/leaf.ts";
import { Pending, type Poll } from "../core/poll.ts";
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

class Arrival extends Leaf<boolean> {
  readonly #arrive: () => Round;
  readonly #name: string;
  /** Set by the first attempt, which counts as the arrival. */
  #round: Round | null = null;
  #isLeader = false;

  constructor(arrive: () => Round, name: string) {
    super();
    this.#arrive = arrive;
    this.#name = name;
  }

  protected override attempt(cx: Context): Poll<boolean> {
    if (this.#round === null) {
      this.#round = this.#arrive();
      this.#isLeader = this.#round.isOpen;
    }
    if (this.#round.isOpen) return this.#isLeader;
    this.#round.waiters.wait(this, cx.target);
    return Pending;
  }

  override describe(): string {
    return `barrier "${this.#name}"`;
  }

  protected override release(): void {
    this.#round?.waiters.leave(this);
    if (this.#round?.isOpen === false) this.#round.arrived--;
  }
}
