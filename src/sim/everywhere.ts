// cancelEverywhere and failEverywhere: run work once for each place at which something can go wrong, let it go wrong
// there, and check that nothing is left behind.

import { invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { Coroutine, Future } from "../core/future.ts";
import type { IntoFuture } from "../core/into-future.ts";
import {
  EACCES,
  EADDRINUSE,
  ECONNABORTED,
  ECONNREFUSED,
  ECONNRESET,
  EINTR,
  EMFILE,
  ENETUNREACH,
  ENFILE,
  ENOBUFS,
  ENOMEM,
  ENOTCONN,
  EPERM,
  EPIPE,
  EPROTO,
  ETIMEDOUT,
  SysError,
} from "../sys/errno.ts";
import type { Sys } from "../sys/sys.ts";
import { spawn } from "../task/spawn.ts";
import { sleep } from "../time/sleep.ts";
import { Choices } from "./choices.ts";
import { SimulationError } from "./errors.ts";
import { EADDRNOTAVAIL } from "./kernel/errno.ts";
import { mapped } from "./process.ts";
import { runOnce } from "./simulate.ts";
import type { World } from "./world.ts";

/** Work that can be started again and again. */
export type RepeatableWork = (world: World) => IntoFuture<unknown>;

/** Checks what the harness cannot know: that no lock is held, that no count is off. Throws if something is wrong. */
export type Check = () => void;

const MAX_TURNS = 1_000_000;

interface Attempt {
  /** Called before each task of the scenario's host that runs, once the work has started. */
  readonly onRun?: (abort: () => void, describeWait: () => string) => void;
  readonly wrapSys?: (sys: Sys) => Sys;
  /** Whether the work itself may fail. */
  readonly mayFail: boolean;
}

/** Runs `work` once as a task. Throws if it hangs, if it leaves something behind, or if `check` throws. */
function attempt(work: RepeatableWork, check: Check | undefined, options: Attempt): void {
  const { onRun, wrapSys, mayFail } = options;
  const scenario = function* (world: World): Coroutine<void> {
    yield* sleep(1); // opens the timerfd, which belongs to the runtime
    const { runtime, kernel, ready } = world.scenario;
    const task = spawn(() => work(world) as Future<unknown>, { name: "work" });
    if (onRun !== undefined) {
      const waitsOf = (): string =>
        runtime
          .tasks()
          .filter(({ name }) => name !== "main")
          .map(({ name, waitsOn }) => `${name} waited on ${waitsOn}`)
          .join("; ");
      ready.onRun = () => onRun(() => task.abort(), waitsOf);
    }
    try {
      yield* task;
    } catch (error) {
      if (!(mayFail || task.isAborted)) throw error;
    }
    ready.onRun = null;
    yield* sleep(1); // closes and wakes that the end has caused
    const left = [
      ...kernel.programFds.map((fd) => `fd ${fd} is open`),
      ...runtime
        .tasks()
        .filter(({ name }) => name !== "main")
        .map(({ name, waitsOn }) => `task ${name} waits on ${waitsOn}`),
    ];
    const timers = runtime.reactor.timers.size;
    if (timers > 0) left.push(`${timers} ${timers === 1 ? "timer is" : "timers are"} pending`);
    if (left.length > 0) throw new SimulationError(`something is left behind: ${left.join("; ")}`);
    try {
      check?.();
    } catch (error) {
      problem = { error };
    }
  };
  let problem: { readonly error: unknown } | null = null;
  const { outcome, world } = runOnce(scenario, {
    seed: 0,
    choices: new Choices(),
    isLogged: false,
    maxTurns: MAX_TURNS,
    ...(wrapSys === undefined ? {} : { wrapSys }),
  });
  if (world.stuck !== null) throw world.stuck;
  if (problem !== null) throw (problem as { readonly error: unknown }).error;
  if (!("error" in outcome) || (mayFail && !(outcome.error instanceof SimulationError))) return;
  throw outcome.error;
}

function checkWork(work: unknown, name: string): asserts work is RepeatableWork {
  if (typeof work === "function") return;
  throw invalidType(
    `${name}: work must be a function, because it runs many times; got ${describe(work)}`,
  );
}

/** Returns `error` with a message that begins with `what`. */
function at(what: string, error: unknown): SimulationError {
  const text = error instanceof Error ? error.message : describe(error);
  return new SimulationError(`${what}: ${text}`, { cause: error });
}

/**
 * Cancels `work` everywhere: runs it once in a simulated world to count its steps, and then once for each step, and
 * aborts it just before that step. A step is a poll of one of its tasks or awaits, so the abort also hits work that was
 * woken and has not run yet. After each run no fd, no task and no timer may be left, and `check` must not throw. Returns
 * the number of runs. Throws SimulationError with the step and what the work waited for.
 *
 * @example
 * const pool = new Semaphore(1);
 * const runs = cancelEverywhere(
 *   function* () {
 *     using permit = yield* pool.acquire();
 *     yield* sleep(10);
 *   },
 *   () => {
 *     if (pool.available !== 1) throw new Error("the permit is lost");
 *   },
 * );
 * console.log(runs > 2); // true
 */
export function cancelEverywhere(work: RepeatableWork, check?: Check): number {
  checkWork(work, "cancelEverywhere");
  let steps = 0;
  attempt(work, check, {
    mayFail: false,
    onRun: () => {
      steps++;
    },
  });
  for (let step = 1; step <= steps; step++) {
    let count = 0;
    let waits = "";
    try {
      attempt(work, check, {
        mayFail: true, // so may hosts that had a connection to the cancelled work
        onRun(abort, describeWaits) {
          if (++count !== step) return;
          waits = describeWaits();
          abort();
        },
      });
    } catch (error) {
      throw at(`cancelEverywhere: cancelled at step ${step} of ${steps} (${waits})`, error);
    }
  }
  return steps + 1;
}

const OPEN_ERRNOS = [EMFILE, ENFILE, ENOMEM] as const;
const SEND_ERRNOS = [ECONNRESET, EPIPE, EINTR, ENOBUFS, ENOMEM] as const;
const RECEIVE_ERRNOS = [ECONNRESET, ETIMEDOUT, ECONNREFUSED, EINTR, ENOMEM] as const;
const EIO = 5;
const ENOSPC = 28;

/**
 * The errnos that each call may return, per its man page; without those that only a wrong argument causes, and without
 * EAGAIN, which the kernel returns only if an event follows.
 */
const ERRNOS: Readonly<Partial<Record<keyof Sys, readonly number[]>>> = {
  socket: [...OPEN_ERRNOS, ENOBUFS, EACCES],
  bind: [EADDRINUSE, EADDRNOTAVAIL, EACCES],
  listen: [EADDRINUSE],
  connect: [ECONNREFUSED, ETIMEDOUT, ENETUNREACH, EADDRNOTAVAIL, EPERM],
  accept: [ECONNABORTED, EPROTO, EINTR, EPERM, ...OPEN_ERRNOS, ENOBUFS],
  getsockname: [ENOBUFS],
  setsockopt: [ENOMEM],
  setsockoptBytes: [ENOBUFS, ENOMEM],
  recv: RECEIVE_ERRNOS,
  recvfrom: RECEIVE_ERRNOS,
  recvmmsg: RECEIVE_ERRNOS,
  recvmsg: RECEIVE_ERRNOS,
  send: SEND_ERRNOS,
  sendv: SEND_ERRNOS,
  sendto: [...SEND_ERRNOS, ENETUNREACH, EPERM],
  sendmsg: [...SEND_ERRNOS, ENETUNREACH, EPERM],
  shutdown: [ENOTCONN],
  read: [EINTR, EIO],
  write: [EINTR, EIO, EPIPE],
  writev: [EINTR, EIO, EPIPE],
  pipe: OPEN_ERRNOS,
  socketpair: OPEN_ERRNOS,
  fchmod: [EIO],
  chmod: [EACCES, EIO, ENOMEM],
  unlink: [EACCES, EIO, ENOMEM],
  lstat: [EACCES, ENOMEM],
  eventfd: OPEN_ERRNOS,
  epollAdd: [ENOMEM, ENOSPC],
  epollModify: [ENOMEM],
  epollWait: [EINTR],
  close: [EINTR, EIO],
};

/**
 * Lets every system call of `work` fail once: runs it in a simulated world to count its calls, and then once for each
 * call and each errno that its man page lists. The work may throw, but it must end. After each run no fd, no task and no
 * timer may be left, and `check` must not throw. Returns the number of runs. Throws SimulationError with the call and
 * the errno. (A `close` that fails has closed the fd, as on Linux.)
 *
 * @example
 * failEverywhere(function* (world) {
 *   world.host("server", function* () {
 *     using listener = TcpListener.bind("0.0.0.0:7000");
 *     using stream = yield* listener.accept();
 *     yield* stream.writeAll("hello");
 *   });
 *   yield* sleep(10);
 *   using stream = yield* timeout(60_000, TcpStream.connect("server:7000"));
 *   yield* timeout(60_000, stream.read(new Uint8Array(8)));
 * });
 */
export function failEverywhere(work: RepeatableWork, check?: Check): number {
  checkWork(work, "failEverywhere");
  const calls: (keyof Sys)[] = [];
  attempt(work, check, {
    mayFail: false,
    wrapSys: (sys) =>
      mapped(sys, (method, name) => (...args) => {
        if (ERRNOS[name] !== undefined) calls.push(name);
        return method(...args);
      }),
  });
  let runs = 1;
  for (const [index, name] of calls.entries()) {
    for (const errno of ERRNOS[name]!) {
      runs++;
      try {
        failAt(work, check, index, errno);
      } catch (error) {
        const { code } = new SysError(-errno, name);
        const what = `failEverywhere: with ${code} from call ${index + 1} of ${calls.length}, ${name}`;
        throw at(what, error);
      }
    }
  }
  return runs;
}

function failAt(
  work: RepeatableWork,
  check: Check | undefined,
  index: number,
  errno: number,
): void {
  let count = 0;
  const wrapSys = (sys: Sys): Sys =>
    mapped(sys, (method, name) => (...args) => {
      if (ERRNOS[name] === undefined || count++ !== index) return method(...args);
      if (name === "close") method(...args);
      return -errno;
    });
  attempt(work, check, { mayFail: true, wrapSys });
}
