// Runtime: executor + reactor of one thread. Runs what is ready, and sits in epoll_wait when nothing is.
//
// It is the RuntimeRef of its futures, too. Its declaration does not say so, and the members that it has for
// that alone are marked @internal: the declarations that users see leave them out.

import type { Context, Pollable } from "../core/context.ts";
import { currentContextOrNull } from "../core/current.ts";
import { installHost } from "../core/host.ts";
import { type IntoFuture, intoFuture } from "../core/into-future.ts";
import type { Poll, Settle } from "../core/poll.ts";
import { Reactor } from "../reactor/reactor.ts";
import { defaultSys } from "../sys/default.ts";
import { checkSys } from "../sys/sys.ts";
import { callOf, type SpawnBlocking } from "./blocking/call.ts";
import { Cleanup } from "./cleanup.ts";
import { CrossThread } from "./cross-thread.ts";
import { callSite, watchFutures } from "./debug.ts";
import { Driver } from "./driver.ts";
import { DeadlockError } from "./errors.ts";
import { Executor } from "./executor.ts";
import { Guest } from "./guest/guest.ts";
import { JoinHandle } from "./join-handle.ts";
import {
  checkOptions,
  checkSpawn,
  type Metrics,
  type RuntimeOptions,
  type SpawnOptions,
} from "./options.ts";
import { promiseHost } from "./promises/adopt.ts";
import { Spin } from "./spin.ts";
import { Task } from "./task.ts";
import type { TaskInfo } from "./task-info.ts";
import { EventfdWaker } from "./threads/eventfd-waker.ts";
import { openWakerHandle } from "./threads/waker-handle.ts";
import { isTraced, printTrace, trace } from "./trace.ts";
import { Uncaught } from "./uncaught.ts";

let ambientRuntime: Runtime | null = null;

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
export class Runtime implements Disposable, AsyncDisposable {
  /** @internal Part of RuntimeRef. */
  budget = 0;
  /** @internal Part of RuntimeRef. */
  foreignPromises = 0;
  /** @internal Part of RuntimeRef. */
  hostWaits = 0;
  /** @internal Part of RuntimeRef. */
  readonly reactor: Reactor;
  readonly #executor: Executor;
  readonly #crossThread: CrossThread;
  readonly #driver: Driver;
  readonly #uncaught: Uncaught;
  readonly #guestSpin: Spin;
  readonly #isDebug: boolean;
  #endDebug: (() => void) | null = null;
  /** Set once this runtime has been a guest of Bun's loop; from then on it is whenever it has work. */
  #guest: Guest | null = null;
  readonly #afterTurn: (() => void)[] = [];
  /** Who waits until no task is left. */
  #onIdle: (() => void) | null = null;
  #state: "open" | "disposing" | "disposed" = "open";
  #disposal: Promise<void> | null = null;

