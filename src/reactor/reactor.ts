// Reactor: one epoll instance, the table of sinks that receive its events, and the timers. `turn` makes one round of
// epoll_wait. It knows wakers, not tasks.
//
// Invariant: a slot's generation changes with its owner, so a stale event never reaches a later owner.

import { invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { Context } from "../core/context.ts";
import { currentContextOrNull } from "../core/current.ts";
import { type Clock, systemClock } from "../sys/clock.ts";
import { defaultSys } from "../sys/default.ts";
import { EpollEvents } from "../sys/epoll.ts";
import { check, EINTR } from "../sys/errno.ts";
import type { Sys } from "../sys/sys.ts";
import type { EventSink, Registry, ShownFd } from "./sink.ts";
import { Timers } from "./timers.ts";

const EVENTS_PER_ROUND = 1024;

export class Reactor implements Registry {
  readonly sys: Sys;
  readonly clock: Clock;
  /** -1 once closed: the kernel may then give the number to another file. */
  epollFd: number;
  readonly timers: Timers;
  /** For metrics: the number of rounds, and of events received. */
  rounds = 0;
  events = 0;
  /**
   * Called when a waker's eventfd may have become able, or unable, to wake a task. This can happen outside a poll. A
   * parked guest that nothing could wake does not watch epoll, so it must check again.
   */
  onWakersChange: (() => void) | null = null;
  /** Registered sinks by slot. `free` lists the empty slots. */
  private readonly sinks: (EventSink | null)[] = [];
  /** By slot: the number of its earlier owners. */
  private readonly generations: number[] = [];
  private readonly free: number[] = [];
  /** The slot in which `canBeWoken` last found a waiter. Usually it still has one. */
  private waitedOnSlot = 0;
  /** The events of the round in progress. */
  private readonly buffer = new EpollEvents(EVENTS_PER_ROUND);

  constructor(sys: Sys, clock: Clock = systemClock) {
    this.sys = sys;
    this.clock = clock;
    this.epollFd = check(sys.epollCreate(), "epoll_create1");
    this.timers = new Timers(this);
  }

  /** The number of registered fds. */
  get size(): number {
    return this.sinks.length - this.free.length;
  }

  /** Registers `fd` and sends its events to `sink`. Returns the slot or the negative errno. */
  register(sink: EventSink, fd: number, events: number): number {
    const slot = this.free.pop() ?? this.sinks.length;
    this.sinks[slot] = sink;
    this.generations[slot] ??= 0;
    const added = this.sys.epollAdd(this.epollFd, fd, events, slot, this.generationOf(slot));
    if (added >= 0) return slot;
    this.remove(slot);
    return added;
  }

  /** Like `register`, for an fd that was just opened: closes it if registration fails. */
  registerOpened(sink: EventSink, fd: number, events: number): number {
    const slot = this.register(sink, fd, events);
    if (slot < 0) this.sys.close(fd);
    return slot;
  }

  /**
   * Changes the events of a registered fd. Conditions that already hold are reported again. Returns 0 or the negative
   * errno.
   */
  modify(slot: number, fd: number, events: number): number {
    return this.sys.epollModify(this.epollFd, fd, events, slot, this.generationOf(slot));
  }

  /** Deregisters `fd`. Must be called before `fd` is closed. */
  deregister(slot: number, fd: number): void {
    this.sys.epollDelete(this.epollFd, fd);
    this.remove(slot);
  }

  /** Sends the events of a slot to another sink from now on. */
  replace(slot: number, sink: EventSink): void {
    this.sinks[slot] = sink;
  }

  private remove(slot: number): void {
    this.sinks[slot] = null;
    this.generations[slot] = (this.generationOf(slot) + 1) >>> 0;
    this.free.push(slot);
  }

  private generationOf(slot: number): number {
    return this.generations[slot] ?? 0;
  }

  /**
   * Makes one epoll round: waits for events if `canSleep`, passes them to their sinks, expires timers, and returns the
   * number of events. A signal (EINTR) ends the wait early with 0; the caller's loop calls again.
   */
  turn(canSleep: boolean): number {
    this.rounds++;
    const timeoutMs = this.timers.prepare(canSleep);
    const count = this.sys.epollWait(this.epollFd, this.buffer, timeoutMs);
    if (count < 0 && count !== -EINTR) check(count, "epoll_wait");
    if (count > 0) this.events += count;
    for (let index = 0; index < count; index++) {
      const slot = this.buffer.slot(index);
      if (this.generationOf(slot) !== this.buffer.generation(index)) continue; // of an earlier owner
      this.sinks[slot]?.onEvents(this.buffer.events(index));
    }
    if (canSleep && count <= 0) this.timers.jump();
    this.timers.expire();
    return Math.max(count, 0);
  }

  /** How many slots there are: some are empty. */
  get slots(): number {
    return this.sinks.length;
  }

  /** Returns the fd that is registered in a slot; null if there is none to show. */
  shownAt(slot: number): ShownFd | null {
    return this.sinks[slot]?.shown ?? null;
  }

  /** Returns true if a timer or a registered fd could still wake a task. If not, a sleep would never end. */
  canBeWoken(): boolean {
    if (this.timers.size > 0 || this.sinks[this.waitedOnSlot]?.canWake()) return true;
    this.waitedOnSlot = this.sinks.findIndex((sink) => sink?.canWake());
    return this.waitedOnSlot >= 0;
  }

  close(): void {
    this.timers.close();
    for (const sink of this.sinks) sink?.onReactorClosed();
    this.sinks.length = 0;
    this.free.length = 0;
    this.sys.close(this.epollFd);
    this.epollFd = -1;
  }
}

/** Returns the reactor of the runtime that is polling. Throws TypeError if the runtime is not this library's. */
export function reactorOf(cx: Context): Reactor {
  const { reactor } = cx.runtime;
  if (!(reactor instanceof Reactor))
    throw invalidType(
      `cx.runtime.reactor must be a Reactor of this library; got ${describe(reactor)}`,
    );
  return reactor;
}

/** Returns the Sys of the runtime that is polling; outside a poll, the thread's default. */
export function currentSys(): Sys {
  const cx = currentContextOrNull();
  return cx === null ? defaultSys() : reactorOf(cx).sys;
}

/** Returns the clock of the runtime that is polling; outside a poll, the system clock. */
export function currentClock(): Clock {
  const cx = currentContextOrNull();
  return cx === null ? systemClock : reactorOf(cx).clock;
}
