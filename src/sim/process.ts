// Process: one life of a simulated host: its network stack, its Sys, and the Runtime that performs its work.

import { isThenable } from "../base/thenable.ts";
import type { Future } from "../core/future.ts";
import { type IntoFuture, intoFuture } from "../core/into-future.ts";
import { type SignalWatches, swapSignals } from "../process/signals.ts";
import { callOf } from "../runtime/blocking/call.ts";
import type { RuntimeOptions } from "../runtime/options.ts";
import { Runtime } from "../runtime/runtime.ts";
import type { Task } from "../runtime/task.ts";
import type { Clock } from "../sys/clock.ts";
import { Message } from "../sys/message.ts";
import { AF_UNIX, formatAddress, SockaddrBuffer } from "../sys/sockaddr.ts";
import { METHODS, type Sys } from "../sys/sys.ts";
import { sleep } from "../time/sleep.ts";
import type { Choices } from "./choices.ts";
import { refuse } from "./errors.ts";
import type { Appointment } from "./kernel/agenda.ts";
import { SimSys } from "./kernel/sim-sys.ts";
import type { NetStack } from "./kernel/stack.ts";
import { ReadyQueue } from "./ready-queue.ts";

export interface ProcessOptions extends Pick<RuntimeOptions, "onUncaught" | "cancelGraceMs"> {
  readonly name: string;
  readonly stack: NetStack;
  readonly maxFds: number | undefined;
  readonly pid: number;
  /** Returns the address of a host; null if there is none of that name. */
  readonly resolve: (name: string) => string | null;
  readonly clock: Clock;
  readonly choices: Choices;
  /** Receives a line per system call; null without a log. */
  readonly onCall: ((line: string) => void) | null;
  /** Wraps the Sys, to inject faults. */
  readonly wrapSys: (sys: Sys) => Sys;
}

/** How long a blocking call takes: chosen in steps of a millisecond. */
const BLOCKING_STEPS_MS = 16;

export class Process {
  readonly name: string;
  readonly stack: NetStack;
  readonly kernel: SimSys;
  /** The Sys that the runtime uses: `kernel`, perhaps with a log and faults around it. */
  readonly sys: Sys;
  readonly runtime: Runtime;
  readonly main: Task<unknown>;
  /** The signals that the process waits for. */
  readonly signals: SignalWatches = new Map();
  readonly ready: ReadyQueue;
  private readonly choices: Choices;
  /** The end of the epoll_wait that the process is in, if that has a timeout. */
  private wait: Appointment | null = null;
  private isWaitOver = false;

  constructor(work: IntoFuture<unknown>, options: ProcessOptions) {
    const { name, stack, choices, onCall, clock, maxFds } = options;
    this.name = name;
    this.stack = stack;
    this.choices = choices;
    this.ready = new ReadyQueue(choices);
    const { pid, resolve } = options;
    this.kernel = new SimSys({
      stack,
      pid,
      resolve,
      refuse,
      ...(maxFds === undefined ? {} : { maxFds }),
    });
    const wrapped = options.wrapSys(this.kernel);
    this.sys = onCall === null ? wrapped : logged(wrapped, name, onCall);
    const { onUncaught, cancelGraceMs } = options;
    this.runtime = new Runtime({
      sys: this.sys,
      clock,
      spinMicros: 0,
      debug: false,
      ...(onUncaught === undefined ? {} : { onUncaught }),
      ...(cancelGraceMs === undefined ? {} : { cancelGraceMs }),
      simulated: {
        ready: this.ready,
        callBlocking: (target, args) => this.callBlocking(target, args),
      },
    });
    this.main = this.runtime.startTask(work, { name: "main" }) as Task<unknown>;
    this.main.takeOutcome(); // the host owns its failure
  }

  /** True if a turn would do something now. */
  get canRun(): boolean {
    const { runtime, kernel } = this;
    return runtime.hasReady || this.isWaitOver || kernel.hasEvents(runtime.reactor.epollFd);
  }

  /** True once the main work and all tasks have ended. */
  get hasEnded(): boolean {
    return this.main.isEnded && this.runtime.metrics().tasksAlive === 0;
  }

  turn(): void {
    this.endWait();
    this.ready.beginTurn();
    const previous = swapSignals(this.signals);
    let waitMs: number;
    try {
      waitMs = this.runtime.hostTurn();
    } finally {
      swapSignals(previous);
    }
    if (waitMs < 0) return;
    // The runtime has no timerfd, because the process is out of fds: it relies on the timeout of epoll_wait.
    this.wait = this.stack.agenda.after(waitMs, () => {
      this.isWaitOver = true;
    });
  }

  private endWait(): void {
    this.wait?.cancel();
    this.wait = null;
    this.isWaitOver = false;
  }

  /** The process ends, and the kernel closes its fds. */
  exit(): void {
    this.endWait();
    this.ready.stop();
    this.kernel.closeAll();
  }

  /** The host loses power. Nothing runs any more, cleanup neither. */
  crash(): void {
    this.endWait();
    this.ready.stop();
    this.stack.powerOff();
  }

  private callBlocking(target: unknown, args: readonly unknown[]): Future<unknown> {
    if (typeof target !== "function") return refuse("spawnBlocking of a module", "pass a function");
    callOf(target, args); // throws what it throws outside a simulation
    // As in a Worker: the function sees neither outer variables nor the caller's objects.
    const call = new Function(`"use strict"; return (${target.toString()}\n)`)() as (
      ...args: readonly unknown[]
    ) => unknown;
    const copies = structuredClone(args);
    const { choices } = this;
    return intoFuture(function* () {
      yield* sleep(choices.pick("blocking call", BLOCKING_STEPS_MS));
      const result = call(...copies);
      if (isThenable(result)) refuse("spawnBlocking of an async function");
      return structuredClone(result);
    });
  }
}

type AnyFunction = (...args: readonly unknown[]) => unknown;

/** Returns a Sys with the methods of `sys`, each changed by `change`. */
export function mapped(
  sys: Sys,
  change: (method: AnyFunction, name: keyof Sys) => AnyFunction,
): Sys {
  const methods = (Object.keys(METHODS) as (keyof Sys)[]).map((name) => [
    name,
    change((sys[name] as AnyFunction).bind(sys), name),
  ]);
  return Object.fromEntries(methods) as Sys;
}

/** Calls that a program makes all the time, whether or not something happens. */
const UNLOGGED: ReadonlySet<string> = new Set<keyof Sys>([
  "epollWait",
  "watchEpoll",
  "currentThread",
]);

/** Logs each system call: `server recv(10003, 64 bytes) = -11`. */
function logged(sys: Sys, host: string, onCall: (line: string) => void): Sys {
  return mapped(sys, (method, name) => {
    if (UNLOGGED.has(name)) return method;
    return (...args) => {
      const result = method(...args);
      onCall(`${host} ${name}(${args.map(formatArgument).join(", ")}) = ${formatResult(result)}`);
      return result;
    };
  });
}

function formatResult(result: unknown): string {
  return typeof result === "object" ? "a file" : String(result);
}

function formatArgument(value: unknown): string {
  if (typeof value === "number") return String(value);
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (Array.isArray(value)) return `${value.length} pieces`;
  if (typeof value === "string") return value;
  if (value instanceof Message) return `${value.data.length} bytes`;
  if (!(value instanceof SockaddrBuffer)) return "…";
  if (value.family === AF_UNIX) return value.decodeUnix().replaceAll("\0", "@");
  return formatAddress(value.decode());
}
