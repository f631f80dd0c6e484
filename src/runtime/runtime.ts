// Runtime: the executor, the reactor and the driver of one thread, behind the public API. It checks the calls,
// starts tasks, and decides what drives them: `blockOn`, `block`, or the guest of Bun's loop.
//
// Its futures know it as a RuntimeRef. The members that exist only for that are marked @internal, and the class
// does not declare the interface, so that the published declarations leave both out.

import { codedError } from "../base/coded-error.ts";
import { counted, inspectable } from "../base/inspect.ts";
import { Queue } from "../base/queue.ts";
import { Owning } from "../combine/owning.ts";
import type { Context, LooseFuture, Runnable } from "../core/context.ts";
import { currentContextOrNull } from "../core/current.ts";
import { AbortError, type Coroutine, type Future, installThen } from "../core/future.ts";
import { installHost } from "../core/host.ts";
import { type IntoFuture, takeTaskWork, takeWork, warnOfPromise } from "../core/into-future.ts";
import type { Poll, Settle } from "../core/poll.ts";
import { inspectFromEnvironment } from "../inspect/console/console.ts";
import { addRuntime, type Inspected, removeRuntime } from "../inspect/console/inspected.ts";
import {
  countNames,
  formatDump,
  type RuntimeDump,
  shownTasks,
  type TaskDump,
  waitCycles,
} from "../inspect/dump.ts";
import { dumpOnSignal } from "../inspect/dump-signal.ts";
import { traceToFileFromEnvironment } from "../inspect/trace-file.ts";
import { Reactor } from "../reactor/reactor.ts";
import { unclosed } from "../reactor/unclosed.ts";
import { defaultSys } from "../sys/default.ts";
import { check, EMFILE } from "../sys/errno.ts";
import { canOpen, checkSys } from "../sys/sys.ts";
import { WORKER_FDS } from "../sys/text-worker.ts";
import { callOf, type SpawnBlocking } from "./blocking/call.ts";
import { Cleanup } from "./cleanup.ts";
import { CrossThread } from "./cross-thread.ts";

import { creationFrames, settleYoung, watchFromFirstFuture, watchFutures } from "./debug.ts";
import { Driver } from "./driver.ts";
import { DeadlockError, type UncaughtTaskError } from "./errors.ts";
import { Executor } from "./executor.ts";
import { Guest } from "./guest/guest.ts";
import { JoinHandle } from "./join-handle.ts";
import { Observer } from "./observer.ts";
import {
  checkOptions,
  checkSpawn,
  type Metrics,
  type RuntimeOptions,
  type SpawnOptions,
} from "./options.ts";
import { awaitFuture, promiseHost } from "./promises/adopt.ts";
import { currentRuntimeOrNull } from "./promises/driving.ts";
import { simulation } from "./simulated.ts";
import { Spin } from "./spin.ts";
import { Task } from "./task.ts";
import { shownTask, type TaskInfo } from "./task-info.ts";
import { EventfdWaker } from "./threads/eventfd-waker.ts";
import { openWakerHandle } from "./threads/waker-handle.ts";
import { printTrace } from "./trace.ts";
import { UncaughtFailures } from "./uncaught.ts";

/** The ambient runtime of this thread; a guest from its creation on. null before the first use. */
let ambientRuntime: Runtime | null = null;
let ambientOptions: RuntimeOptions = {};

/** Cleanup may spawn a task whose cleanup spawns again: then the disposal gives up. */
const MAX_DISPOSAL_ROUNDS = 8;

/**
 * Executes futures on the current thread. Dispose it when done: that cancels all tasks, runs their cleanup, and
 * closes the runtime's fds.
 *
 * Throws `ERR_UNSUPPORTED_PLATFORM` outside Bun on Linux, SysError when the process is out of fds, and TypeError
 * or RangeError for a bad option.
 *
 * @example
 * using runtime = new Runtime();
 * runtime.blockOn(function* () { yield* sleep(10); return 42; }); // 42
 */
