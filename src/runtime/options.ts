// The types of the options and metrics of a Runtime, and the checks of the options.

import {
  checkCount,
  checkDisposable,
  checkMilliseconds,
  checkObject,
  checkSignal,
  checkString,
  invalidType,
  outOfRange,
} from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { HistogramCounts } from "../base/histogram.ts";
import { CancelToken } from "../combine/cancel-token.ts";
import { type Clock, systemClock, virtualClock } from "../sys/clock.ts";
import type { Sys } from "../sys/sys.ts";
import type { SimulatedHost } from "./simulated.ts";
import type { TaskInfo } from "./task-info.ts";

/**
 * What the runtime does when a task fails and nobody joins it: nobody has polled its handle, or every awaiter
 * has given up (a `timeout`, a lost `race`).
 *
 * - `"throw"` (default): `blockOn` or `block` throws an UncaughtTaskError when it returns. Until then the handle
 *   may still be joined. A failure that waits longer than 10,000 polls is printed; `blockOn` keeps the first 64
 *   of those and throws them when it returns.
 * - `"report"`: the runtime prints the error and keeps running. This suits a server.
 * - a function: the runtime calls it with the error and the task, and keeps running. An error that the function
 *   throws is printed.
 *
 * In guest mode nothing returns. With `"throw"` the error then becomes an `uncaughtException`, as soon as no
 * other task is ready, or 10,000 polls later if some always are. If nothing listens for that, Bun prints it and
 * ends the process, but not while the main module waits in a top-level `await`.
 */
export type OnUncaught = "throw" | "report" | ((error: unknown, task: TaskInfo) => void);

/** The options of `new Runtime`. */
export interface RuntimeOptions {
  /**
   * When tasks get an eventfd. `"lazy"` (default): when somebody first reads `waker.fd`; a wake on the runtime's
   * own thread only queues the task. `"eager"`: when they are spawned; each wake is a write to the eventfd.
   */
  readonly eventfd?: "eager" | "lazy";
  /**
   * How long to busy-poll epoll after activity before sleeping, in microseconds; 0 disables it. It is suspended
   * after eight fruitless spins in a row, until an event arrives quickly again. Default: 10 in `blockOn` and 50
   * in guest mode, which is about what sleeping and waking cost there. A runtime with a virtual clock never
   * busy-polls.
   */
  readonly spinMicros?: number;
  /** What to do when a task fails and nobody joins it. Default: `"throw"`. */
  readonly onUncaught?: OnUncaught;
  /** The most Workers that `spawnBlocking` uses at once. Default: the number of processors. */
  readonly blockingThreads?: number;
  /**
   * Records where tasks are spawned and futures are created, and adds these places to the stacks of their errors.
   * Reports futures that are never polled (a forgotten `yield*`), and promises where only a function could be cancelled
   * (`timeout(1000, ask())`). Closes open sockets that are garbage-collected, with a process warning that names them
   * (`GUILLOTINE_UNCLOSED`), while Bun's loop runs. Observes the runtime (see `observe`). Costs about half a microsecond
   * for each future, and another for one that an async function awaits. Works in bundles; in a minified one, add source
   * maps. Default: true if the environment variable `GUILLOTINE_DEBUG` is `1`.
   */
  readonly debug?: boolean;
  /**
   * The watchdog: reports on stderr when a poll, or code after an `await`, holds the thread for longer than this, in
   * milliseconds, at least 10. A helper thread writes which task it is while the thread is stuck, also in an endless
   * loop. When the thread continues, a second line has the duration and what the task waits on now, with its stack. Each
   * poll then costs a few stores more. Default: the environment variable `GUILLOTINE_WATCHDOG_MS`; without it, or
   * with 0, there is no watchdog.
   */
  readonly watchdogMs?: number;
  /** The kernel. Default: libc. See `bun-guillotine/sys`. */
  readonly sys?: Sys;
  /**
   * How long a cancelled async function may take to end, in milliseconds. Default: 5000. Its canceller waits that
   * long. Then the runtime reports the function by name, and each of its awaits throws an AbortError. Infinity
   * sets no limit. Does not apply to coroutines, nor to a function that waits only for promises such as a `fetch`:
   * its canceller does not wait at all.
   */
  readonly cancelGraceMs?: number;
  /**
   * The clock. Default: `performance.now()`. `"virtual"` starts at 0 and jumps to the next deadline when no task is
   * ready and no fd has an event, so that a test with sockets of the real kernel need not wait for its sleeps. For a
   * simulated network, too, see `bun-guillotine/sim`.
   */
  readonly clock?: Clock | "virtual";
  /** @internal Set for the runtime of a simulated host. */
  readonly simulated?: SimulatedHost;
}

