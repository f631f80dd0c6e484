// Reactor: one epoll instance, the table from its events to their sinks, and one round of waiting.
// It knows wakers, not tasks.

import type { Context } from "../core/context.ts";
import { currentContextOrNull } from "../core/current.ts";
import { type Clock, systemClock } from "../sys/clock.ts";
import { defaultSys } from "../sys/default.ts";
import { EpollEvents } from "../sys/epoll.ts";
import { check, EINTR } from "../sys/errno.ts";
import type { Sys } from "../sys/sys.ts";
import type { EventSink, Registry } from "./sink.ts";
import { Timers } from "./timers.ts";

const EVENTS_PER_ROUND = 1024;

export class Reactor implements Registry {
  readonly sys: Sys;
  readonly clock: Clock;
  /** -1 once closed, because the kernel may have given the number to another file by then. */
  epollFd: number;
  readonly timers: Timers;
  /** For metrics: rounds made, and events received. */
  rounds = 0;
  events = 0;
  /**
   * Called when a waker's eventfd begins or ceases to be able to wake a task. That may happen outside a poll,
   * and a parked guest that nothing could wake watches nothing.
   */
  onWakersChange: (() => void) | null = null;
  /** Registered sinks by slot. An empty slot is in `#free`. */
  readonly #sinks: (EventSink | null)[] = [];
  /** How many owners each slot has had. An event of an earlier owner must not reach the next one. */
  readonly #generations: number[] = [];
  readonly #free: number[] = [];
  /** The slot in which `canBeWoken` last found a waiter. Usually there still is one. */
  #waitedOnSlot = 0;
  /** The events of the round in progress. */
  readonly #events = new EpollEvents(EVENTS_PER_ROUND);

  constructor(sys: Sys, clock: Clock = systemClock) {
    this.sys = sys;
    this.clock = clock;
    this.epollFd = check(sys.epollCreate(), "epoll_create1");
    this.timers = new Timers(this);
  }

  /** The number of registered fds. */
  get size(): number {
    return this.#sinks.length - this.#free.length;
  }

  /** Registers `fd` and sends its events to `sink`. Returns the slot or the negative errno. */
  register(sink: EventSink, fd: number, events: number): number {
    const slot = this.#free.pop() ?? this.#sinks.length;
    this.#sinks[slot] = sink;
    this.#generations[slot] ??= 0;
    const added = this.sys.epollAdd(this.epollFd, fd, events, slot, this.#generationOf(slot));
    if (added >= 0) return slot;
    this.#remove(slot);
    return added;
  }

  /** Like `register`, for an fd that was just opened: closes it if registration fails. */
  registerOpened(sink: EventSink, fd: number, events: number): number {
    const slot = this.register(sink, fd, events);
    if (slot < 0) this.sys.close(fd);
    return slot;
  }

  /** Changes the events of a registered fd. Events already true are reported again. Returns 0 or the negative errno. */
  modify(slot: number, fd: number, events: number): number {
    return this.sys.epollModify(this.epollFd, fd, events, slot, this.#generationOf(slot));
  }

  /** Deregisters `fd`. Must be called before `fd` is closed. */
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
   * Makes one epoll round: waits for events if `canSleep`, passes them to their sinks, and returns how many
   * came. A signal ends the wait early with none; the caller's loop calls again.
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
    if (canSleep && count <= 0) this.timers.jump();
    this.timers.expire();
    return Math.max(count, 0);
  }

  /** Returns true if anything registered here could still wake a task. If not, sleeping would never end. */
  canBeWoken(): boolean {
    if (this.timers.size > 0 || this.#sinks[this.#waitedOnSlot]?.canWake()) return true;
    this.#waitedOnSlot = this.#sinks.findIndex((sink) => sink?.canWake());
    return this.#waitedOnSlot >= 0;
  }

  /** Returns true if the process could open `count` more fds now. */
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

/** Returns the reactor of the runtime that is polling. */
export function reactorOf(cx: Context): Reactor {
  const { reactor } = cx.runtime;
  if (!(reactor instanceof Reactor))
    throw new TypeError("cx.runtime.reactor must be a Reactor of this library");
  return reactor;
}

/** Returns the Sys of the runtime that is polling; outside a poll, the thread's default. */
export function currentSys(): Sys {
  const cx = currentContextOrNull();
  return cx === null ? defaultSys() : reactorOf(cx).sys;
}

/** Returns the clock of the runtime that is polling; outside a poll, the system's. */
export function currentClock(): Clock {
  const cx = currentContextOrNull();
  return cx === null ? systemClock : reactorOf(cx).clock;
}