export class Runtime implements Disposable, AsyncDisposable {
  static {
    inspectable(Runtime, (runtime) => runtime.#inspectLine());
  }

  /** @internal Part of RuntimeRef. */
  budget = 0;
  /** @internal Part of RuntimeRef. */
  foreignPromises = 0;
  /** @internal Part of RuntimeRef. */
  isDrainDue = false;
  /** @internal Part of RuntimeRef. */
  hostWaits = 0;
  /** @internal Part of RuntimeRef. */
  readonly reactor: Reactor;
  /** @internal Part of TaskRuntime. */
  readonly executor: Executor;
  readonly #observer: Observer;
  readonly #crossThread: CrossThread;
  readonly #driver: Driver;
  readonly #uncaught: UncaughtFailures;
  readonly #guestSpin: Spin;
  readonly #isDebug: boolean;
  /** What the console sees of this runtime; null in a simulation. */
  #inspected: Inspected | null = null;
  #stopWatchingFutures: (() => void) | null = null;
  /** Null until Bun's loop first has to drive this runtime. It then does so whenever nothing else does. */
  #guest: Guest | null = null;
  /** What `afterTurn` and `defer` have deferred. */
  readonly #deferred: Queue<Runnable> = new Queue();
  /** Resolves the async dispose that waits until all tasks have ended. */
  #onAllEnded: (() => void) | null = null;
  #state: "open" | "disposing" | "disposed" = "open";
  #disposal: Promise<void> | null = null;
  /** The `id` of the latest task that the disposal has cancelled. */
  #lastAborted = 0;
  /** The `id` of the latest await that the disposal has cancelled: it cancels awaits only once. */
  #lastAbortedAwait = 0;
  /** How often the disposal has cancelled tasks that the cleanup had spawned. */
  #disposalRounds = 0;
  /** Whether anything has driven this runtime; `"soon"` while a macrotask is due that makes Bun's loop do so. */
  #driven: "never" | "soon" | "yes" = "never";

  constructor(options: RuntimeOptions = {}) {
    const simulated = options?.simulated;
    if (simulated === undefined) simulation.refuse?.("new Runtime()");
    // First: throws where the platform is not supported.
    const sys = options?.sys ? checkSys(options.sys, "options.sys") : defaultSys();
    const {
      cancelGraceMs,
      clock,
      eventfd,
      spinMicros,
      guestSpinMicros,
      onUncaught,
      blockingThreads,
      debug,
      watchdogMs,
    } = checkOptions(options);
    startTrace(process.env.GUILLOTINE_TRACE); // before the executor asks for an observer
    this.cancelGraceMs = cancelGraceMs;
    this.#guestSpin = new Spin(guestSpinMicros);
    this.#isDebug = debug;
    this.#uncaught = new UncaughtFailures(
      onUncaught,
      (error, what) => this.report(error, what),
      () => this.executor.polls,
    );
    this.reactor = new Reactor(sys, clock);
    this.#crossThread = new CrossThread(this.reactor, blockingThreads);
    this.#observer = new Observer(clock);
    if (debug) this.#observer.watch();
    this.executor = new Executor({
      runtime: this,
      clock,
      observer: this.#observer,
      isEager: eventfd === "eager",
      ready: simulated?.ready,
      openWaker: (onWritten) => this.openWakeFd(onWritten),
      onUncaught: (task) => this.#uncaught.add(task),
    });
    this.#driver = new Driver(
      this,
      this.executor,
      this.reactor,
      new Spin(spinMicros),
      this.#observer,
      () => this.#uncaught.printOverdue(),
    );
    try {
      if (debug) this.#stopWatchingFutures = watchFutures();
      if (debug) unclosed.isWatching = true;
      if (watchdogMs !== null) {
        if (!canOpen(sys, WORKER_FDS)) check(-EMFILE, "open a Worker");
        this.#observer.guard(watchdogMs);
      }
      dumpOnSignal(this.reactor, () => this.dump());
      // Fds belong to the process, which outlives a Worker. (A Worker that is terminated emits no "exit".)
      if (!Bun.isMainThread && simulated === undefined) process.on("exit", this.#close);
      if (simulated !== undefined) {
        this.#driven = "yes"; // by the simulation
        this.#submit = (target, args) => simulated.callBlocking(target, args) as Future<never>;
        return;
      }
      this.#inspected = {
        observer: this.#observer,
        reactor: this.reactor,
        tasks: this.executor.tasks,
        looseInfo: () => this.executor.looseInfo(),
        metrics: () => this.metrics(),
        stackOf,
      };
      addRuntime(this.#inspected);
      inspectFromEnvironment();
    } catch (error) {
      this.#close(); // nobody gets this runtime, so nobody could dispose it
      throw error;
    }
  }