/** The options of `spawn`. */
export interface SpawnOptions {
  /** Shown in errors and traces. Default: `#` and the task's id. */
  readonly name?: string;
  /**
   * Aborts the task. Awaiting the task then throws `signal.reason`. Once the task has ended, the signal has no
   * listener left.
   */
  readonly signal?: AbortSignal;
  /** Cancels the task together with the other tasks of the token. Awaiting the task then throws `token.reason`. */
  readonly token?: CancelToken;
  /**
   * A resource that belongs to the task from now on, such as a TcpStream. It is disposed when the task ends, also
   * when the task is aborted before it has run any code, in which case a `using` in the work would never have
   * begun. If `spawn` throws, the resource still belongs to the caller.
   */
  readonly owns?: Disposable | AsyncDisposable;
}

/** Counts since the runtime was created, and current sizes. */
export interface Metrics {
  /** Tasks, and awaits that no task owns, that have not ended. */
  readonly tasksAlive: number;
  /** Tasks, and awaits that no task owns, that have ended. */
  readonly tasksEnded: number;
  /** Polls of tasks. */
  readonly polls: number;
  /** Wakes that queued a task. Waking a task that is already queued does not count. */
  readonly wakes: number;
  /** Calls of epoll_wait. */
  readonly rounds: number;
  /** Events that epoll_wait returned. */
  readonly events: number;
  /** How often the thread blocked in epoll_wait or, in guest mode, began to wait for epoll. */
  readonly parks: number;
  /** Deadlines that are pending now. */
  readonly timers: number;
  /** Fds that are registered with epoll now. */
  readonly sources: number;
  /** Blocking jobs that have not ended. */
  readonly jobs: number;
  /** What `runtime.observe()` adds; absent while nothing observes. */
  readonly observed?: ObservedMetrics;
}

/** How the time is spent, since the observation began. */
export interface ObservedMetrics {
  /** How long the runtime has been observed, in milliseconds. */
  readonly observedMs: number;
  /** Which part of that time was spent in polls, and in microtasks of the runtime: 0 to 1. */
  readonly busyRatio: number;
  /** How long polls took, awaits of async functions and drains of microtasks included. */
  readonly pollMs: HistogramCounts;
  /** How long tasks waited between a wake and the poll that followed. */
  readonly latencyMs: HistogramCounts;
  /** How long turns took. */
  readonly turnMs: HistogramCounts;
  /** In guest mode: how long after its request a turn began, because Bun's loop was busy with other code. */
  readonly lagMs: HistogramCounts;
}

type Checked = Required<Omit<RuntimeOptions, "sys" | "clock" | "simulated" | "watchdogMs">> & {
  readonly clock: Clock;
  readonly guestSpinMicros: number;
  /** null without a watchdog. */
  readonly watchdogMs: number | null;
};

/** About what sleeping in epoll_wait and being woken costs. */
const SPIN_MICROS = 10;
/** Longer, because a guest that parks has to wake a helper thread, which later wakes it. */
const GUEST_SPIN_MICROS = 50;
const MIN_WATCHDOG_MS = 10;

