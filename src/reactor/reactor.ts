// Reactor: one epoll instance, the table from its events to who cares, and one round of waiting.
// It knows wakers, not tasks.

import { type Context, currentContextOrNull } from "../core/context.ts";
import { EpollEvents } from "../sys/epoll.ts";
import { check, EINTR } from "../sys/errno.ts";
import { linux } from "../sys/linux.ts";
import type { Sys } from "../sys/sys.ts";
import { Timers } from "./timers.ts";

/** Who is told of the events of one fd. It only does bookkeeping and wakes; it never polls. */
export interface EventSink {
  onEvents(events: number): void;
  onReactorClosed(): void;
  /** Whether an event of this fd could still wake a task. */
  canWake(): boolean;
}

const EVENTS_PER_ROUND = 1024;

export class Reactor {
  readonly sys: Sys;
  /** -1 once closed: its number may be another's by then, the next runtime's as a rule. */
  epollFd: number;
  readonly timers: Timers;
  /** For metrics: rounds that were made, and events that came. */
  rounds = 0;
  events = 0;
  /**
   * Told when a waker's eventfd may wake a task from now on, or no longer; also outside a poll, where a
   * guest that nothing could wake watches nothing.
   */
  onWakersChange: (() => void) | null = null;
  /** Registered, by slot; an empty slot is in `#free`. */
  readonly #sinks: (EventSink | null)[] = [];
  /** Counts the owners a slot has had: an event of an earlier owner is not the next one's. */
  readonly #generations: number[] = [];
  readonly #free: number[] = [];
  /** Where `canBeWoken` last found someone who waits: usually still so. */
  #waitedOnSlot = 0;
  /** Those of the round in progress. */
  readonly #events = new EpollEvents(EVENTS_PER_ROUND);

  constructor(sys: Sys) {
    this.sys = sys;
    this.epollFd = check(sys.epollCreate(), "epoll_create1");
    this.timers = new Timers(this);
  }

  /** How many fds are registered. */
  get size(): number {
    return this.#sinks.length - this.#free.length;
  }

  /** Registers `fd`, of whose events `sink` is told: its slot, or the negative errno. */
  register(sink: EventSink, fd: number, events: number): number {
    const slot = this.#free.pop() ?? this.#sinks.length;
    this.#sinks[slot] = sink;
    this.#generations[slot] ??= 0;
    const added = this.sys.epollAdd(this.epollFd, fd, events, slot, this.#generationOf(slot));
    if (added >= 0) return slot;
    this.#remove(slot);
    return added;
  }

  /** The same for an fd that was just opened: it is closed again if that fails. */
  registerOpened(sink: EventSink, fd: number, events: number): number {
    const slot = this.register(sink, fd, events);
    if (slot < 0) this.sys.close(fd);
    return slot;
  }

  /** Asks for other events; those that are true already come again. 0, or the negative errno. */
  modify(slot: number, fd: number, events: number): number {
    return this.sys.epollModify(this.epollFd, fd, events, slot, this.#generationOf(slot));
  }

  /** Called before `fd` is closed. */
  deregister(slot: number, fd: number): void {
    this.sys.epollDelete(this.epollFd, fd);
    this.#remove(slot);
  }

  #remove(slot: number): void {
    this.#sinks[slot] = null;
    this.#generations[slot] = (this.#generationOf(slot) + 1) >>> 0;
    this.#free.push(slot);
  }

  #generationOf(slot: number): number {
    return this.#generations[slot] ?? 0;
  }

  /**
   * One epoll round: waits for events if `canSleep`, tells their sinks, returns how many came. A
   * signal ends the wait early, with none: the caller's loop comes back.
   */
  turn(canSleep: boolean): number {
    this.rounds++;
    const timeoutMs = this.timers.prepare(canSleep);
    const count = this.sys.epollWait(this.epollFd, this.#events, timeoutMs);
    if (count < 0 && count !== -EINTR) check(count, "epoll_wait");
    if (count > 0) this.events += count;
    for (let index = 0; index < count; index++) {
      const slot = this.#events.slot(index);
      if (this.#generationOf(slot) !== this.#events.generation(index)) continue; // stale
      this.#sinks[slot]?.onEvents(this.#events.events(index));
    }
    this.timers.expire();
    return Math.max(count, 0);
  }

  /** Whether anything this reactor watches could still wake a task; if not, to sleep is for ever. */
  canBeWoken(): boolean {
    if (this.timers.size > 0 || this.#sinks[this.#waitedOnSlot]?.canWake()) return true;
    this.#waitedOnSlot = this.#sinks.findIndex((sink) => sink?.canWake());
    return this.#waitedOnSlot >= 0;
  }

  /** Whether so many fds could be opened now. */
  canOpen(count: number): boolean {
    const fds: number[] = [];
    for (let fd = this.sys.eventfd(); fd >= 0; fd = this.sys.eventfd()) {
      fds.push(fd);
      if (fds.length === count) break;
    }
    for (const fd of fds) this.sys.close(fd);
    return fds.length === count;
  }

  close(): void {
    this.timers.close();
    for (const sink of this.#sinks) sink?.onReactorClosed();
    this.#sinks.length = 0;
    this.#free.length = 0;
    this.sys.close(this.epollFd);
    this.epollFd = -1;
  }
}

/** The reactor of the runtime that is polling. */
export function reactorOf(cx: Context): Reactor {
  const { reactor } = cx.runtime;
  if (!(reactor instanceof Reactor))
    throw new TypeError("cx.runtime has no reactor of this library");
  return reactor;
}

/** The kernel of the runtime that is polling, or the default. */
export function currentSys(): Sys {
  const cx = currentContextOrNull();
  return cx === null ? linux() : reactorOf(cx).sys;
}
