// Guest: runs the runtime's turns on Bun's event loop, alongside Bun's own timers, sockets and promises.
//
// A turn polls ready tasks, checks epoll without sleeping, and polls the tasks that epoll's events woke. While there
// is activity, and for a short spin after it, `setImmediate` schedules the next turn, so that Bun's loop checks its own
// sockets in between. Then the guest parks: Sys watches our epoll fd, whose next event schedules a turn.

import type { RuntimeRef } from "../../core/context.ts";
import type { Reactor } from "../../reactor/reactor.ts";
import { canOpen, type EpollWatcher } from "../../sys/sys.ts";
import type { Driver } from "../driver.ts";
import { type Executor, TURN_MS } from "../executor.ts";
import { MAX_POLLS_PER_MS, type Spin } from "../spin.ts";

/** The parts of its runtime that a guest uses. */
interface GuestOptions {
  readonly runtime: RuntimeRef;
  readonly driver: Driver;
  readonly executor: Executor;
  readonly reactor: Reactor;
  readonly spin: Spin;
  /** Called at the end of each turn. */
  readonly afterTurn: () => void;
  /** Returns true while callbacks wait for the end of the turn: a spin would delay them. */
  readonly hasDeferred: () => boolean;
}

/** How long a turn spins after an event before it returns to Bun's loop: that trip costs more than checking epoll. */
const SPIN_IN_TURN_MS = 0.02;

/** How often we check epoll while the watcher cannot start without free fds. */
const SHORTAGE_MS = 10;

export class Guest {
  private readonly options: GuestOptions;
  private readonly watcher: EpollWatcher;
  private isScheduled = false;
  private isInTurn = false;
  private isClosed = false;
  /** The watcher watches, and no turn is scheduled. */
  private isParked = false;
  /** When the next turn was scheduled, if the runtime was observed then; else 0. */
  private scheduledMs = 0;
  /** When a turn last had work to do. */
  private activeMs = 0;
  /** Replaces the timerfd, or polls epoll, while the process is out of fds. */
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: GuestOptions) {
    this.options = options;
    const { sys, epollFd } = options.reactor;
    this.watcher = sys.watchEpoll(epollFd, () => this.schedule());
  }

  /** Schedules a turn. */
  schedule(): void {
    if (this.isScheduled || this.isInTurn || this.isClosed) return;
    this.isScheduled = true;
    if (this.options.executor.observer !== null)
      this.scheduledMs = this.options.reactor.clock.now();
    setImmediate(this.turn);
  }

  /** Must be called when the tasks that keep the process alive, or the sources of wakes, may have changed. */
  update(): void {
    if (!this.isScheduled && !this.isInTurn && !this.isClosed) this.park();
  }

  close(): void {
    this.isClosed = true;
    clearTimeout(this.timer);
    this.watcher.close();
  }

  private readonly turn = (): void => {
    this.isScheduled = false;
    if (this.isClosed) return;
    const { driver, executor, reactor, spin, afterTurn, hasDeferred } = this.options;
    const { clock } = reactor;
    if (this.isParked) driver.recordPark("end");
    this.isParked = false;
    let nowMs = clock.now();
    if (this.scheduledMs > 0) {
      executor.observer?.statistics?.lagMs.add(nowMs - this.scheduledMs);
      this.scheduledMs = 0;
    }
    const deadlineMs = nowMs + TURN_MS;
    this.isInTurn = true;
    try {
      let lookUntilMs = 0;
      let stepsLeft = TURN_MS * MAX_POLLS_PER_MS;
      do {
        const wasReady = executor.hasReady;
        const events = driver.step(deadlineMs);
        nowMs = clock.now();
        if (events > 0) {
          spin.onEvent(nowMs - this.activeMs);
          lookUntilMs = nowMs + Math.min(spin.durationMs, SPIN_IN_TURN_MS);
        }
        if (events > 0 || wasReady) this.activeMs = nowMs;
      } while (
        (executor.hasReady || (nowMs < lookUntilMs && !hasDeferred())) &&
        nowMs < deadlineMs &&
        --stepsLeft > 0
      );
    } finally {
      this.isInTurn = false;
      const isSpinOver = nowMs >= this.activeMs + spin.durationMs;
      if (executor.hasReady || (!isSpinOver && this.canBeWoken)) this.schedule();
      else {
        if (isSpinOver) spin.onFruitless(); // otherwise nothing could have come
        this.park();
      }
      afterTurn();
      executor.observer?.onGuestReturn();
    }
  };

  /** True if something outside this thread's JavaScript can wake a task. */
  private get canBeWoken(): boolean {
    const { runtime, reactor } = this.options;
    return runtime.hostWaits > 0 || reactor.canBeWoken();
  }

  private park(): void {
    const { driver, executor, reactor } = this.options;
    clearTimeout(this.timer);
    const delayMs = reactor.timers.prepare(true); // below 0: the timerfd keeps time
    const isRef = executor.refTasks > 0;
    if (delayMs === 0) {
      reactor.timers.jump(); // if the clock is virtual
      this.schedule(); // a deadline has passed
      return;
    }
    if (delayMs < 0 && !this.canBeWoken) {
      // Whatever could have woken us is gone, but its last wake may still be in epoll.
      if (driver.pollReactor() > 0) this.schedule();
      else this.watcher.rest(); // at most this thread's JavaScript can wake us: let the process end
      return;
    }
    const { fdsToStart } = this.watcher;
    const canWatch = fdsToStart === 0 || canOpen(reactor.sys, fdsToStart);
    if (delayMs > 0 || !canWatch) {
      const untilMs = delayMs > 0 ? delayMs : Number.POSITIVE_INFINITY; // the next deadline
      const ms = canWatch ? untilMs : Math.min(untilMs, SHORTAGE_MS);
      this.timer = setTimeout(() => this.schedule(), ms);
      if (!isRef) this.timer.unref();
      if (!canWatch) return;
    }
    this.watcher.watch(isRef);
    if (!this.isParked) driver.recordPark("start");
    this.isParked = true;
  }
}