  /** Returns the runtime of the poll in progress. Throws Error outside a poll. */
  static current(): Runtime {
    const runtime = currentContextOrNull()?.runtime;
    if (runtime instanceof Runtime) return runtime;
    throw codedError(
      "ERR_NO_RUNTIME",
      "Runtime.current(): no runtime is polling here; call this inside runtime.blockOn(...) or a spawned task, or keep a reference to your runtime",
    );
  }

  /**
   * Returns the ambient runtime of this thread, and creates it on the first call. As a guest of
   * Bun's loop it performs the futures that are awaited outside any other runtime. You need not dispose it. After
   * a dispose, the next call creates another.
   */
  static ambient(): Runtime {
    // Each await without an owner comes here. What is rare is another method, so that the JIT inlines this one.
    const ambient = ambientRuntime;
    const isUsable = ambient !== null && ambient.#state === "open" && simulation.refuse === null;
    return isUsable ? ambient : Runtime.#createAmbient();
  }

  static #createAmbient(): Runtime {
    simulation.refuse?.("Runtime.ambient(), which code outside any task uses,");
    const ambient = new Runtime(ambientOptions);
    ambient.#enterGuest();
    ambientRuntime = ambient;
    return ambient;
  }

  /**
   * Sets the options of this thread's ambient runtime. The first `await` of a future, `spawn` or `Runtime.ambient()` outside
   * any runtime creates the ambient runtime, also at the top level of an imported module, which runs before the module
   * that imports it. So call this in a module of its own that is imported first. Throws `ERR_AMBIENT_EXISTS` after the
   * creation, and TypeError or RangeError for a bad option.
   *
   * @example
   * Runtime.configureAmbient({ onUncaught: "report" }); // a failed handler does not end the server
   */
  static configureAmbient(options: RuntimeOptions): void {
    checkOptions(options);
    if (options.sys !== undefined) checkSys(options.sys, "options.sys");
    if (ambientRuntime !== null && ambientRuntime.#state === "open") {
      throw codedError(
        "ERR_AMBIENT_EXISTS",
        "Runtime.configureAmbient: the ambient runtime of this thread exists already, perhaps created by a module that was imported earlier; call this before the first await of a future, spawn or Runtime.ambient(), in a module that is imported first",
      );
    }
    ambientOptions = options;
  }

  /**
   * Returns the runtime of the poll in progress; outside a poll, the runtime whose `blockOn` holds the thread, else
   * the ambient one.
   */
  static currentOrAmbient(): Runtime {
    const runtime = currentRuntimeOrNull();
    return runtime instanceof Runtime ? runtime : Runtime.ambient();
  }

  /**
   * Performs `work` on Bun's own loop, alongside its timers, sockets and promises (guest mode). Returns a promise
   * of the value; it rejects with what `work` throws. The runtime's other tasks keep running on Bun's loop, also
   * after `work` has ended.
   *
   * Throws TypeError if `work` cannot be made a future; Error once the runtime is disposed.
   *
   * @example
   * await using runtime = new Runtime();
   * const answer = await runtime.run(function* () { yield* sleep(10); return 42; });
   */
  run<T>(work: IntoFuture<T>): Promise<T> {
    this.#checkOpen("run");
    const taken = takeTaskWork(work, "Runtime.run: work");
    this.#enterGuest();
    const { promise, ...settle } = Promise.withResolvers<T>();
    this.#start(taken, "run").settle(settle);
    return promise;
  }

  /**
   * Runs `work`, and all other tasks with it, until `work` has ended. Returns its value, or throws what it threw.
   * Meanwhile Bun's own timers and sockets wait, because the runtime holds the thread. Tasks that have not ended
   * continue in the next `blockOn` or `block`.
   *
   * Throws DeadlockError, after cancelling `work`, when nothing can wake any task; UncaughtTaskError when another
   * task failed and nobody joined it (see `onUncaught`); TypeError if `work` cannot be made a future; Error once
   * the runtime is disposed, and inside a poll of the same runtime.
   */
  blockOn<T>(work: IntoFuture<T>): T {
    this.#checkOpen("blockOn");
    this.#checkNotDriving("blockOn");
    const task = this.#start(takeTaskWork(work, "Runtime.blockOn: work"), "blockOn");
    task.takeOutcome(); // we throw its failure, so it is never uncaught
    try {
      this.#drive(task as Task<unknown>);
    } catch (error) {
      if (!task.isEnded) this.#cancelRoot(task as Task<unknown>);
      throw error;
    }
    const outcome = task.takeOutcome()!; // #drive has returned, so the task has ended
    if ("error" in outcome) throw outcome.error;
    this.#throwUncaught();
    return outcome.value;
  }

  /**
   * Runs all tasks until every one has ended. Throws DeadlockError when nothing can wake any task; UncaughtTaskError
   * when a task failed and nobody joined it; Error once the runtime is disposed, and inside a poll of it.
   */
  block(): void {
    this.#checkOpen("block");
    this.#checkNotDriving("block");
    this.#drive(null);
    this.#throwUncaught();
  }

  /**
   * Makes `work` a task and returns its handle. The task starts at the runtime's next turn: in a `blockOn` or
   * `block`, or on Bun's loop in guest mode. If nothing has driven the runtime by Bun's next macrotask, the runtime
   * enters guest mode by itself. Between two `blockOn`s the tasks wait.
   *
   * Throws TypeError if `work` cannot be made a future or an option is bad; Error once the runtime is disposed.
   */
  spawn<T>(work: IntoFuture<T>, options?: SpawnOptions): JoinHandle<T> {
    return JoinHandle.create(this.startTask(work, options));
  }

  /** @internal Does what `spawn` does, and returns the task itself. */
  startTask<T>(work: IntoFuture<T>, options?: SpawnOptions): Task<T> {
    this.#checkSpawnable("spawn");
    if (options !== undefined) checkSpawn(options);
    const task = this.#start(this.#taskWork(work, options?.owns), options?.name);
    if (this.#driven === "never") this.#driveSoon();
    if (options?.signal !== undefined) task.abortOn(options.signal);
    if (options?.token !== undefined) task.joinToken(options.token);
    return task;
  }

  #taskWork<T>(work: IntoFuture<T>, owns: SpawnOptions["owns"]): Future<T> | Coroutine<T> {
    const take = owns === undefined ? takeTaskWork : takeWork;
    const taken = take(work, "spawn: work");
    warnOfPromise(work, "spawn");
    return owns === undefined ? taken : new Owning(taken as Future<T>, owns);
  }

  /** Does what the function `spawnBlocking` does, on this runtime. Throws Error once the runtime is disposed. */
  readonly spawnBlocking: SpawnBlocking = (target: unknown, ...rest: readonly unknown[]) => {
    this.#checkSpawnable("spawnBlocking");
    const task = this.#start(this.#submit(target, rest));
    if (this.#driven === "never") this.#driveSoon();
    return JoinHandle.create(task);
  };

  /** Sends a call to a Worker. A simulated host replaces it. */
  #submit = (target: unknown, args: readonly unknown[]): Future<never> =>
    this.#crossThread.submit<never>(callOf(target, args));

  /**
   * Lists the tasks that have not ended, in the order in which they were spawned, then the awaits that no task owns
   * (`await #7`).
   */
  tasks(): TaskInfo[] {
    const { tasks } = this.executor;
    const infos = [...tasks].map((task) => this.#observer.infoOf(task));
    return [...infos, ...this.executor.looseInfo()].map(shownTask);
  }

  /** Returns how many tasks have not ended, by name. Those without a name count as `(no name)`. */
  tasksByName(): Map<string, number> {
    return countNames(this.tasks());
  }

  /**
   * Keeps statistics from now on: `metrics()` then shows how the time is spent, and `tasks()` shows how often and how long it was polled, and how old
   * it is. Two readings of the clock per poll. Debug mode observes from the start. Returns what ends it when it is
   * disposed.
   *
   * @example
   * using _ = runtime.observe();
   * const slow = () => runtime.tasks().filter((task) => (task.longestPollMs ?? 0) > 10);
   */
  observe(): Disposable {
    return { [Symbol.dispose]: this.#observer.watch() };
  }

  /**
   * Describes the runtime and all its tasks as text, to answer why nothing happens: a tree of the tasks by spawner, what
   * each waits on, which task holds that, the addresses of its sockets, and the stack of each coroutine, with the
   * user's files and lines. Names tasks that wait for each other in a circle. Shows the first ten of many tasks with
   * one name, and at most a thousand tasks. With `observe()`, or in debug mode, also polls and times. Changes nothing;
   * may be called at any time.
   *
   * @example
   * console.log(runtime.dump());
   */
  dump(): string {
    return formatDump(this.dumpJson());
  }

  /** Returns what `dump` shows as an object. It contains all tasks. */
  dumpJson(): RuntimeDump {
    settleYoung();
    const isShown = shownTasks([...this.executor.tasks]);
    const tasks: TaskDump[] = [...this.executor.tasks].map((task) => {
      const info = this.#observer.infoOf(task);
      const waitsFor = task.waitsFor.map(({ id }) => id);
      const fds = task.blockers.flatMap(({ waitingFd }) => waitingFd ?? []);
      return { ...info, waitsFor, fds, stack: isShown.has(task.id) ? stackOf(task) : [] };
    });
    for (const info of this.executor.looseInfo()) {
      tasks.push({ ...info, waitsFor: [], fds: [], stack: [] });
    }
    const { runtime } = this.#observer;
    return { runtime, metrics: this.metrics(), tasks, cycles: waitCycles(tasks) };
  }

  /** Returns counts since the runtime was created, and current sizes. */
  metrics(): Metrics {
    const { alive, spawned, polls, wakes } = this.executor;
    const { rounds, events, timers, size } = this.reactor;
    const { statistics } = this.#observer;
    return {
      tasksAlive: alive,
      tasksEnded: spawned - alive,
      polls,
      wakes,
      rounds,
      events,
      parks: this.#driver.parks,
      timers: timers.size,
      sources: size,
      jobs: this.#crossThread.jobs,
      ...(statistics !== null && { observed: statistics.read() }),
    };
  }

  /** `Runtime { 3 tasks, 1 timer, 2 fds }` */
  #inspectLine(): string {
    if (this.#state !== "open") return `Runtime { ${this.#state} }`;
    const { timers, size } = this.reactor;
    const counts = { task: this.executor.alive, timer: timers.size, fd: size };
    const phrases = Object.entries(counts).map(([noun, count]) => counted(count, noun));
    return `Runtime { ${phrases.join(", ")} }`;
  }

  /** @internal Performs one turn of a simulated host. Returns how long it may wait for an event; -1 without limit. */
  hostTurn(): number {
    return this.#driver.hostTurn();
  }

  /** @internal For a simulation. */
  get hasReady(): boolean {
    return this.executor.hasReady;
  }

  /** @internal For a simulation: removes the failures that nobody has joined, and returns them as one error. */
  takeUncaught(): UncaughtTaskError | null {
    return this.#uncaught.takeError();
  }

  /** @internal Part of RuntimeRef. */
  readonly cancelGraceMs: number;

  /** @internal Part of RuntimeRef. */
  get isDriving(): boolean {
    return this.#driver.isDriving;
  }

  /** @internal Part of RuntimeRef. */
  get isOpen(): boolean {
    return this.#state !== "disposed";
  }

  /** @internal Part of RuntimeRef. */
  enqueue(runnable: Runnable): void {
    this.executor.push(runnable);
  }

  /** @internal Part of RuntimeRef. */
  addLoose(loose: LooseFuture): void {
    if (this.#state !== "disposed") this.executor.addLoose(loose);
    else loose.abandon(awaitDisposalError());
  }

  /** @internal Part of RuntimeRef. */
  removeLoose(loose: LooseFuture): void {
    this.executor.removeLoose(loose);
  }

  /** @internal Part of RuntimeRef. */
  requestDrain(): void {
    this.executor.requestDrain();
  }

  /** @internal Part of RuntimeRef. */
  onPollOutsideTurn(): void {
    this.#guest?.schedule();
  }

  /** @internal Part of RuntimeRef. */
  countHostWait(delta: 1 | -1): void {
    this.hostWaits += delta;
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
  start<T>(future: Future<T>, settle: Settle<T>): void {
    this.#checkSpawnable("await");
    this.#start(future).settle(settle);
  }

  /** @internal Part of RuntimeRef. */
  enterGuestMode(): void {
    if (this.#state === "open" && !this.#driver.isDriving) this.#enterGuest();
  }

  /** @internal Part of RuntimeRef. */
  afterTurn(callback: () => void): void {
    if (!this.#driver.holdsThread) {
      this.#deferred.push({ next: null, run: callback });
      return;
    }
    callback();
    this.executor.requestDrain();
  }

  /** @internal Part of RuntimeRef. */
  defer(runnable: Runnable): void {
    this.#deferred.push(runnable);
  }

  /** @internal Part of RuntimeRef. */
  finishCleanup(step: (cx: Context) => Poll<void>): void {
    if (this.#state === "disposed") {
      this.report(
        codedError(
          "ERR_CLEANUP_UNFINISHED",
          "cleanup was still suspended when its runtime was disposed",
        ),
        "a drop",
      );
    } else this.#start(new Cleanup(step), "cleanup", true);
  }

  /** @internal Part of RuntimeRef. */
  report(error: unknown, what: string): void {
    console.error(`guillotine: ${what} failed:`, error);
  }

  /**
   * Cancels all tasks, runs their cleanup to its end, and closes the runtime's fds. Cleanup that nothing can wake
   * is reported and abandoned. Tasks that the cleanup spawns and does not await are cancelled after it. Throws Error
   * inside a poll of this runtime. Idempotent.
   */
  [Symbol.dispose](): void {
    if (this.#state === "disposed") return;
    this.#checkNotDriving("dispose");
    this.#state = "disposing";
    try {
      this.#abortAll();
      this.#drive(null, this.#isDisposalOver);
    } catch (error) {
      if (!(error instanceof DeadlockError)) throw error;
      this.report(error, "cleanup during the runtime's disposal");
    } finally {
      this.#close();
    }
  }

  /**
   * Does what `[Symbol.dispose]` does, in guest mode, but waits also for cleanup that nothing can wake, which cannot be
   * told there. Resolves once all fds are closed. Idempotent.
   */
  [Symbol.asyncDispose](): Promise<void> {
    this.#disposal ??= this.#disposeAsGuest();
    return this.#disposal;
  }

  async #disposeAsGuest(): Promise<void> {
    if (this.#state !== "open") return;
    this.#state = "disposing";
    this.#abortAll();
    if (this.executor.alive > 0) {
      await new Promise<void>((resolve) => {
        this.#onAllEnded = resolve;
        this.#enterGuest().schedule();
      });
    }
    this.#close();
  }

  readonly #close = (): void => {
    if (this.#state === "disposed") return; // a sync dispose ran during an async one
    this.#state = "disposed";
    process.off("exit", this.#close);
    this.#onAllEnded?.();
    this.#guest?.close();
    for (const task of this.executor.tasks) task.abandon();
    for (const loose of this.executor.loose) loose.abandon(awaitDisposalError());
    this.#runDeferred();
    if (this.#inspected !== null) removeRuntime(this.#inspected);
    this.reactor.close();
    this.#crossThread.close();
    this.#stopWatchingFutures?.();
    this.#uncaught.close();
    this.#observer.close();
  };

  #start<T>(work: Future<T> | Coroutine<T>, name?: string, isShielded = false): Task<T> {
    const task = new Task(this, work, name, isShielded);
    if (this.#isDebug) task.recordPlace();
    this.#observer.ifAny()?.onSpawn(task as Task<unknown>);
    this.executor.tasks.push(task as Task<unknown>);
    task.schedule();
    return task;
  }

  /** Makes Bun's loop drive this runtime, unless the caller does it before the next macrotask. */
  #driveSoon(): void {
    this.#driven = "soon";
    setImmediate(() => {
      if (this.#driven === "soon" && this.#state === "open") this.#enterGuest();
    });
  }

  #drive(root: Task<unknown> | null, isOver?: () => boolean): void {
    this.#driven = "yes";
    try {
      this.#driver.drive(root, isOver);
    } catch (error) {
      if (error instanceof DeadlockError) error.setDump(this.dump());
      throw error;
    } finally {
      // Loose awaits continue, as promises do: Bun's loop drives them from now on.
      if (this.executor.loose.size > 0 && this.#state === "open") this.#enterGuest();
      this.#guest?.schedule(); // we held the thread, and may have left tasks ready
    }
  }

  #abortAll(): void {
    this.#abortTasks();
    this.#lastAbortedAwait = this.#lastAborted;
    for (const loose of this.executor.loose) loose.abort(awaitDisposalError());
  }

  #abortTasks(): void {
    this.#lastAborted = this.executor.spawned;
    for (const task of this.executor.tasks) task.abort(task.disposalError);
  }

  /**
   * Returns true once what the disposal has cancelled has ended, cleanup included. Before that, cancels the tasks that the
   * cleanup has spawned: one that nobody awaits could run for good. A later await that nobody owns is abandoned by
   * `#close` instead: code that catches each AbortError would begin another.
   */
  readonly #isDisposalOver = (): boolean => {
    const { tasks, loose } = this.executor;
    for (const task of tasks) if (task.id <= this.#lastAborted || task.isShielded) return false;
    for (const { id } of loose) if (id <= this.#lastAbortedAwait) return false;
    if (tasks.size === 0 || this.#disposalRounds++ === MAX_DISPOSAL_ROUNDS) return true;
    this.#abortTasks();
    return false;
  };

  #runDeferred(): void {
    // One by one: a callback may dispose this runtime, which runs the others.
    for (let one = this.#deferred.shift(); one !== null; one = this.#deferred.shift()) one.run();
  }

  #enterGuest(): Guest {
    this.#driven = "yes";
    if (this.#guest === null) {
      const guest = new Guest({
        runtime: this,
        driver: this.#driver,
        executor: this.executor,
        reactor: this.reactor,
        spin: this.#guestSpin,
        afterTurn: this.#onGuestTurnEnd,
        hasDeferred: () => !this.#deferred.isEmpty,
      });
      this.#guest = guest;
      guest.schedule(); // tasks may have been spawned already
      this.executor.onChange = this.reactor.onWakersChange = () => {
        if (this.#driver.isDriving) return; // the driver and the guest check this at the end
        if (this.executor.hasReady) guest.schedule();
        else guest.update();
      };
    }
    return this.#guest;
  }

  readonly #onGuestTurnEnd = (): void => {
    this.#runDeferred();
    const { hasReady } = this.executor;
    if (this.#onAllEnded !== null && this.#isDisposalOver()) this.#onAllEnded();
    this.#uncaught.throwUncaughtException(hasReady); // a ready task may still join a young failure
  };

  #throwUncaught(): void {
    const error = this.#uncaught.takeError();
    if (error !== null) throw error;
  }

  /** Cancels the work of a `blockOn` that throws for another reason. */
  #cancelRoot(root: Task<unknown>): void {
    root.abort();
    try {
      this.#drive(root);
    } catch (error) {
      this.report(error, "the cleanup of a blockOn that could not continue");
    }
  }

  /** Allows spawning while the runtime is open, and in cleanup that runs during the disposal. */
  #checkSpawnable(operation: string): void {
    const isCleanup = this.#driver.isDriving || currentContextOrNull()?.runtime === this;
    if (this.#state !== "disposing" || !isCleanup) this.#checkOpen(operation);
  }

  #checkOpen(operation: string): void {
    if (this.#state !== "open") {
      throw codedError(
        "ERR_RUNTIME_DISPOSED",
        `Runtime.${operation}: this runtime is disposed; create a new one`,
      );
    }
  }

  #busyError(operation: string): Error {
    const context = currentContextOrNull();
    const message =
      context !== null && context.runtime === this
        ? `task ${context.task.name} of this runtime runs this code, so the runtime would wait for itself; write \`yield*\` or \`await\` here, or spawn() the work`
        : `${this.#driver.holdsThread ? "a `blockOn` of this runtime holds the thread" : "this runtime has the thread for a turn"}, and runs this code because a promise that it awaits has settled; \`await\` the work here, or use a runtime of your own`;
    return codedError("ERR_RUNTIME_BUSY", `Runtime.${operation}: ${message}`);
  }

  #checkNotDriving(operation: string): void {
    simulation.refuse?.(`Runtime.${operation}()`);
    if (this.#driver.isDriving) throw this.#busyError(operation);
  }
}

/** Returns where a task is: where its coroutine waits; in debug mode, also where its async function began to wait. */
function stackOf(task: Task<unknown>): readonly string[] {
  const stack = task.logicalStack();
  return stack.length > 0 ? stack : task.blockers.flatMap(creationFrames);
}

/** Starts the trace that `GUILLOTINE_TRACE` asks for: `1` prints it, a path writes it to that file. */
function startTrace(variable: string | undefined): void {
  if (variable === undefined || variable === "" || variable === "0") return;
  if (variable === "1") printTrace();
  else traceToFileFromEnvironment(variable);
}

function awaitDisposalError(): AbortError {
  return new AbortError("an await was aborted: its runtime was disposed");
}

installHost({
  ...promiseHost,
  openWakerHandle,
  ambientRuntime: () => Runtime.ambient(),
});
installThen(awaitFuture as Future<unknown>["then"]);
watchFromFirstFuture();
