// What a runtime may be told, and what it may be asked: checked here, so that runtime.ts need not.

import { checkObject, checkSignal } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { type Clock, systemClock } from "../sys/clock.ts";
import type { Sys } from "../sys/sys.ts";
import type { TaskInfo } from "./task-info.ts";

/**
 * What is done with the failure of a task that nobody waits for: no handle of it has been polled, or
 * whoever did has given up (a `timeout`, a lost `race`).
 *
 * - `"throw"` (default): `blockOn` or `block` throws an UncaughtTaskError when it would return, if the
 *   handle is still unpolled then. One that goes on prints a failure 10,000 polls later, and of those that
 *   it has printed throws the first 64.
 * - `"report"`: it is printed, and the runtime goes on: what a server wants.
 * - a function: it is called with the error and the task, and the runtime goes on.
 *
 * In guest mode nothing returns: with `"throw"` the error goes to `uncaughtException`, unless somebody has
 * joined the task by the time that no other task is ready (or, if some always are, 10,000 polls later).
 */
export type OnUncaught = "throw" | "report" | ((error: unknown, task: TaskInfo) => void);

/** What a Runtime may be told. */
export interface RuntimeOptions {
  /**
   * `"lazy"` (default): a future's eventfd is made when `waker.fd` is first asked for, and a wake on
   * the runtime's own thread just queues the task. `"eager"`: one per task, made when it is spawned,
   * and each wake is a write to it.
   */
  readonly eventfd?: "eager" | "lazy";
  /**
   * How long to look at epoll without sleeping after activity, in microseconds: as long as it pays,
   * that is, not after several times in a row in vain, until an event comes soon again. By default 10
   * in `blockOn`, and 50 in guest mode: about what to sleep there costs. 0: not at all.
   */
  readonly spinMicros?: number;
  readonly onUncaught?: OnUncaught;
  /** Workers that `spawnBlocking` may have at once; the number of processors by default. */
  readonly blockingThreads?: number;
  /**
   * Notes where tasks are spawned and futures made, for the stacks of their errors, and reports futures
   * that were made and never polled (a forgotten `yield*`). Costs about a microsecond for each. Default:
   * whether `GUILLOTINE_DEBUG` is `1`.
   */
  readonly debug?: boolean;
  /** The kernel. Default: libc. See `bun-guillotine/sys`. */
  readonly sys?: Sys;
  /** The clock. Default: `performance.now()`. */
  readonly clock?: Clock;
}

/** What `spawn` may be told. */
export interface SpawnOptions {
  /** Shown in errors and traces; `#id` by default. */
  readonly name?: string;
  /** Aborts the task: awaiting it then throws `signal.reason`. No listener is left on the signal. */
  readonly signal?: AbortSignal;
}

/** Counts since the runtime was made, and what there is now. */
export interface Metrics {
  readonly tasksAlive: number;
  readonly tasksEnded: number;
  readonly polls: number;
  /** Wakes that queued a task; those of a task that was queued already are not counted. */
  readonly wakes: number;
  /** Calls of epoll_wait. */
  readonly rounds: number;
  /** What they returned. */
  readonly events: number;
  /** Times it went to sleep, or could have. */
  readonly parks: number;
  /** Deadlines that are pending now. */
  readonly timers: number;
  /** Fds that are registered now. */
  readonly sources: number;
  /** Blocking jobs without an answer now. */
  readonly jobs: number;
}

type Checked = Required<Omit<RuntimeOptions, "sys">> & { readonly guestSpinMicros: number };

/** How long to look again before it sleeps: about what to sleep and to be woken costs. */
const SPIN_MICROS = 10;
/** A guest that parks has a helper to wake, and to be woken by. */
const GUEST_SPIN_MICROS = 50;

export function checkOptions(options: RuntimeOptions): Checked {
  checkObject(options);
  const {
    eventfd = "lazy",
    spinMicros,
    onUncaught = "throw",
    blockingThreads = navigator.hardwareConcurrency,
    debug = process.env.GUILLOTINE_DEBUG === "1",
    clock = systemClock,
  } = options;
  if (eventfd !== "lazy" && eventfd !== "eager") {
    throw new TypeError(`options.eventfd must be "lazy" or "eager"; got ${describe(eventfd)}`);
  }
  if (spinMicros !== undefined && (typeof spinMicros !== "number" || !(spinMicros >= 0))) {
    throw new RangeError(`options.spinMicros must be 0 or more; got ${describe(spinMicros)}`);
  }
  if (onUncaught !== "throw" && onUncaught !== "report" && typeof onUncaught !== "function") {
    throw new TypeError(
      `options.onUncaught must be "throw", "report" or a function; got ${describe(onUncaught)}`,
    );
  }
  if (!Number.isInteger(blockingThreads) || blockingThreads < 1) {
    throw new RangeError(
      `options.blockingThreads must be a positive integer; got ${describe(blockingThreads)}`,
    );
  }
  if (typeof debug !== "boolean") {
    throw new TypeError(`options.debug must be a boolean; got ${describe(debug)}`);
  }
  if (typeof clock?.now !== "function") {
    throw new TypeError(`options.clock must have a method now(); got ${describe(clock)}`);
  }
  return {
    clock,
    eventfd,
    spinMicros: spinMicros ?? SPIN_MICROS,
    guestSpinMicros: spinMicros ?? GUEST_SPIN_MICROS,
    onUncaught,
    blockingThreads,
    debug,
  };
}

export function checkSpawn(options: SpawnOptions): void {
  checkObject(options);
  const { name, signal } = options;
  if (name !== undefined && typeof name !== "string") {
    throw new TypeError(`options.name must be a string; got ${describe(name)}`);
  }
  if (signal !== undefined) checkSignal(signal, "options.signal");
}
