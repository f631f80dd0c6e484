// What other threads have to do with a runtime: wakers they hold, blocking jobs they perform, and the
// doorbell by which they ask it to look again. The pool and the doorbell are made on first use.

import type { Reactor } from "../reactor/reactor.ts";
import { type BlockingJob, BlockingPool } from "./blocking/pool.ts";
import type { Call } from "./blocking/worker.ts";
import { Doorbell } from "./threads/doorbell.ts";
import { WORKER_FDS } from "./threads/text-worker.ts";
import { SharedWakers } from "./threads/waker-handle.ts";

export class CrossThread {
  readonly wakers: SharedWakers;
  readonly #reactor: Reactor;
  readonly #maxWorkers: number;
  #doorbell: Doorbell | null = null;
  #pool: BlockingPool | null = null;

  constructor(reactor: Reactor, maxWorkers: number) {
    this.#reactor = reactor;
    this.#maxWorkers = maxWorkers;
    this.wakers = new SharedWakers(reactor.sys, () => this.#bell().shared);
  }

  /** Blocking jobs without an answer. */
  get jobs(): number {
    return this.#pool?.size ?? 0;
  }

  submit<T>(call: Call): BlockingJob<T> {
    this.#pool ??= new BlockingPool(this.#maxWorkers, this.#bell().shared, () =>
      this.#reactor.canOpen(WORKER_FDS),
    );
    return this.#pool.submit(call);
  }

  /** After the reactor has closed: nobody rings any more. */
  close(): void {
    this.#pool?.close();
    this.wakers.close();
  }

  #bell(): Doorbell {
    this.#doorbell ??= new Doorbell(
      this.#reactor,
      () => {
        this.wakers.prune();
        this.#pool?.drain();
      },
      () => this.jobs > 0,
    );
    return this.#doorbell;
  }
}