/** Fills in the defaults. Throws TypeError or RangeError for a bad option. */
export function checkOptions(options: RuntimeOptions): Checked {
  checkObject(options);
  const {
    eventfd = "lazy",
    spinMicros,
    onUncaught = "throw",
    blockingThreads = navigator.hardwareConcurrency,
    debug = process.env.GUILLOTINE_DEBUG === "1",
    cancelGraceMs = 5000,
    watchdogMs = watchdogMsOfEnvironment(),
  } = options;
  const { clock: given = systemClock } = options;
  const clock = given === "virtual" ? virtualClock() : given;
  if (eventfd !== "lazy" && eventfd !== "eager") {
    throw invalidType(`options.eventfd must be "lazy" or "eager"; got ${describe(eventfd)}`);
  }
  if (spinMicros !== undefined && (typeof spinMicros !== "number" || !(spinMicros >= 0))) {
    throw outOfRange(`options.spinMicros must be a number >= 0; got ${describe(spinMicros)}`);
  }
  if (onUncaught !== "throw" && onUncaught !== "report" && typeof onUncaught !== "function") {
    throw invalidType(
      `options.onUncaught must be "throw", "report", or a function; got ${describe(onUncaught)}`,
    );
  }
  checkCount(blockingThreads, "options.blockingThreads");
  if (typeof debug !== "boolean") {
    throw invalidType(`options.debug must be a boolean; got ${describe(debug)}`);
  }
  if (typeof clock?.now !== "function") {
    throw invalidType(
      `options.clock must be "virtual" or have a method now(); got ${describe(clock)}`,
    );
  }
  const nowMs: unknown = clock.now();
  if (typeof nowMs !== "number" || !(nowMs >= 0 && nowMs < Number.POSITIVE_INFINITY)) {
    throw invalidType(
      `options.clock.now() must return a finite number >= 0; got ${describe(nowMs)}`,
    );
  }
  checkMilliseconds(cancelGraceMs, "options.cancelGraceMs");
  if (watchdogMs !== null && !(Number.isFinite(watchdogMs) && watchdogMs >= MIN_WATCHDOG_MS)) {
    throw outOfRange(
      `options.watchdogMs must be a finite number >= ${MIN_WATCHDOG_MS}; got ${describe(watchdogMs)}`,
    );
  }
  // A virtual clock stands still during a spin: in guest mode the spin would never end.
  const fixedSpinMicros = clock.advanceTo === undefined ? spinMicros : 0;
  return {
    cancelGraceMs,
    clock,
    eventfd,
    spinMicros: fixedSpinMicros ?? SPIN_MICROS,
    guestSpinMicros: fixedSpinMicros ?? GUEST_SPIN_MICROS,
    onUncaught,
    blockingThreads,
    debug,
    watchdogMs,
  };
}

/** Returns null if the variable is not set, or 0, as for the other variables. */
function watchdogMsOfEnvironment(): number | null {
  const variable = process.env.GUILLOTINE_WATCHDOG_MS;
  if (variable === undefined || variable === "" || variable === "0") return null;
  const ms = Number(variable);
  if (!(Number.isFinite(ms) && ms >= MIN_WATCHDOG_MS)) {
    throw outOfRange(
      `GUILLOTINE_WATCHDOG_MS must be a number of milliseconds >= ${MIN_WATCHDOG_MS}; got ${describe(variable)}`,
    );
  }
  return ms;
}

/** Throws TypeError for a bad option of `spawn`. */
export function checkSpawn(options: SpawnOptions): void {
  checkObject(options, "spawn: options");
  const { name, signal, owns, token } = options;
  if (name !== undefined) checkString(name, "spawn: options.name");
  if (signal !== undefined) checkSignal(signal, "spawn: options.signal");
  if (token !== undefined && !(token instanceof CancelToken)) {
    throw invalidType(`spawn: options.token must be a CancelToken; got ${describe(token)}`);
  }
  if (owns !== undefined) checkDisposable(owns, "spawn: options.owns");
}
