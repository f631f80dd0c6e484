// Driver: the run loop. It runs ready tasks, and blocks in epoll_wait when there are none. For a guest of
// Bun's loop it performs one step of that loop and never blocks.

import type { RuntimeRef } from "../core/context.ts";
import type { Reactor } from "../reactor/reactor.ts";
import { cyclesOf } from "./cycles.ts";
import { settleYoung } from "./debug.ts";
import { deadlockError, FOREIGN_PROMISE_ADVICE } from "./errors.ts";
import type { Executor } from "./executor.ts";
import type { Observer } from "./observer.ts";
import { swapDriving } from "./promises/driving.ts";
import { drain, swapDepth, usePromises, usesPromises } from "./promises/microtasks.ts";
import { MAX_POLLS_PER_MS, type Spin } from "./spin.ts";
import type { Task } from "./task.ts";
import type { TracePhase } from "./trace.ts";

export class Driver {
  /** True while a poll of this runtime may be on the stack. */
  isDriving = false;
  /** True while `drive` is on the stack, so Bun's own loop stands still. */
  holdsThread = false;
  /** How often the thread blocked in epoll_wait, or a guest began to wait for epoll. */
  parks = 0;
  private readonly runtime: RuntimeRef;
  private readonly executor: Executor;
  private readonly reactor: Reactor;
  private readonly spin: Spin;
  private readonly observer: Observer;
  private readonly onTurn: () => void;
  private hasWarned = false;

  /** `onTurn` is called after each turn of a `drive`, except the last. */
  constructor(
    runtime: RuntimeRef,
    executor: Executor,
    reactor: Reactor,
    spin: Spin,
    observer: Observer,
    onTurn: () => void,
  ) {
    this.runtime = runtime;
    this.executor = executor;
    this.reactor = reactor;
    this.spin = spin;
    this.observer = observer;
    this.onTurn = onTurn;
  }

  /**
   * Runs tasks until `root` has ended. If `root` is null, until `isOver` returns true, which is called after each turn:
   * by default until all have ended. Throws DeadlockError.
   */
  drive(root: Task<unknown> | null, isOver: () => boolean = () => this.executor.alive === 0): void {
    const executor = this.executor;
    const name = root?.name ?? "block";
    // First: pending microtasks belong to other code. What they await must not become this runtime's, which may
    // be disposed soon.
    if (usesPromises()) drain();
    const previous = swapDriving(this.runtime);
    const depth = swapDepth(0);
    this.isDriving = this.holdsThread = true;
    this.observer.ifAny()?.onBlock("start", name);
    try {
      for (;;) {
        executor.turn(root);
        if (root === null ? isOver() : root.isEnded) return;
        this.onTurn();
        if (usesPromises()) executor.drain();
        if (executor.hasReady) this.pollReactor();
        else this.wait();
      }
    } finally {
      this.isDriving = this.holdsThread = false;
      swapDriving(previous);
      swapDepth(depth);
      executor.observer?.onDriveEnd();
      this.observer.ifAny()?.onBlock("end", name);
    }
  }

  /**
   * Performs one step for a guest: runs ready tasks until `deadlineMs`, then polls epoll without blocking.
   * Returns the number of events. Does not drain microtasks, which may belong to other code: Bun does that after
   * the guest's turn.
   */
  step(deadlineMs: number): number {
    this.isDriving = true;
    try {
      this.executor.turn(null, deadlineMs);
      return this.pollReactor();
    } finally {
      this.isDriving = false;
    }
  }

  /**
   * Performs one turn of a simulated host: runs ready tasks and microtasks, and polls epoll. Never blocks: the
   * simulation knows what the other hosts do, and when time passes. Returns the timeout that a blocking epoll_wait would
   * get now, in milliseconds; -1 for none.
   */
  hostTurn(): number {
    const previous = swapDriving(this.runtime);
    const depth = swapDepth(0);
    this.isDriving = this.holdsThread = true;
    try {
      this.executor.turn(null);
      this.executor.drain();
      this.pollReactor();
      return this.reactor.timers.prepare(true);
    } finally {
      this.isDriving = this.holdsThread = false;
      swapDriving(previous);
      swapDepth(depth);
    }
  }

  /** Polls epoll and the timers without blocking. Returns the number of events. */
  pollReactor(): number {
    this.executor.onRound();
    const reactor = this.reactor;
    this.observeRound();
    return reactor.size > 0 || reactor.timers.size > 0 ? reactor.turn(false) : 0;
  }

  /** Waits until an event or a microtask wakes a task: spins first, then blocks. Throws DeadlockError. */
  private wait(): void {
    this.executor.onRound();
    const reactor = this.reactor;
    this.observeRound();
    const startMs = reactor.clock.now();
    if (this.spin.durationMs > 0 && this.spinUntilEvent(startMs)) return;
    if (!reactor.canBeWoken()) {
      // The last waker is gone, but its last wake may still be in epoll or in a microtask.
      usePromises();
      drain();
      if (this.hasEvent()) return;
      this.throwDeadlock();
    }
    if (this.runtime.foreignPromises > 0) this.warnOfForeignPromise();
    this.recordPark("start");
    reactor.turn(true);
    this.recordPark("end");
    this.spin.onEvent(reactor.clock.now() - startMs);
  }

  /** Busy-polls epoll for as long as `spin` allows. Returns true on an event, or when a task is ready. */
  private spinUntilEvent(startMs: number): boolean {
    const spin = this.spin;
    const spinMs = spin.durationMs;
    const { clock } = this.reactor;
    let pollsLeft = spinMs * MAX_POLLS_PER_MS;
    do {
      if (this.hasEvent()) {
        spin.onEvent(0);
        return true;
      }
    } while (clock.now() < startMs + spinMs && --pollsLeft > 0);
    spin.onFruitless();
    return false;
  }

  /** Polls the reactor. Returns true if there was an event, or if a task is ready. */
  private hasEvent(): boolean {
    return this.reactor.turn(false) > 0 || this.executor.hasReady;
  }

  private throwDeadlock(): never {
    settleYoung();
    const executor = this.executor;
    const tasks = [...executor.tasks];
    throw deadlockError([...tasks.map((task) => task.info), ...executor.looseInfo()], {
      hasForeignPromise: this.runtime.foreignPromises > 0,
      hasOtherRuntime: tasks.some((task) => task.isInOtherRuntime),
      cycles: cyclesOf(tasks, (task) => task.waitsFor).map((cycle) =>
        cycle.map(({ info }) => info),
      ),
    });
  }

  /** Warns once per runtime, and throws nothing: another task may still settle the promise. */
  private warnOfForeignPromise(): void {
    if (this.hasWarned) return;
    this.hasWarned = true;
    process.emitWarning(
      `a task waits for a promise that this runtime did not create. ${FOREIGN_PROMISE_ADVICE}`,
      { code: "GUILLOTINE_FOREIGN_PROMISE" },
    );
  }

  /** Counts and traces the start or the end of a wait for epoll. */
  recordPark(phase: TracePhase): void {
    if (phase === "start") this.parks++;
    this.executor.observer?.onPark(phase);
  }

  private observeRound(): void {
    const { executor } = this;
    if (executor.observer === null) return; // before it counts anything
    executor.observer.onRound(executor.readyCount, executor.alive, this.reactor.timers.size);
  }
}
