// Guest mode: the runtime's turns on Bun's own loop, beside its timers, sockets and promises.
//
// A turn runs what is ready, looks at epoll without sleeping, and runs what that woke. It comes back
// by `setImmediate`, which lets Bun's loop look at its own sockets in between, while there is
// activity and for a short spin after it; then it parks.

import type { RuntimeRef } from "../../core/context.ts";
import type { Reactor } from "../../reactor/reactor.ts";
import type { Driver } from "../driver.ts";
import { type Executor, TURN_MS } from "../executor.ts";
import { LOOKS_PER_MS, type Spin } from "../spin.ts";
import { WORKER_FDS } from "../threads/text-worker.ts";
import { Parking } from "./parking.ts";

/** What a guest is given by its runtime. */
interface Host {
  readonly runtime: RuntimeRef;
  readonly driver: Driver;
  readonly executor: Executor;
  readonly reactor: Reactor;
  readonly spin: Spin;
  /** A turn has ended. */
  afterTurn(): void;
}

/**
 * The part of the spin that is within a turn, which looks at epoll again after an event: to come back by
 * Bun's loop takes longer than to look.
 */
const LOOK_MS = 0.02;

/** How often to look at epoll while there are no fds for a helper to do it. */
const SHORTAGE_MS = 10;

export class Guest {
  readonly #host: Host;
  readonly #parking: Parking;
  #isScheduled = false;
  #isInTurn = false;
  #isClosed = false;
  /** It waits for epoll, and for nothing else. */
  #isParked = false;
  /** When there was last anything to do. */
  #activeMs = 0;
  /** Stands in for the timerfd when the process is out of fds. */
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(host: Host) {
    this.#host = host;
    this.#parking = new Parking(host.reactor.epollFd, () => this.schedule());
  }

  /** Asks for a turn. */
  schedule(): void {
    if (this.#isScheduled || this.#isInTurn || this.#isClosed) return;
    this.#isScheduled = true;
    setImmediate(this.#turn);
  }

  /** What keeps the process alive may have changed. */
  update(): void {
    if (!this.#isScheduled && !this.#isInTurn && !this.#isClosed) this.#park();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#parking.close();
  }

  readonly #turn = (): void => {
    this.#isScheduled = false;
    if (this.#isClosed) return;
    const { driver, executor, reactor, spin, afterTurn } = this.#host;
    const { clock } = reactor;
    if (this.#isParked) driver.notePark("end");
    this.#isParked = false;
    let nowMs = clock.now();
    const deadlineMs = nowMs + TURN_MS;
    this.#isInTurn = true;
    try {
      let lookUntilMs = 0;
      let stepsLeft = TURN_MS * LOOKS_PER_MS;
      do {
        const wasReady = executor.hasReady;
        const events = driver.step(deadlineMs);
        nowMs = clock.now();
        if (events > 0) {
          spin.heard(nowMs - this.#activeMs);
          lookUntilMs = nowMs + Math.min(spin.nowMs, LOOK_MS);
        }
        if (events > 0 || wasReady) this.#activeMs = nowMs;
      } while ((executor.hasReady || nowMs < lookUntilMs) && nowMs < deadlineMs && --stepsLeft > 0);
    } finally {
      this.#isInTurn = false;
      const isOver = nowMs >= this.#activeMs + spin.nowMs;
      if (executor.hasReady || (!isOver && this.#canBeWoken)) this.schedule();
      else {
        if (isOver) spin.missed(); // else there was nothing to see
        this.#park();
      }
      afterTurn();
    }
  };

  /** Whether something outside this thread's JavaScript can wake a task. */
  get #canBeWoken(): boolean {
    const { runtime, reactor } = this.#host;
    return runtime.hostWaits > 0 || reactor.canBeWoken();
  }

  #park(): void {
    const { driver, executor, reactor } = this.#host;
    clearTimeout(this.#timer);
    const delayMs = reactor.timers.prepare(true); // below zero: the timerfd keeps time
    const isRef = executor.refTasks > 0;
    if (delayMs === 0) {
      reactor.timers.jump(); // if the clock is virtual
      this.schedule(); // a deadline has passed meanwhile
      return;
    }
    if (delayMs < 0 && !this.#canBeWoken) {
      // Whoever could have woken us has let go; its last wake may still be in epoll.
      if (driver.look() > 0) this.schedule();
      else this.#parking.rest(); // at most this thread's JavaScript can: let the process end
      return;
    }
    const canWatch = this.#parking.hasHelper || reactor.canOpen(WORKER_FDS);
    if (delayMs > 0 || !canWatch) {
      const untilMs = delayMs > 0 ? delayMs : Number.POSITIVE_INFINITY; // the next deadline
      const ms = canWatch ? untilMs : Math.min(untilMs, SHORTAGE_MS);
      this.#timer = setTimeout(() => this.schedule(), ms);
      if (!isRef) this.#timer.unref();
      if (!canWatch) return;
    }
    this.#parking.watch(isRef);
    if (!this.#isParked) driver.notePark("start");
    this.#isParked = true;
  }
}
