// BlockingPool: the workers behind spawnBlocking. Each runs one call at a time that may block its thread.
//
// Workers start on demand, end when idle, and never keep the process alive. The pool works even while the runtime's
// thread blocks in epoll_wait: jobs and answers go through a MessagePort, to which this thread posts without its event
// loop, and which it reads synchronously when the doorbell rings.

import { codedError } from "../../base/coded-error.ts";
import { Leaf } from "../../core/leaf.ts";
import { Pending, type Poll } from "../../core/poll.ts";
import { EMFILE, SysError } from "../../sys/errno.ts";
import { startWorker } from "../../sys/text-worker.ts";
import { sharedInts } from "../../sys/threads.ts";
import type { SharedEventfd } from "../threads/shared-eventfd.ts";
import { revive } from "./plain-error.ts";
import { type Answer, BUSY, type Call, IDLE, type Setup, workerProgram } from "./worker.ts";

/** How long an idle worker lives: short enough to free its memory soon, long enough to meet the next job. */
const IDLE_MS = 10_000;

interface PoolWorker {
  readonly worker: Worker;
  readonly port: MessagePort;
  /** Element 0: IDLE, BUSY or GONE. */
  readonly state: Int32Array;
  job: BlockingJob<unknown> | null;
}

export class BlockingPool {
  private readonly maxWorkers: number;
  private readonly bell: SharedEventfd;
  private readonly canStart: () => boolean;
  private readonly workers: Set<PoolWorker> = new Set();
  /** Jobs that no worker has begun, in order of arrival. A job leaves when a worker begins it or it is dropped. */
  private readonly queue: Set<BlockingJob<unknown>> = new Set();

  /** Workers ring `bell` after each answer. `canStart` returns true if the fds of a new worker are free. */
  constructor(maxWorkers: number, bell: SharedEventfd, canStart: () => boolean) {
    this.canStart = canStart;
    this.maxWorkers = maxWorkers;
    this.bell = bell;
  }

  /** The number of jobs without an answer. */
  get size(): number {
    let running = 0;
    for (const { job } of this.workers) if (job !== null) running++;
    return running + this.queue.size;
  }

  /** Starts a job on an idle or new worker, or queues it. Returns its future. */
  submit<T>(call: Call): BlockingJob<T> {
    const job = new BlockingJob<T>(this, call);
    this.queue.add(job as BlockingJob<unknown>);
    this.dispatch();
    return job;
  }

  /** Removes a job that no worker has begun. */
  withdraw(job: BlockingJob<unknown>): void {
    this.queue.delete(job);
  }

  /** Collects all answers. Called when the doorbell rings. */
  drain(): void {
    const { receiveMessageOnPort } = process.getBuiltinModule("node:worker_threads");
    for (const entry of this.workers) {
      for (;;) {
        const received = receiveMessageOnPort(entry.port);
        if (received === undefined) break;
        const answer = received.message as Answer;
        const { job } = entry;
        entry.job = null;
        if ("ended" in answer) this.forget(entry);
        job?.onAnswer(answer);
      }
    }
    this.dispatch();
  }

  /** Terminates all workers. */
  close(): void {
    for (const entry of this.workers) {
      this.forget(entry);
      entry.worker.terminate();
    }
    this.queue.clear();
  }

  private dispatch(): void {
    for (const job of this.queue) {
      const entry = this.acquireIdle() ?? this.start();
      if (entry === null && this.workers.size > 0) return; // the next idle worker runs it
      this.queue.delete(job);
      if (entry === null) {
        job.onAnswer({ thrown: new SysError(-EMFILE, "spawnBlocking") });
        continue;
      }
      entry.job = job;
      entry.port.postMessage(job.call);
    }
  }

  /** Returns an idle worker, marked busy, or null. */
  private acquireIdle(): PoolWorker | null {
    for (const entry of this.workers) {
      if (entry.job !== null) continue;
      if (Atomics.compareExchange(entry.state, 0, IDLE, BUSY) === IDLE) return entry;
      this.forget(entry); // this worker was idle for too long and has ended
    }
    return null;
  }

  /** Starts a worker. Returns null if the pool is full or fds are short. */
  private start(): PoolWorker | null {
    if (this.workers.size >= this.maxWorkers || !this.canStart()) return null;
    const worker = startWorker(workerProgram);
    worker.unref();
    const { port1, port2 } = new MessageChannel();
    const state = sharedInts(1);
    state[0] = BUSY;
    const setup: Setup = { port: port2, state, bell: this.bell, idleMs: IDLE_MS };
    worker.postMessage(setup, [port2]);
    const entry: PoolWorker = { worker, port: port1, state, job: null };
    this.workers.add(entry);
    return entry;
  }

  private forget(entry: PoolWorker): void {
    this.workers.delete(entry);
    entry.port.close();
  }
}

/** The future of one call. Dropping it cancels a queued call. A running call continues, and its result is discarded. */
export class BlockingJob<T> extends Leaf<T> {
  readonly call: Call;
  private readonly pool: BlockingPool;
  private answer: Answer | null = null;

  constructor(pool: BlockingPool, call: Call) {
    super();
    this.pool = pool;
    this.call = call;
  }

  onAnswer(answer: Answer): void {
    this.answer = answer;
    this.target?.wake();
  }

  protected override attempt(): Poll<T> {
    const answer = this.answer;
    if (answer === null) return Pending;
    if ("value" in answer) return answer.value as T;
    if ("thrown" in answer) throw answer.thrown;
    if ("error" in answer) throw revive(answer.error);
    throw codedError(
      "ERR_WORKER_ENDED",
      `spawnBlocking: the worker ended before its job: ${answer.ended}`,
    );
  }

  override describe(): string {
    return "a blocking job";
  }

  protected override release(): void {
    if (this.answer === null) this.pool.withdraw(this as BlockingJob<unknown>);
  }
}
