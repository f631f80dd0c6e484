// Barrier: lets a fixed number of tasks continue together.

import { checkCount } from "../base/check.ts";
import { inspectableParts } from "../base/inspect.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { Leaf } from "../core/leaf.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { WaitQueue } from "../core/wait-queue.ts";
import { nameOf, type SyncOptions } from "./options.ts";

/** The tasks that pass the barrier together. */
interface Generation {
  arrived: number;
  isOpen: boolean;
  readonly waiters: WaitQueue;
}

const newGeneration = (): Generation => ({ arrived: 0, isOpen: false, waiters: new WaitQueue() });

/** The state that a Barrier shares with its waits. */
class BarrierState {
  readonly size: number;
  readonly name: string;
  #generation: Generation = newGeneration();

  constructor(size: number, name: string) {
    this.size = size;
    this.name = name;
  }

  get arrived(): number {
    return this.#generation.arrived;
  }

  /** Counts an arrival and returns its generation. The last arrival opens the generation and starts a new one. */
  arrive(): Generation {
    const generation = this.#generation;
    generation.arrived++;
    if (generation.arrived === this.size) {
      this.#generation = newGeneration();
      generation.isOpen = true;
      generation.waiters.wakeAll();
    }
    return generation;
  }
}

class BarrierWait extends Leaf<boolean> {
  readonly #state: BarrierState;
  /** Set by the first attempt, which counts as the arrival. */
  #generation: Generation | null = null;
  #isLast = false;

  constructor(state: BarrierState) {
    super();
    this.#state = state;
  }

  protected override attempt(cx: Context): Poll<boolean> {
    if (this.#generation === null) {
      this.#generation = this.#state.arrive();
      this.#isLast = this.#generation.isOpen;
    }
    if (this.#generation.isOpen) return this.#isLast;
    this.#generation.waiters.wait(this, cx.target);
    return Pending;
  }

  override describe(): string {
    return `barrier "${this.#state.name}"`;
  }

  protected override release(): void {
    this.#generation?.waiters.leave(this);
    if (this.#generation?.isOpen === false) this.#generation.arrived--;
  }
}

/**
 * Blocks tasks until `size` of them wait, then lets them continue together. Later waits start the next round.
 * Throws RangeError unless `size` is a positive integer, and TypeError when an option is bad.
 *
 * @example
 * const start = new Barrier(2);
 * spawn(function* () {
 *   yield* start.wait();
 *   console.log("both tasks have arrived");
 * });
 * const isLast = yield* start.wait();
 */
export class Barrier {
  static {
    inspectableParts(
      Barrier,
      (it) => `"${it.#state.name}", ${it.#state.arrived} of ${it.#state.size} arrived`,
    );
  }

  readonly #state: BarrierState;

  constructor(size: number, options: SyncOptions = {}) {
    checkCount(size, "Barrier: size");
    this.#state = new BarrierState(size, nameOf(options, "Barrier", "barrier"));
  }

  /**
   * Waits until `size` tasks have arrived. Returns true for exactly one of them, the last to arrive. Cancel safe:
   * a wait that is dropped before the barrier opens does not count as an arrival.
   */
  wait(): Future<boolean> {
    return new BarrierWait(this.#state);
  }
}
