// Runtime: executor + reactor of one thread. Runs what is ready, and sits in epoll_wait when nothing is.

import type { Context } from "../core/context.ts";
import { currentContextOrNull, type RuntimeRef } from "../core/context.ts";
import { describe } from "../core/describe.ts";
import { Future } from "../core/future.ts";
import { type IntoFuture, intoFuture } from "../core/into-future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { Reactor } from "../reactor/reactor.ts";
import { linux } from "../sys/linux.ts";
import type { Sys } from "../sys/sys.ts";
import { Executor } from "./executor.ts";
import { JoinHandle, Task } from "./task.ts";

export interface RuntimeOptions {
  /**
   * `"lazy"` (default): a future's eventfd is made when `waker.fd` is first asked for, and a wake on
   * the runtime's own thread just queues the task. `"eager"`: one per task, made when it is spawned,
   * and each wake is a write to it.
   */
  readonly eventfd?: "eager" | "lazy";
  /** How long to look at epoll without sleeping after activity, in microseconds. 0 by default. */
  readonly spinMicros?: number;
  /** The kernel; libc by default. */
  readonly sys?: Sys;
}

export interface SpawnOptions {
  /** Shown in errors and traces; `#id` by default. */
  readonly name?: string;
}

/**
 * Takes futures and executes them. Dispose it: that drops all tasks, drives their cleanup to its
 * end, and closes its fds.
 *
 * Throws `ERR_UNSUPPORTED_PLATFORM` where there is no epoll; SysError when out of fds.
 *
 * @example
 * using runtime = new Runtime();
 * runtime.blockOn(function* () { yield* sleep(10); return 42; }); // 42
 */
export class Runtime implements RuntimeRef, Disposable {
  /** Part of the contract with futures (RuntimeRef); not for users. */
  budget = 0;
  readonly reactor: Reactor;
  readonly #executor: Executor;
  readonly #spinMs: number;
  #state: "open" | "disposing" | "disposed" = "open";
  #isDriving = false;

  constructor(options: RuntimeOptions = {}) {
    const { eventfd = "lazy", spinMicros = 0, sys } = options;
    if (eventfd !== "lazy" && eventfd !== "eager") {
      throw new TypeError(`options.eventfd must be "lazy" or "eager"; got ${describe(eventfd)}`);
    }
    if (typeof spinMicros !== "number" || !(spinMicros >= 0)) {
      throw new RangeError(`options.spinMicros must be 0 or more; got ${describe(spinMicros)}`);
    }
    this.#spinMs = spinMicros / 1000;
    this.reactor = new Reactor(sys ?? linux());
    this.#executor = new Executor(this, this.reactor, eventfd === "eager");
  }

  /** The runtime of the poll in progress. Throws outside one. */
  static current(): Runtime {
    const runtime = currentContextOrNull()?.runtime;
    if (runtime instanceof Runtime) return runtime;
    throw new Error(
      "Runtime.current(): no runtime is polling here; call this inside runtime.blockOn(...) or a spawned task, or keep a reference to your runtime",
    );
  }

  /**
   * Drives `work`, and with it all other tasks, until *that* is done, and returns its value, or throws
   * what it threw. The thread is the runtime's meanwhile: Bun's own timers and sockets wait. Other
   * tasks stay, and go on in the next `blockOn` or `block`.
   */
  blockOn<T>(work: IntoFuture<T>): T {
    this.#checkDrivable("blockOn");
    const task = this.#start(intoFuture(work), "blockOn");
    this.#drive(task as Task<unknown>);
    const outcome = task.take()!; // #drive returns when it has ended
    if ("error" in outcome) throw outcome.error;
    return outcome.value;
  }

  /** Drives all tasks until none is left. */
  block(): void {
    this.#checkDrivable("block");
    this.#drive(null);
  }

  /** Makes `work` a task: it starts at the runtime's next turn. Before or during a `blockOn`. */
  spawn<T>(work: IntoFuture<T>, options: SpawnOptions = {}): JoinHandle<T> {
    this.#checkOpen("spawn");
    const { name } = options;
    if (name !== undefined && typeof name !== "string") {
      throw new TypeError(`options.name must be a string; got ${describe(name)}`);
    }
    return new JoinHandle(this.#start(intoFuture(work), name));
  }

  /** Part of the contract with futures (RuntimeRef); not for users. */
  finishCleanup(future: Future<unknown>): void {
    if (this.#state === "disposed") {
      this.report(new Error("cleanup was still suspended when its runtime was disposed"), "a drop");
    } else this.#start(new Cleanup(future), "cleanup", true);
  }

  /** Part of the contract with futures (RuntimeRef); not for users. */
  report(error: unknown, what: string): void {
    console.error(`guillotine: ${what} failed:`, error);
  }

  /** Drops all tasks, drives their cleanup to its end, closes the runtime's fds. Idempotent. */
  [Symbol.dispose](): void {
    if (this.#state === "disposed") return;
    this.#checkDrivable("dispose");
    this.#state = "disposing";
    try {
      for (let task = this.#executor.tasks.head; task !== null; ) {
        const next: Task<unknown> | null = task.after;
        task.abort();
        task = next;
      }
      this.#drive(null);
    } finally {
      this.#state = "disposed";
      this.reactor.close();
    }
  }

  #start<T>(future: Future<T>, name?: string, isShielded = false): Task<T> {
    const task = new Task(this.#executor, future, name, isShielded);
    this.#executor.tasks.push(task as Task<unknown>);
    task.schedule();
    return task;
  }

  /** The run loop: until `root` has ended, or, without one, all tasks have. */
  #drive(root: Task<unknown> | null): void {
    const executor = this.#executor;
    this.#isDriving = true;
    try {
      for (;;) {
        executor.turn(root);
        if (root === null ? executor.tasks.size === 0 : root.isEnded) return;
        if (executor.hasReady) {
          if (this.reactor.size > 0 || this.reactor.timers.size > 0) this.reactor.turn(false);
        } else this.#wait();
      }
    } finally {
      this.#isDriving = false;
      root?.take(); // its failure is thrown to the caller of blockOn
      for (const task of executor.untaken.splice(0)) task.reportUntaken();
    }
  }

  #wait(): void {
    if (this.#spinMs > 0) {
      const endMs = performance.now() + this.#spinMs;
      do {
        if (this.reactor.turn(false) > 0 || this.#executor.hasReady) return;
      } while (performance.now() < endMs);
    }
    this.reactor.turn(true);
  }

  #checkOpen(operation: string): void {
    if (this.#state !== "open") {
      throw new Error(`Runtime.${operation}: this runtime is disposed; make a new one`);
    }
  }

  #checkDrivable(operation: string): void {
    if (operation !== "dispose") this.#checkOpen(operation);
    if (this.#isDriving) {
      throw new Error(
        `Runtime.${operation}: this runtime is being driven already, by the caller of this poll; it would wait for itself. Use \`yield*\` or spawn() here`,
      );
    }
  }
}

/** What is left of a dropped future: driven to its end, whoever aborts. */
class Cleanup extends Future<void> {
  readonly #future: Future<unknown>;

  constructor(future: Future<unknown>) {
    super();
    this.#future = future;
  }

  override poll(cx: Context): Poll<void> {
    return this.#future.pollCancel(cx) === Pending ? Pending : undefined;
  }

  /** Shielded: to cancel a cleanup is to finish it. */
  override pollCancel(cx: Context): Poll<void> {
    return this.#future.pollCancel(cx);
  }
}
