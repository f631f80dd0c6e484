// Guest mode: the runtime's turns on Bun's own loop, beside its timers, sockets and promises.
//
// A turn runs what is ready, looks at epoll without sleeping, and runs what that woke. It comes back
// by `setImmediate`, which lets Bun's loop look at its own sockets in between, while there is
// activity and for a short spin after it; then it parks.

import { Parking } from "./parking.ts";
import { WORKER_FDS } from "./text-worker.ts";

/** What a guest asks of its runtime. */
export interface Host {
  /** Polls what is ready, until `deadlineMs`, and looks at epoll; returns how many events came. */
  step(deadlineMs: number): number;
  readonly hasReady: boolean;
  /** Arms the timerfd; the milliseconds until the next deadline if there is none to be had, else -1. */
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
  park(phase: "start" | "end"): void;
}

/** A turn ends with the poll that passes this, so that Bun's timers and sockets are not late. */
const TURN_MS = 0.5;

/** How long a turn looks at epoll again after an event, before it lets Bun's loop go on. */
const LOOK_MS = 0.02;

/** How often to look at epoll while there are no fds for a helper to do it. */
const SHORTAGE_MS = 10;

export class Guest {
  readonly #host: Host;
  readonly #spinMs: number;
  /** The part of the spin that is within a turn: to come back by Bun's loop takes longer than to look. */
  readonly #lookMs: number;
  readonly #parking: Parking;
  #isScheduled = false;
  #isInTurn = false;
  #isClosed = false;
  /** It waits for epoll, and for nothing else. */
  #isParked = false;
  /** Until when to come back though nothing happens. */
  #spinUntilMs = 0;
  /** Stands in for the timerfd when the process is out of fds. */
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(host: Host, epollFd: number, spinMs: number) {
    this.#host = host;
    this.#spinMs = spinMs;
    this.#lookMs = Math.min(spinMs, LOOK_MS);
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

  readonly #onTimer = (): void => this.schedule();

  readonly #turn = (): void => {
    this.#isScheduled = false;
    if (this.#isClosed) return;
    const host = this.#host;
    if (this.#isParked) host.park("end");
    this.#isParked = false;
    let nowMs = performance.now();
    const deadlineMs = nowMs + TURN_MS;
    let isActive = host.hasReady;
    this.#isInTurn = true;
    try {
      let lookUntilMs = 0;
      do {
        const events = host.step(deadlineMs);
        nowMs = performance.now();
        if (events > 0) {
          isActive = true;
          lookUntilMs = nowMs + this.#lookMs;
        }
      } while ((host.hasReady || nowMs < lookUntilMs) && nowMs < deadlineMs);
    } finally {
      this.#isInTurn = false;
      if (isActive) this.#spinUntilMs = nowMs + this.#spinMs;
      const spins = nowMs < this.#spinUntilMs && host.canBeWoken(); // else there is nothing to see
      if (host.hasReady || spins) this.schedule();
      else this.#park();
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
      this.#parking.rest(); // at most this thread's JavaScript can: let the process end
      return;
    }
    const canWatch = this.#parking.hasHelper || host.canOpen(WORKER_FDS);
    if (delayMs > 0 || !canWatch) {
      const untilMs = delayMs > 0 ? delayMs : Number.POSITIVE_INFINITY; // the next deadline
      this.#timer = setTimeout(this.#onTimer, canWatch ? untilMs : Math.min(untilMs, SHORTAGE_MS));
      if (!isRef) this.#timer.unref();
      if (!canWatch) return;
    }
    this.#parking.watch(isRef);
    if (!this.#isParked) host.park("start");
    this.#isParked = true;
  }
}
