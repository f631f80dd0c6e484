// Guest mode: the runtime's turns on Bun's own loop, beside its timers, sockets and promises.
//
// A turn runs what is ready, looks at epoll without sleeping, and runs what that woke. It comes back
// by `setImmediate`, which lets Bun's loop look at its own sockets in between, while there is
// activity and for a short spin after it; then it parks.

import { Parking } from "./parking.ts";
import { LOOKS_PER_MS, type Spin } from "./spin.ts";
import { WORKER_FDS } from "./text-worker.ts";

/** What a guest asks of its runtime. */
export interface Host {
  /** Polls what is ready, until `deadlineMs`, and looks at epoll; returns how many events came. */
  step(deadlineMs: number): number;
  /** Looks at epoll only. */
  look(): number;
  readonly hasReady: boolean;
  /**
   * Arms the timerfd, and returns -1; without a timerfd (out of fds) the milliseconds until the next
   * deadline; 0 if that has come.
   */
  prepare(): number;
  /** Whether something outside this thread's JavaScript can wake a task. */
  canBeWoken(): boolean;
  /** Whether so many fds could be opened now. */
  canOpen(count: number): boolean;
  /** Whether a task is alive that should keep the process alive. */
  readonly hasRefTasks: boolean;
  /** A turn has ended. */
  afterTurn(): void;
  /** It waits from now on, or no longer. */
  notePark(phase: "start" | "end"): void;
}

/** A turn ends with the poll that is found to have passed this, so that Bun's timers and sockets are not late. */
const TURN_MS = 0.5;

/**
 * The part of the spin that is within a turn, which looks at epoll again after an event: to come back by
 * Bun's loop takes longer than to look.
 */
const LOOK_MS = 0.02;

/** How often to look at epoll while there are no fds for a helper to do it. */
const SHORTAGE_MS = 10;

export class Guest {
  readonly #host: Host;
  readonly #spin: Spin;
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

  constructor(host: Host, epollFd: number, spin: Spin) {
    this.#host = host;
    this.#spin = spin;
    this.#parking = new Parking(epollFd, () => this.schedule());
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
    const host = this.#host;
    if (this.#isParked) host.notePark("end");
    this.#isParked = false;
    let nowMs = performance.now();
    const deadlineMs = nowMs + TURN_MS;
    this.#isInTurn = true;
    try {
      let lookUntilMs = 0;
      let stepsLeft = TURN_MS * LOOKS_PER_MS;
      do {
        const wasReady = host.hasReady;
        const events = host.step(deadlineMs);
        nowMs = performance.now();
        if (events > 0) {
          this.#spin.heard(nowMs - this.#activeMs);
          lookUntilMs = nowMs + Math.min(this.#spin.nowMs, LOOK_MS);
        }
        if (events > 0 || wasReady) this.#activeMs = nowMs;
      } while ((host.hasReady || nowMs < lookUntilMs) && nowMs < deadlineMs && --stepsLeft > 0);
    } finally {
      this.#isInTurn = false;
      const isOver = nowMs >= this.#activeMs + this.#spin.nowMs;
      if (host.hasReady || (!isOver && host.canBeWoken())) this.schedule();
      else {
        if (isOver) this.#spin.missed(); // else there was nothing to see
        this.#park();
      }
      host.afterTurn();
    }
  };

  #park(): void {
    const host = this.#host;
    clearTimeout(this.#timer);
    const delayMs = host.prepare();
    const isRef = host.hasRefTasks;
    if (delayMs === 0) {
      this.schedule(); // a deadline has come meanwhile
      return;
    }
    if (delayMs < 0 && !host.canBeWoken()) {
      // Whoever could have woken us has let go; its last wake may still be in epoll.
      if (host.look() > 0) this.schedule();
      else this.#parking.rest(); // at most this thread's JavaScript can: let the process end
      return;
    }
    const canWatch = this.#parking.hasHelper || host.canOpen(WORKER_FDS);
    if (delayMs > 0 || !canWatch) {
      const untilMs = delayMs > 0 ? delayMs : Number.POSITIVE_INFINITY; // the next deadline
      const ms = canWatch ? untilMs : Math.min(untilMs, SHORTAGE_MS);
      this.#timer = setTimeout(() => this.schedule(), ms);
      if (!isRef) this.#timer.unref();
      if (!canWatch) return;
    }
    this.#parking.watch(isRef);
    if (!this.#isParked) host.notePark("start");
    this.#isParked = true;
  }
}
