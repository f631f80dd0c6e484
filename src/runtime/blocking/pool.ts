// The worker pool behind spawnBlocking: calls that block a thread, on threads of their own.
//
// Workers start on demand, end when idle, and never hold the process. All of it works while this
// thread sits in epoll_wait: jobs and answers go through a MessagePort, which needs no loop here to
// send, and is emptied synchronously when the doorbell rings.

import type { Context } from "../../core/context.ts";
import { Leaf } from "../../core/leaf.ts";
import { Pending, type Poll } from "../../core/poll.ts";
import { EMFILE, SysError } from "../../sys/errno.ts";
import { type SharedEventfd, sharedWords } from "../threads/shared-eventfd.ts";
import { startWorker } from "../threads/text-worker.ts";
import { revive } from "./plain-error.ts";
import { type Answer, BUSY, type Call, IDLE, type Setup, workerSource } from "./worker.ts";

/** How long a worker without a job stays: short enough to give memory back, long enough for the next. */
const IDLE_MS = 10_000;

interface PoolWorker {
  readonly worker: Worker;
  readonly port: MessagePort;
  readonly state: Int32Array;
  job: BlockingJob<unknown> | null;
}

export class BlockingPool {
  readonly #maxWorkers: number;
  readonly #bell: SharedEventfd;
  /** Whether there are the fds that a new worker needs. */
  readonly #canStart: () => boolean;
  readonly #workers: Set<PoolWorker> = new Set();
  /** Jobs that no worker has yet, first come, first served; each may be withdrawn. */
  readonly #queue: Set<BlockingJob<unknown>> = new Set();

  constructor(maxWorkers: number, bell: SharedEventfd, canStart: () => boolean) {
    this.#canStart = canStart;
    this.#maxWorkers = maxWorkers;
    this.#bell = bell;
  }

  /** Jobs without an answer. */
  get size(): number {
    let running = 0;
    for (const { job } of this.#workers) if (job !== null) running++;
    return running + this.#queue.size;
  }

  submit<T>(call: Call): BlockingJob<T> {
    const job = new BlockingJob<T>(this, call);
    this.#queue.add(job as BlockingJob<unknown>);
    this.#dispatch();
    return job;
  }

  /** Takes a job back that no worker has yet. */
  withdraw(job: BlockingJob<unknown>): void {
    this.#queue.delete(job);
  }

  /** The doorbell rang: takes in all answers. */
  drain(): void {
    const { receiveMessageOnPort } = process.getBuiltinModule("node:worker_threads");
    for (const entry of this.#workers) {
      for (;;) {
        const received = receiveMessageOnPort(entry.port);
        if (received === undefined) break;
        const answer = received.message as Answer;
        const { job } = entry;
        entry.job = null;
        if ("ended" in answer) this.#forget(entry);
        job?.answer(answer);
      }
    }
    this.#dispatch();
  }

  close(): void {
    for (const entry of this.#workers) {
      this.#forget(entry);
      entry.worker.terminate();
    }
    this.#queue.clear();
  }

  #dispatch(): void {
    for (const job of this.#queue) {
      const entry = this.#idle() ?? this.#start();
      if (entry === null && this.#workers.size > 0) return; // the first to be idle takes it
      this.#queue.delete(job);
      if (entry === null) {
        job.answer({ thrown: new SysError(-EMFILE, "spawnBlocking") });
        continue;
      }
      entry.job = job;
      entry.port.postMessage(job.call);
    }
  }

  #idle(): PoolWorker | null {
    for (const entry of this.#workers) {
      if (entry.job !== null) continue;
      if (Atomics.compareExchange(entry.state, 0, IDLE, BUSY) === IDLE) return entry;
      this.#forget(entry); // it was idle for too long, and has gone
    }
    return null;
  }

  #start(): PoolWorker | null {
    if (this.#workers.size >= this.#maxWorkers || !this.#canStart()) return null;
    const worker = startWorker(workerSource);
    worker.unref();
    const { port1, port2 } = new MessageChannel();
    const state = sharedWords(1);
    state[0] = BUSY;
    const setup: Setup = { port: port2, state, bell: this.#bell, idleMs: IDLE_MS };
    worker.postMessage(setup, [port2]);
    const entry: PoolWorker = { worker, port: port1, state, job: null };
    this.#workers.add(entry);
    return entry;
  }

  #forget(entry: PoolWorker): void {
    this.#workers.delete(entry);
    entry.port.close();
  }
}

/** The future of one call. Dropping it discards the result; a call that has begun runs on. */
export class BlockingJob<T> extends Leaf<T> {
  readonly call: Call;
  readonly #pool: BlockingPool;
  #answer: Answer | null = null;

  constructor(pool: BlockingPool, call: Call) {
    super();
    this.#pool = pool;
    this.call = call;
  }

  answer(answer: Answer): void {
    this.#answer = answer;
    this.target?.wake();
  }

  protected override attempt(cx: Context): Poll<T> {
    const answer = this.#answer;
    if (answer === null) {
      this.target = cx.target;
      return Pending;
    }
    if ("value" in answer) return answer.value as T;
    if ("thrown" in answer) throw answer.thrown;
    if ("error" in answer) throw revive(answer.error);
    throw new Error(`the worker of a blocking job ended before the job did: ${answer.ended}`);
  }

  override describe(): string {
    return "a blocking job";
  }

  protected override release(): void {
    this.target = null;
    if (this.#answer === null) this.#pool.withdraw(this as BlockingJob<unknown>);
  }
}
