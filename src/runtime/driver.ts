// Driver: the run loop. Runs what is ready, and sits in epoll_wait when nothing is; or, for a guest
// of Bun's loop, does one step of that.

import type { RuntimeRef } from "../core/context.ts";
import type { Reactor } from "../reactor/reactor.ts";
import { deadlockError, onlyBunsLoop } from "./errors.ts";
import type { Executor } from "./executor.ts";
import { swapDriving } from "./promises/adopt.ts";
import { drain, usePromises, usesPromises } from "./promises/microtasks.ts";
import { LOOKS_PER_MS, type Spin } from "./spin.ts";
import type { Task } from "./task.ts";
import { isTraced, trace } from "./trace.ts";

export class Driver {
  /** One of this runtime's polls is on the stack, or could be. */
  isDriving = false;
  /** It is `drive` that is on the stack: Bun's own loop stands still. */
  holdsThread = false;
  /** Times it went to sleep, or could have. */
  parks = 0;
  readonly #runtime: RuntimeRef;
  readonly #executor: Executor;
  readonly #reactor: Reactor;
  readonly #spin: Spin;
  readonly #onTurn: () => void;
  #hasWarned = false;

  /** `onTurn` is called after each turn of a `drive` that goes on. */
  constructor(
    runtime: RuntimeRef,
    executor: Executor,
    reactor: Reactor,
    spin: Spin,
    onTurn: () => void,
  ) {
    this.#runtime = runtime;
    this.#executor = executor;
    this.#reactor = reactor;
    this.#spin = spin;
    this.#onTurn = onTurn;
  }

  /** Until `root` has ended, or, without one, all tasks have. Throws DeadlockError. */
  drive(root: Task<unknown> | null): void {
    const executor = this.#executor;
    const name = root?.name ?? "block";
    // First: what is awaited in those that wait already is not this runtime's, which may be gone soon.
    if (usesPromises()) drain();
    const previous = swapDriving(this.#runtime);
    this.isDriving = this.holdsThread = true;
    if (isTraced()) trace("block", { phase: "start", name });
    try {
      for (;;) {
        executor.turn(root);
        if (root === null ? executor.tasks.size === 0 : root.isEnded) return;
        this.#onTurn();
        if (usesPromises()) drain();
        if (executor.hasReady) this.look();
        else this.#wait();
      }
    } finally {
      this.isDriving = this.holdsThread = false;
      swapDriving(previous);
      if (isTraced()) trace("block", { phase: "end", name });
    }
  }

  /**
   * A turn of ready tasks, until `deadlineMs`, and a look at epoll; returns how many events came.
   * Microtasks are left to Bun, which runs them after the guest's turn: they may be anyone's.
   */
  step(deadlineMs: number): number {
    this.isDriving = true;
    try {
      this.#executor.turn(null, deadlineMs);
      return this.look();
    } finally {
      this.isDriving = false;
    }
  }

  /** Looks at epoll, and does not sleep: how many events came. */
  look(): number {
    this.#executor.onRound();
    const reactor = this.#reactor;
    return reactor.size > 0 || reactor.timers.size > 0 ? reactor.turn(false) : 0;
  }

  #wait(): void {
    this.#executor.onRound();
    const reactor = this.#reactor;
    const { clock } = reactor;
    const startMs = clock.now();
    const spinMs = this.#spin.nowMs;
    if (spinMs > 0) {
      let looksLeft = spinMs * LOOKS_PER_MS;
      do {
        if (reactor.turn(false) > 0 || this.#executor.hasReady) {
          this.#spin.heard(0);
          return;
        }
      } while (clock.now() < startMs + spinMs && --looksLeft > 0);
      this.#spin.missed();
    }
    const hasForeign = this.#runtime.foreignPromises > 0;
    if (!reactor.canBeWoken()) {
      // Whoever could have woken us has let go; its last wake may still be in epoll, or in a microtask.
      usePromises();
      drain();
      if (reactor.turn(false) > 0 || this.#executor.hasReady) return;
      const tasks = [...this.#executor.tasks];
      const hasOtherRuntime = tasks.some((task) => task.isInOtherRuntime);
      throw deadlockError(
        tasks.map((task) => task.info),
        { hasForeign, hasOtherRuntime },
      );
    }
    if (hasForeign && !this.#hasWarned) {
      this.#hasWarned = true; // once: another task may settle it yet
      process.emitWarning(
        `a task waits for a promise that this runtime did not make. ${onlyBunsLoop}`,
        { code: "GUILLOTINE_FOREIGN_PROMISE" },
      );
    }
    this.notePark("start");
    reactor.turn(true);
    this.notePark("end");
    this.#spin.heard(clock.now() - startMs);
  }

  /** Tells that it may sleep from now on, or no longer does. */
  notePark(phase: "start" | "end"): void {
    if (phase === "start") this.parks++;
    if (this.#executor.isTraced) trace("park", { phase });
  }
}
