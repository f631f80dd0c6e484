// A context for polling futures by hand, without a runtime. It counts wakes.

import { Context, type Runnable, type RuntimeRef } from "../../src/core/context.ts";
import type { Poll } from "../../src/core/poll.ts";
import type { WakeFd } from "../../src/core/wake-target.ts";

/** A context that is its own wake target and counts the wakes. */
export class ManualContext extends Context {
  readonly task = { id: 1, name: "manual", isEnded: false };
  wakes = 0;

  override wake(): void {
    this.wakes++;
  }

  override openWakeFd(): WakeFd {
    throw new Error("this target has no eventfd");
  }
}

/** A runtime without tasks or eventfds. It records cleanups and reported errors. */
export class ManualRuntime implements RuntimeRef {
  budget = 128;
  foreignPromises = 0;
  isDrainDue = false;
  hostWaits = 0;

  readonly isDriving = true;
  readonly isOpen = true;
  readonly cancelGraceMs = 5000;

  enqueue(runnable: Runnable): void {
    runnable.run();
  }

  addLoose(): void {}

  removeLoose(): void {}

  requestDrain(): void {}

  onPollOutsideTurn(): void {}

  countHostWait(delta: 1 | -1): void {
    this.hostWaits += delta;
  }

  readonly holdsThread = true;
  readonly reactor: object;
  readonly cleanups: ((cx: Context) => Poll<void>)[] = [];
  readonly reports: unknown[] = [];

  constructor(reactor: object = {}) {
    this.reactor = reactor;
  }

  openWakeFd(): WakeFd {
    throw new Error("this runtime has no eventfds");
  }

  start(): void {
    throw new Error("this runtime has no tasks");
  }

  enterGuestMode(): void {}

  afterTurn(then: () => void): void {
    then();
  }

  defer(runnable: Runnable): void {
    runnable.run();
  }

  finishCleanup(step: (cx: Context) => Poll<void>): void {
    this.cleanups.push(step);
  }

  report(error: unknown): void {
    this.reports.push(error);
  }
}

/** Returns a context of `runtime`. `target`, the wake target of its wakers, is the same object as `cx`. */
export function manualContext(runtime: ManualRuntime = new ManualRuntime()): {
  cx: ManualContext;
  target: ManualContext;
  runtime: ManualRuntime;
} {
  const cx = new ManualContext(runtime);
  return { cx, target: cx, runtime };
}
