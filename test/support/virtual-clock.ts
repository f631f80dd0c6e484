// A virtual clock: a runtime with it never sleeps until a deadline.

import type { Clock } from "../../src/index.ts";

/** Starts at `nowMs` and records its jumps. */
export class VirtualClock implements Clock {
  nowMs: number;
  readonly jumps: number[] = [];

  constructor(nowMs = 0) {
    this.nowMs = nowMs;
  }

  now(): number {
    return this.nowMs;
  }

  advanceTo(deadlineMs: number): void {
    this.jumps.push(deadlineMs);
    this.nowMs = deadlineMs;
  }
}
