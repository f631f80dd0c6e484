// EventSink: the receiver of one registered fd's events. Registry: the part of the reactor that a sink may use.

import type { WaitingFd } from "../core/context.ts";
import type { Clock } from "../sys/clock.ts";
import type { Sys } from "../sys/sys.ts";

/** Receives the events of one fd. It only records and wakes; it never polls a future. */
export interface EventSink {
  /** `events` is a bit set: EPOLLIN, EPOLLOUT, ... */
  onEvents(events: number): void;
  /** The epoll fd closes, and the registration with it. */
  onReactorClosed(): void;
  /** Returns true if an event of this fd could still wake a task. */
  canWake(): boolean;
  /** The socket of this fd, as the console shows it; null and absent if there is none to show. */
  readonly shown?: ShownFd | null;
}

/** A registered fd, as the console shows it. */
export interface ShownFd extends WaitingFd {
  /** The class of the socket, such as `TcpStream`. */
  readonly kind: string;
}

/** Registers fds with epoll. The Reactor implements it. */
export interface Registry {
  readonly sys: Sys;
  readonly clock: Clock;
  /** Registers an fd that was just opened, or closes it on failure. Returns the slot or the negative errno. */
  registerOpened(sink: EventSink, fd: number, events: number): number;
  /** Deregisters `fd`. Must be called before `fd` is closed. */
  deregister(slot: number, fd: number): void;
}
