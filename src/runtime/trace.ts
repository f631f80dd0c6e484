// Trace: publishes what the runtime does on node:diagnostics_channel, and prints it to stderr on request.
//
// Usually there is no subscriber. So the executor asks `isTraced` once per turn, and the hot path tests whether there
// is an observer (observer.ts), which publishes the events.

import type { AsyncLocalStorage } from "node:async_hooks";
import type { Channel } from "node:diagnostics_channel";
import { invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { systemClock } from "../sys/clock.ts";
import { writeToStderr } from "../sys/stderr.ts";

/** Which end of something that takes time an event marks. */
export type TracePhase = "start" | "end";

/** A `blockOn` or `block` began or ended to hold the thread. Channel `guillotine:block`. */
export interface TraceBlock {
  readonly phase: TracePhase;
  /** The number of the runtime in its thread: 1, 2, 3, ... */
  readonly runtime: number;
  /** `blockOn` or `block`. */
  readonly name: string;
}

/** A task was spawned or ended. Channel `guillotine:task`. The start is published in the code that spawns the task. */
export interface TraceTask {
  readonly phase: TracePhase;
  readonly runtime: number;
  /** The number of the task in its runtime: 1, 2, 3, ... */
  readonly id: number;
  /** The name given to `spawn`; `#id` by default. */
  readonly name: string;
  /** The id of the task that spawned this one; null if no task of this runtime did. */
  readonly parent: number | null;
  /** Only at the end: how the task ended. */
  readonly outcome?: "value" | "error" | "aborted";
}

/**
 * A poll of a task, or of one future that a task's async function awaits. Channel `guillotine:poll`. Stores that
 * `bindStore` bound to this channel are set while the task's future is polled.
 */
export interface TracePoll {
  readonly phase: TracePhase;
  readonly runtime: number;
  /** The id of the task; 0 for an await that no task owns. */
  readonly id: number;
  readonly name: string;
  readonly parent: number | null;
  /** True for the poll of a future that an async function awaits: the function continues in a later drain. */
  readonly isAwait?: true;
  /** Only at the end of a task's poll: false if the task has ended. */
  readonly isPending?: boolean;
}

/** Microtasks run, which continue async functions. Channel `guillotine:drain`. */
export interface TraceDrain {
  readonly phase: TracePhase;
  readonly runtime: number;
}

/** Something woke a task. Channel `guillotine:wake`. */
export interface TraceWake {
  readonly runtime: number;
  /** The id of the task that was woken. */
  readonly id: number;
  readonly name: string;
  /** The id of the task whose poll woke it; null if an event, a timer or other code did. */
  readonly by: number | null;
}

/** The runtime began or ended to wait for events. Channel `guillotine:park`. */
export interface TracePark {
  readonly phase: TracePhase;
  readonly runtime: number;
}

/** The sizes of the runtime's queues before each reactor round. Channel `guillotine:round`. */
export interface TraceRound {
  readonly runtime: number;
  /** How many tasks and awaits are in the ready queue. */
  readonly ready: number;
  /** How many tasks, and awaits that no task owns, have not ended. */
  readonly alive: number;
  /** How many deadlines are pending. */
  readonly timers: number;
}

/** What each channel publishes. The name of a channel is `guillotine:` and the key. */
export interface TraceEvents {
  readonly block: TraceBlock;
  readonly task: TraceTask;
  readonly poll: TracePoll;
  readonly drain: TraceDrain;
  readonly wake: TraceWake;
  readonly park: TracePark;
  readonly round: TraceRound;
}

/** A channel of node:diagnostics_channel that knows the type of its events. */
export interface TraceChannel<E> {
  readonly name: string | symbol;
  readonly hasSubscribers: boolean;
  /** Calls `listener` with each event. An error that it throws becomes an `uncaughtException`. */
  subscribe(listener: (event: E) => void): void;
  /** Returns false if `listener` was not subscribed. */
  unsubscribe(listener: (event: E) => void): boolean;
  /** Sets `store` to what `transform` returns while the library runs what the event announces. */
  bindStore<S>(store: AsyncLocalStorage<S>, transform?: (event: E) => S): void;
  /** Returns false if `store` was not bound. */
  unbindStore<S>(store: AsyncLocalStorage<S>): boolean;
}

const NAMES = ["block", "task", "poll", "drain", "wake", "park", "round"] as const;

type Channels = Readonly<Record<keyof TraceEvents, Channel>>;

/** Opened by the first runtime, so that importing the library does not load node:diagnostics_channel. */
let channels: Channels | null = null;

function openChannels(): Channels {
  const { channel } = process.getBuiltinModule("node:diagnostics_channel");
  const opened: Partial<Record<keyof TraceEvents, Channel>> = {};
  for (const name of NAMES) opened[name] = channel(`guillotine:${name}`);
  return opened as Channels;
}

/**
 * Returns the channel of this thread that publishes one kind of events, of all runtimes. A subscription takes effect
 * at a runtime's next turn. Publishing to nobody costs nothing.
 *
 * Throws TypeError if there is no such channel.
 *
 * @example
 * const tasks = traceChannel("task");
 * const onTask = ({ phase, name, outcome }: TraceEvents["task"]) => {
 *   if (phase === "end" && outcome === "error") console.log(`${name} failed`);
 * };
 * tasks.subscribe(onTask);
 * await sleep(10); // the program runs
 * tasks.unsubscribe(onTask);
 */
export function traceChannel<K extends keyof TraceEvents>(name: K): TraceChannel<TraceEvents[K]> {
  channels ??= openChannels();
  if (typeof name !== "string" || !Object.hasOwn(channels, name)) {
    throw invalidType(
      `traceChannel: name must be one of ${NAMES.join(", ")}; got ${describe(name)}`,
    );
  }
  return channels[name] as unknown as TraceChannel<TraceEvents[K]>; // @types/node has a void for a boolean
}

/** Returns true if any channel has a subscriber. */
export function isTraced(): boolean {
  channels ??= openChannels();
  const { block, task, poll, drain, wake, park, round } = channels;
  return (
    poll.hasSubscribers ||
    wake.hasSubscribers ||
    task.hasSubscribers ||
    park.hasSubscribers ||
    block.hasSubscribers ||
    drain.hasSubscribers ||
    round.hasSubscribers
  );
}

/** Publishes an event. Must be called only after `isTraced` has returned true. */
export function trace<K extends keyof TraceEvents>(name: K, event: TraceEvents[K]): void {
  channels![name].publish(event);
}

/** Publishes an event, and returns what `step` returns with the stores of its channel set. Like `trace`. */
export function traceAround<K extends keyof TraceEvents, T>(
  name: K,
  event: TraceEvents[K],
  step: () => T,
): T {
  return channels![name].runStores(event, step);
}

let isPrinting = false;

/** Prints all events of this thread to stderr from now on. `GUILLOTINE_TRACE=1` calls it. Idempotent. */
export function printTrace(): void {
  if (isPrinting) return;
  isPrinting = true;
  for (const name of NAMES) {
    if (name === "round") continue; // only sizes, one line for each call of epoll_wait
    traceChannel(name).subscribe((event: object) => {
      const time = systemClock.now().toFixed(3);
      writeToStderr(`guillotine ${time} ${name} ${format(event)}\n`);
    });
  }
}

/** Formats an event as `start #2 napper isPending=true`. */
function format(event: object): string {
  // Without the ids of the runtime and the spawner: a line has to fit.
  const {
    phase = "",
    id,
    name = "",
    runtime: _,
    parent,
    by,
    ...rest
  } = event as Record<string, unknown>;
  const label = id === undefined || name === `#${id}` ? `${name}` : `#${id} ${name}`;
  const fields = Object.entries(rest).map(([key, value]) => `${key}=${value}`);
  return [phase, label, ...fields].filter((part) => part !== "").join(" ");
}
