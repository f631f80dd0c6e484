// EventSink: what one registered fd means to the reactor. Registry: the reactor, as its sinks may know it.

import type { Clock } from "../sys/clock.ts";
import type { Sys } from "../sys/sys.ts";

/** Receives the events of one fd. It only records and wakes; it never polls a future. */
export interface EventSink {
  onEvents(events: number): void;
  onReactorClosed(): void;
  /** Returns true if an event of this fd could still wake a task. */
  canWake(): boolean;
}

export interface Registry {
  readonly sys: Sys;
  readonly clock: Clock;
  /** Registers an fd that was just opened, and closes it if that fails. Returns its slot or the negative errno. */
  registerOpened(sink: EventSink, fd: number, events: number): number;
  /** Must be called before `fd` is closed. */
  deregister(slot: number, fd: number): void;
}
