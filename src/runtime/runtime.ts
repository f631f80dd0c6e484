// Runtime: executor + reactor of one thread. Runs what is ready, and sits in epoll_wait when nothing is.

import { type Context, currentContextOrNull, type RuntimeRef } from "../core/context.ts";
import { Future } from "../core/future.ts";
import { type IntoFuture, intoFuture } from "../core/into-future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import type { WakeFd } from "../core/waker.ts";
import { Reactor } from "../reactor/reactor.ts";
import { linux } from "../sys/linux.ts";
import { drain, swapDriving, usesPromises } from "./adopt.ts";
import { callOf } from "./blocking.ts";
import { callSite, reportForgottenFutures } from "./debug.ts";
import { DeadlockError, UncaughtTaskError } from "./errors.ts";
import { EventfdWaker } from "./eventfd-waker.ts";
import { Executor } from "./executor.ts";
import {
  checkOptions,
  checkSpawn,
  type Metrics,
  type OnUncaught,
  type RuntimeOptions,
  type SpawnOptions,
  type TaskInfo,
} from "./options.ts";
import { JoinHandle, Task } from "./task.ts";
import { Threads } from "./threads.ts";
import { isTraced, printTrace, trace } from "./trace.ts";

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
  /** Part of the contract with futures (RuntimeRef); not for users. */
  foreignPromises = 0;
  readonly reactor: Reactor;
  readonly #executor: Executor;
  readonly #threads: Threads;
  readonly #spinMs: number;
  readonly #onUncaught: OnUncaught;
  readonly #isDebug: boolean;
  /** Failed while nobody had polled their handles; looked at when a drive returns. */
  #uncaught: Task<unknown>[] = [];
  #parks = 0;
  #hasWarned = false;
  #state: "open" | "disposing" | "disposed" = "open";
  #isDriving = false;

  constructor(options: RuntimeOptions = {}) {
    const { eventfd, spinMicros, onUncaught, blockingThreads, debug } = checkOptions(options);
    this.#spinMs = spinMicros / 1000;
    this.#onUncaught = onUncaught;
    this.#isDebug = debug;
    this.reactor = new Reactor(options.sys ?? linux());
    this.#threads = new Threads(this.reactor, blockingThreads);
    this.#executor = new Executor({
      runtime: this,
      reactor: this.reactor,
      wakers: this.#threads.wakers,
      isEager: eventfd === "eager",
      onUncaught: (task) => this.#catch(task),
    });
    if (process.env.GUILLOTINE_TRACE === "1") printTrace();
    if (debug) reportForgottenFutures((error) => this.report(error, "a future"));
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
   *
   * Throws DeadlockError when nothing can wake it any more, with `work` dropped; UncaughtTaskError
   * when another task failed and nobody asked for its result (see `onUncaught`).
   */
  blockOn<T>(work: IntoFuture<T>): T {
    this.#checkDrivable("blockOn");
    const task = this.#start(intoFuture(work), "blockOn");
    task.take(); // its failure is ours to throw
    try {
      this.#drive(task as Task<unknown>);
    } catch (error) {
      if (!task.isEnded) this.#abandon(task as Task<unknown>);
      throw error;
    }
    const outcome = task.take()!; // #drive returned: it has ended
    if ("error" in outcome) throw outcome.error;
    this.#throwUncaught();
    return outcome.value;
  }

  /** Drives all tasks until none is left. Throws as `blockOn` does. */
  block(): void {
    this.#checkDrivable("block");
    this.#drive(null);
    this.#throwUncaught();
  }

  /** Makes `work` a task: it starts at the runtime's next turn. Before or during a `blockOn`. */
  spawn<T>(work: IntoFuture<T>, options: SpawnOptions = {}): JoinHandle<T> {
    this.#checkOpen("spawn");
    const { name, signal } = checkSpawn(options);
    const task = this.#start(intoFuture(work), name);
    if (signal !== undefined) task.abortOn(signal);
    return new JoinHandle(task);
  }

  /** What `spawnBlocking` does, for those outside a poll. */
  spawnBlocking<T>(target: unknown, ...rest: readonly unknown[]): JoinHandle<T> {
    this.#checkOpen("spawnBlocking");
    return new JoinHandle(this.#start(this.#threads.submit<T>(callOf(target, rest))));
  }

  /** The tasks that have not ended, in the order in which they were spawned. */
  tasks(): TaskInfo[] {
    const infos: TaskInfo[] = [];
    for (let task = this.#executor.tasks.head; task !== null; task = task.after) {
      infos.push(infoOf(task));
    }
    return infos;
  }

  metrics(): Metrics {
    const { tasks, spawned, polls, wakes } = this.#executor;
    const { rounds, events, timers, size } = this.reactor;
    return {
      tasksAlive: tasks.size,
      tasksEnded: spawned - tasks.size,
      polls,
      wakes,
      rounds,
      events,
      parks: this.#parks,
      timers: timers.size,
      sources: size,
      jobs: this.#threads.jobs,
    };
  }

  /** Part of the contract with futures (RuntimeRef); not for users. */
  openWakeFd(onWritten: () => void): WakeFd {
    return new EventfdWaker(this.reactor, this.#threads.wakers, onWritten);
  }

  /** Part of the contract with futures (RuntimeRef); not for users. */
  start(future: Future<unknown>): void {
    this.#checkOpen("await");
    this.#start(future);
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
      this.#abortAll();
      this.#drive(null);
    } catch (error) {
      if (!(error instanceof DeadlockError)) throw error;
      this.report(error, "cleanup while its runtime was disposed");
    } finally {
      this.#state = "disposed";
      this.reactor.close();
      this.#threads.close();
      for (const task of this.#uncaught.splice(0)) if (task.isUncaught) this.#print(task);
    }
  }

  #start<T>(future: Future<T>, name?: string, isShielded = false): Task<T> {
    const task = new Task(this.#executor, future, name, isShielded);
    if (this.#isDebug) task.spawnedAt = callSite();
    if (isTraced()) trace("task", { phase: "start", id: task.id, name: task.name });
    this.#executor.tasks.push(task as Task<unknown>);
    task.schedule();
    return task;
  }

  #abortAll(): void {
    for (let task = this.#executor.tasks.head; task !== null; ) {
      const next: Task<unknown> | null = task.after;
      task.abort();
      task = next;
    }
  }

  /** The run loop: until `root` has ended, or, without one, all tasks have. */
  #drive(root: Task<unknown> | null): void {
    const executor = this.#executor;
    this.#isDriving = true;
    const previous = swapDriving(this);
    const name = root?.name ?? "block";
    if (isTraced()) trace("block", { phase: "start", name });
    try {
      for (;;) {
        executor.turn(root);
        if (root === null ? executor.tasks.size === 0 : root.isEnded) return;
        if (usesPromises()) drain();
        if (executor.hasReady) {
          if (this.reactor.size > 0 || this.reactor.timers.size > 0) this.reactor.turn(false);
        } else this.#wait();
      }
    } finally {
      this.#isDriving = false;
      swapDriving(previous);
      if (isTraced()) trace("block", { phase: "end", name });
    }
  }

  #wait(): void {
    if (this.#spinMs > 0) {
      const endMs = performance.now() + this.#spinMs;
      do {
        if (this.reactor.turn(false) > 0 || this.#executor.hasReady) return;
      } while (performance.now() < endMs);
    }
    if (!this.reactor.canBeWoken()) throw this.#deadlock();
    if (this.foreignPromises > 0) this.#warnOfForeign();
    this.#parks++;
    const { isTraced } = this.#executor;
    if (isTraced) trace("park", { phase: "start" });
    this.reactor.turn(true);
    if (isTraced) trace("park", { phase: "end" });
  }

  /** Told once: it may be settled by another task yet. */
  #warnOfForeign(): void {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    process.emitWarning(
      `a task waits for a promise that this runtime did not make. ${onlyBunsLoop}`,
      {
        code: "GUILLOTINE_FOREIGN_PROMISE",
      },
    );
  }

  #deadlock(): DeadlockError {
    const stuck = this.tasks().map(({ name, waitsOn, spawnedAt }) => {
      return `${name} waits on ${waitsOn}${spawnedAt === undefined ? "" : ` (spawned at ${spawnedAt})`}`;
    });
    const shown = stuck.slice(0, 20).join("; ");
    const more = stuck.length > 20 ? `; and ${stuck.length - 20} more` : "";
    return new DeadlockError(
      `nothing can wake this runtime any more: no deadline, no fd that a task waits for, no waker or job in another thread. Stuck: ${shown}${more}${this.foreignPromises > 0 ? `. ${onlyBunsLoop}` : ""}`,
    );
  }

  /** Drops the work of a `blockOn` that cannot go on. */
  #abandon(root: Task<unknown>): void {
    root.abort();
    try {
      this.#drive(root);
    } catch (error) {
      this.report(error, "the cleanup of a blockOn that could not go on");
    }
  }

  #catch(task: Task<unknown>): void {
    if (this.#onUncaught === "throw") this.#uncaught.push(task);
    else if (this.#onUncaught === "report") this.#print(task);
    else {
      try {
        this.#onUncaught((task.outcome as { error: unknown }).error, infoOf(task));
      } catch (error) {
        this.report(error, "onUncaught");
      }
    }
  }

  #print(task: Task<unknown>): void {
    this.report(
      (task.outcome as { error: unknown }).error,
      `${describeTask(task)}, which nobody joined,`,
    );
  }

  #throwUncaught(): void {
    const tasks = this.#uncaught.splice(0).filter((task) => task.isUncaught);
    if (tasks.length === 0) return;
    const errors = tasks.map((task) => (task.outcome as { error: unknown }).error);
    const more = tasks.length > 1 ? ` (and ${tasks.length - 1} more)` : "";
    throw new UncaughtTaskError(
      `${describeTask(tasks[0]!)} failed, and nobody joined it${more}: ${errors[0]}`,
      errors,
    );
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

const onlyBunsLoop =
  "What only Bun's own loop can settle (fetch, setTimeout) never is while blockOn holds the thread: use `await runtime.run(...)`, guest mode, for that";

function describeTask({ name, spawnedAt }: Task<unknown>): string {
  return `task ${name}${spawnedAt === null ? "" : ` (spawned at ${spawnedAt})`}`;
}

function infoOf(task: Task<unknown>): TaskInfo {
  const { id, name, state, doing: waitsOn, spawnedAt } = task;
  return { id, name, state, waitsOn, ...(spawnedAt === null ? {} : { spawnedAt }) };
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
