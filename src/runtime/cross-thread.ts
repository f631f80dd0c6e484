// CrossThread: connects a runtime to other threads. It owns the wakers that other threads hold, the pool that runs
// blocking jobs, and the doorbell that makes the runtime check both. The pool and the doorbell open on first use.

import type { Reactor } from "../reactor/reactor.ts";
import { canOpen } from "../sys/sys.ts";
import { WORKER_FDS } from "../sys/text-worker.ts";
import { type BlockingJob, BlockingPool } from "./blocking/pool.ts";
import type { Call } from "./blocking/worker.ts";
import { simulation } from "./simulated.ts";
import { Doorbell } from "./threads/doorbell.ts";
import { SharedWakers } from "./threads/waker-handle.ts";

export class CrossThread {
  readonly wakers: SharedWakers;
  private readonly reactor: Reactor;
  private readonly maxWorkers: number;
  private doorbell: Doorbell | null = null;
  private pool: BlockingPool | null = null;

  constructor(reactor: Reactor, maxWorkers: number) {
    this.reactor = reactor;
    this.maxWorkers = maxWorkers;
    reactor.timers.isClockHeld = () => this.jobs > 0;
    this.wakers = new SharedWakers(reactor.sys, () => this.openDoorbell().shared);
  }

  /** The number of blocking jobs without an answer. */
  get jobs(): number {
    return this.pool?.size ?? 0;
  }

  /**
   * Starts or queues a blocking job and returns its future. Throws Error where threads cannot be identified, and
   * SysError without a free fd for the doorbell.
   */
  submit<T>(call: Call): BlockingJob<T> {
    this.pool ??= this.openPool();
    return this.pool.submit(call);
  }

  private openPool(): BlockingPool {
    const reactor = this.reactor;
    // Throw now if threads cannot be identified: a worker could not ring the doorbell, and its job would hang.
    reactor.sys.currentThread();
    return new BlockingPool(this.maxWorkers, this.openDoorbell().shared, () =>
      canOpen(reactor.sys, WORKER_FDS),
    );
  }

  /** Must be called after the reactor has closed, when no thread can ring the doorbell any more. */
  close(): void {
    this.pool?.close();
    this.wakers.close();
  }

  private openDoorbell(): Doorbell {
    simulation.refuse?.("a waker in another thread");
    this.doorbell ??= new Doorbell(
      this.reactor,
      () => {
        this.wakers.prune();
        this.pool?.drain();
      },
      () => this.jobs > 0,
    );
    return this.doorbell;
  }
}