  constructor(options: RuntimeOptions = {}) {
    const sys = options?.sys ? checkSys(options.sys, "options.sys") : defaultSys(); // first: it says what is missing where this cannot run
    const { clock, eventfd, spinMicros, guestSpinMicros, onUncaught, blockingThreads, debug } =
      checkOptions(options);
    if (process.env.GUILLOTINE_TRACE === "1") printTrace(); // first: the executor asks who listens
    this.#guestSpin = new Spin(guestSpinMicros);
    this.#isDebug = debug;
    this.#uncaught = new Uncaught(onUncaught, (error, what) => this.report(error, what));
    this.reactor = new Reactor(sys, clock);
    this.#crossThread = new CrossThread(this.reactor, blockingThreads);
    this.#executor = new Executor({
      runtime: this,
      clock,
      isEager: eventfd === "eager",
      openWaker: (onWritten) => this.openWakeFd(onWritten),
      onUncaught: (task) => this.#uncaught.add(task, this.#executor.polls),
    });
    this.#driver = new Driver(this, this.#executor, this.reactor, new Spin(spinMicros), () =>
      this.#uncaught.printDue(this.#executor.polls),
    );
    if (debug) this.#endDebug = watchFutures();
    // The fds are the process's, which goes on. (A Worker that is terminated is not told.)
    if (!Bun.isMainThread) process.on("exit", this.#close);
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
   * The runtime of this thread's Bun loop, made when first asked for: the one that performs a future
   * that is awaited where no other runtime is. Not to be disposed, as a rule: then there is another.
   */
  static ambient(): Runtime {
    if (ambientRuntime === null || ambientRuntime.#state !== "open") {
      ambientRuntime = new Runtime();
    }
    ambientRuntime.#enterGuest();
    return ambientRuntime;
  }

  /** The runtime of the poll in progress, else the ambient one. */
  static currentOrAmbient(): Runtime {
    const runtime = currentContextOrNull()?.runtime;
    return runtime instanceof Runtime ? runtime : Runtime.ambient();
  }

  /**
   * Performs `work` on Bun's own loop, beside its timers, sockets and promises; resolves with its
   * value, or rejects with its error. The runtime's other tasks go on as long as they live. Throws
   * TypeError for what is no work; Error once disposed.
   *
   * @example
   * await using runtime = new Runtime();
   * const answer = await runtime.run(function* () { yield* sleep(10); return 42; });
   */
  run<T>(work: IntoFuture<T>): Promise<T> {
    this.#checkOpen("run");
    const future = intoFuture(work);
    this.#enterGuest();
    const { promise, ...settle } = Promise.withResolvers<T>();
    this.#start(future, "run").settle(settle);
    return promise;
  }

  /**
   * Drives `work`, and with it all other tasks, until *that* is done, and returns its value, or throws
   * what it threw. The thread is the runtime's meanwhile: Bun's own timers and sockets wait. Other
   * tasks stay, and go on in the next `blockOn` or `block`.
   *
   * Throws DeadlockError when nothing can wake it any more, with `work` dropped; UncaughtTaskError
   * when another task failed and nobody asked for its result (see `onUncaught`); Error once disposed, and
   * while the runtime is driven already.
   */
  blockOn<T>(work: IntoFuture<T>): T {
    this.#checkDrivable("blockOn");
    const task = this.#start(intoFuture(work), "blockOn");
    task.takeOutcome(); // its failure is ours to throw
    try {
      this.#drive(task as Task<unknown>);
    } catch (error) {
      if (!task.isEnded) this.#abandon(task as Task<unknown>);
      throw error;
    }
    const outcome = task.takeOutcome()!; // #drive returned: it has ended
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

  /**
   * Makes `work` a task, which starts at the runtime's next turn: of a `blockOn` or `block`, or on Bun's
   * loop in guest mode. Throws TypeError for what is no work, or a bad option; Error once disposed.
   */
  spawn<T>(work: IntoFuture<T>, options?: SpawnOptions): JoinHandle<T> {
    return new JoinHandle(this.startTask(work, options));
  }

  /** @internal Like `spawn`, for code that owns the task itself. */
  startTask<T>(work: IntoFuture<T>, options?: SpawnOptions): Task<T> {
    this.#checkSpawnable("spawn");
    if (options !== undefined) checkSpawn(options);
    const task = this.#start(intoFuture(work), options?.name);
    if (options?.signal !== undefined) task.abortOn(options.signal);
    return task;
  }

  /** What `spawnBlocking` does, for those outside a poll. */
  readonly spawnBlocking: SpawnBlocking = (target: unknown, ...rest: readonly unknown[]) => {
    this.#checkSpawnable("spawnBlocking");
    return new JoinHandle(this.#start(this.#crossThread.submit<never>(callOf(target, rest))));
  };

  /** The tasks that have not ended, in the order in which they were spawned. */
  tasks(): TaskInfo[] {
    return [...this.#executor.tasks].map((task) => task.info);
  }

  /** Counts of what it has done, and of what there is now. */
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
      parks: this.#driver.parks,
      timers: timers.size,
      sources: size,
      jobs: this.#crossThread.jobs,
    };
  }

  /** @internal Part of RuntimeRef. */
  countHostWait(delta: 1 | -1): void {
    this.hostWaits += delta;
  }

  /** @internal Part of RuntimeRef. */
  countForeignPromise(delta: 1 | -1): void {
    this.foreignPromises += delta;
  }

  /** @internal Part of RuntimeRef. */
  get holdsThread(): boolean {
    return this.#driver.holdsThread;
  }

  /** @internal Part of RuntimeRef. */
  openWakeFd(onWritten: () => void): EventfdWaker {
    return new EventfdWaker(this.reactor, this.#crossThread.wakers, onWritten);
  }

  /** @internal Part of RuntimeRef. */
  start<T>(future: Pollable<T>, settle: Settle<T>): void {
    this.#checkSpawnable("await");
    this.#start(future).settle(settle);
  }

  /** @internal Part of RuntimeRef. */
  enterGuestMode(): void {
    if (this.#state === "open" && !this.#driver.isDriving) this.#enterGuest();
  }

  /** @internal Part of RuntimeRef. */
  afterTurn(callback: () => void): void {
    if (this.#driver.holdsThread) callback();
    else this.#afterTurn.push(callback);
  }

  /** @internal Part of RuntimeRef. */
  finishCleanup(step: (cx: Context) => Poll<void>): void {
    if (this.#state === "disposed") {
      this.report(new Error("cleanup was still suspended when its runtime was disposed"), "a drop");
    } else this.#start(new Cleanup(step), "cleanup", true);
  }

  /** @internal Part of RuntimeRef. */
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
      this.#close();
    }
  }

  /** The same, in guest mode: cleanup that waits does so on Bun's loop. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#disposal ??= this.#disposeAsGuest();
    return this.#disposal;
  }

  async #disposeAsGuest(): Promise<void> {
    if (this.#state !== "open") return;
    this.#state = "disposing";
    this.#abortAll();
    if (this.#executor.tasks.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
        this.#enterGuest().schedule();
      });
    }
    this.#close();
  }

  readonly #close = (): void => {
    if (this.#state === "disposed") return; // by a sync dispose during an async one
    this.#state = "disposed";
    process.off("exit", this.#close);
    this.#onIdle?.();
    this.#guest?.close();
    for (const task of this.#executor.tasks) task.abandon();
    this.#settleAll();
    this.reactor.close();
    this.#crossThread.close();
    this.#endDebug?.();
    this.#uncaught.printAll();
  };

  #start<T>(future: Pollable<T>, name?: string, isShielded = false): Task<T> {
    const task = new Task(this.#executor, future, name, isShielded);
    if (this.#isDebug) task.spawnedAt = callSite();
    if (isTraced()) trace("task", { phase: "start", id: task.id, name: task.name });
    this.#executor.tasks.push(task as Task<unknown>);
    task.schedule();
    return task;
  }

  #drive(root: Task<unknown> | null): void {
    try {
      this.#driver.drive(root);
    } finally {
      this.#guest?.schedule(); // it took the thread from the guest, and what it left is ready now
    }
  }

  #abortAll(): void {
    for (const task of this.#executor.tasks) task.abort(task.disposalError);
  }

  #settleAll(): void {
    for (const callback of this.#afterTurn.splice(0)) callback();
  }

  #enterGuest(): Guest {
    if (this.#guest === null) {
      const guest = new Guest({
        runtime: this,
        driver: this.#driver,
        executor: this.#executor,
        reactor: this.reactor,
        spin: this.#guestSpin,
        afterTurn: this.#afterGuestTurn,
      });
      this.#guest = guest;
      guest.schedule(); // for what was spawned before
      this.#executor.onChange = this.reactor.onWakersChange = () => {
        if (this.#driver.isDriving) return; // it looks itself, before it ends
        if (this.#executor.hasReady) guest.schedule();
        else guest.update();
      };
    }
    return this.#guest;
  }

  readonly #afterGuestTurn = (): void => {
    this.#settleAll();
    const { tasks, hasReady, polls } = this.#executor;
    if (tasks.size === 0) this.#onIdle?.();
    this.#uncaught.throwOnLoop(hasReady ? polls : undefined);
  };

  #throwUncaught(): void {
    const error = this.#uncaught.take();
    if (error !== null) throw error;
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

  /** The cleanup of a task, while its runtime is disposed, may still have tasks of its own. */
  #checkSpawnable(operation: string): void {
    if (this.#state !== "disposing" || !this.#driver.isDriving) this.#checkOpen(operation);
  }

  #checkOpen(operation: string): void {
    if (this.#state !== "open") {
      throw new Error(`Runtime.${operation}: this runtime is disposed; make a new one`);
    }
  }

  #checkDrivable(operation: string): void {
    if (operation !== "dispose") this.#checkOpen(operation);
    if (this.#driver.isDriving) {
      throw new Error(
        `Runtime.${operation}: this runtime is being driven already, by the caller of this poll; it would wait for itself. Use \`yield*\` or spawn() here`,
      );
    }
  }
}

installHost({
  ...promiseHost,
  openWakerHandle,
  ambientRuntime: () => Runtime.ambient(),
});
