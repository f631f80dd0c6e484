// Signals: futures that complete when the process receives a signal. See signal(7).
//
// Facts about signals in Bun:
// - Bun's own event loop delivers signals to `process.on`. So a guest of that loop listens there. While `blockOn` holds
//   the thread, the loop does not run, so there the kernel calls a handler of ours, which writes an eventfd.
// - Bun delivers signals on the main thread only. So `signal` fails in a Worker.
// - Bun's helper threads do not block signals, so a signalfd can miss one.
//
// Invariants:
// - A signal is caught while at least one future waits for it, and not after that: a second Ctrl-C during a graceful
//   stop ends the process, as it would in a program without this library.
// - Every future that waits when a signal arrives completes. If none of them does, because all were dropped, the next
//   future for that signal completes at once. So a dropped future loses no signal. A future that completed and whose value
//   went back counts as dropped, unless another one has received that arrival or a later one: arrivals coalesce, as those
//   of the kernel do.

import type { constants } from "node:os";
import { invalidType } from "../base/check.ts";
import { codedError } from "../base/coded-error.ts";
import { describe } from "../base/describe.ts";
import type { Context, RuntimeRef } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { Leaf } from "../core/leaf.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { WaitQueue } from "../core/wait-queue.ts";
import { type Reactor, reactorOf } from "../reactor/reactor.ts";
import type { EventSink } from "../reactor/sink.ts";
import { EPOLLET, EPOLLIN } from "../sys/epoll.ts";
import { check } from "../sys/errno.ts";
import type { Sys } from "../sys/sys.ts";

/** The name of a signal, such as `"SIGTERM"`. See signal(7). */
export type SignalName = keyof typeof constants.signals;

/** Where a signal comes from, for the runtime that waits. */
interface Origin {
  /** Queues `waiter` until a signal may have arrived. */
  wait(waiter: SignalFuture, cx: Context): void;
  leave(waiter: SignalFuture): void;
}

/** One signal: how often it arrived, and what delivers it. */
class Watch {
  readonly name: SignalName;
  readonly number: number;
  /** The number of arrivals, and of those that some future has returned. */
  arrivals = 0;
  delivered = 0;
  /** How many futures have received the latest arrival that was delivered, and have not given it back. */
  private receivers = 0;
  readonly host: HostOrigin = new HostOrigin(this);
  readonly kernel: KernelOrigin = new KernelOrigin(this);

  constructor(name: SignalName) {
    this.name = name;
    this.number = process.getBuiltinModule("node:os").constants.signals[name];
  }

  onArrival(): void {
    this.arrivals++;
    this.host.waiters.wakeAll();
  }

  /** Delivers all arrivals to a future. Returns the number of the latest one. */
  deliver(): number {
    if (this.delivered < this.arrivals) this.receivers = 0;
    this.receivers++;
    this.delivered = this.arrivals;
    return this.delivered;
  }

  /** Undoes the delivery of the arrivals after `after`, up to `received`, to one future. */
  giveBack(after: number, received: number): void {
    if (received < this.delivered || --this.receivers > 0) return; // another future has received it, or a later one
    this.delivered = after;
  }
}

/** Bun's own loop, through `process.on`. */
class HostOrigin implements Origin {
  readonly waiters: WaitQueue = new WaitQueue();
  /** Arrivals that the kernel's origin has counted, and that Bun's loop will deliver as well. */
  alreadyCounted = 0;
  private readonly watch: Watch;
  private listeners = 0;

  constructor(watch: Watch) {
    this.watch = watch;
  }

  get isListening(): boolean {
    return this.listeners > 0;
  }

  wait(waiter: SignalFuture, cx: Context): void {
    if (waiter.countedIn === null) {
      waiter.countedIn = cx.runtime;
      cx.runtime.countHostWait(1);
      if (this.listeners++ === 0) process.on(this.watch.name, this.listener);
    }
    this.waiters.wait(waiter, cx.target);
  }

  leave(waiter: SignalFuture): void {
    this.waiters.leave(waiter);
    if (waiter.countedIn === null) return;
    waiter.countedIn.countHostWait(-1);
    waiter.countedIn = null;
    if (--this.listeners > 0) return;
    this.alreadyCounted = 0;
    process.off(this.watch.name, this.listener);
  }

  private readonly listener = (): void => {
    if (this.alreadyCounted > 0) this.alreadyCounted--;
    else this.watch.onArrival();
  };
}

/** The futures of one runtime that wait for the eventfd. */
class KernelQueue extends WaitQueue implements EventSink {
  onEvents(): void {
    this.wakeAll();
  }

  canWake(): boolean {
    return this.size > 0;
  }

  onReactorClosed(): void {}
}

/**
 * The eventfd that the handlers write, in the epoll of each runtime that has waited for a signal: several may wait, because
 * a `blockOn` may call the `blockOn` of another runtime. Each write is an edge for all of them. It is never read: that
 * would take the event from the others. Never closed: see sys/signal-handler.ts.
 */
class SignalEventfd {
  readonly fd: number;
  private readonly queues = new WeakMap<Reactor, KernelQueue>();

  constructor(sys: Sys) {
    this.fd = check(sys.eventfd(), "eventfd");
  }

  /** Returns the queue of a runtime. The first call registers the eventfd there. */
  queueOf(reactor: Reactor): KernelQueue {
    let queue = this.queues.get(reactor);
    if (queue === undefined) {
      queue = new KernelQueue();
      check(reactor.register(queue, this.fd, EPOLLIN | EPOLLET), "epoll_ctl");
      this.queues.set(reactor, queue);
    }
    return queue;
  }
}

const eventfds = new WeakMap<Sys, SignalEventfd>();

function eventfdOf(sys: Sys): SignalEventfd {
  const eventfd = eventfds.get(sys) ?? new SignalEventfd(sys);
  eventfds.set(sys, eventfd);
  return eventfd;
}

/** The kernel, through a handler and an eventfd. */
class KernelOrigin implements Origin {
  private readonly watch: Watch;
  /** The futures that wait here, each with its queue. */
  private readonly waiting = new Map<SignalFuture, KernelQueue>();
  /** The Sys that catches the signal for them; null while there are none. */
  private sys: Sys | null = null;
  /** The kernel's count at the latest look. */
  private counted = 0;

  constructor(watch: Watch) {
    this.watch = watch;
  }

  wait(waiter: SignalFuture, cx: Context): void {
    const reactor = reactorOf(cx);
    const queue = eventfdOf(this.sys ?? reactor.sys).queueOf(reactor); // first: it may throw
    this.sys ??= this.begin(reactor.sys);
    this.waiting.get(waiter)?.leave(waiter); // another runtime may have polled it before
    this.waiting.set(waiter, queue);
    queue.wait(waiter, cx.target);
  }

  leave(waiter: SignalFuture): void {
    this.waiting.get(waiter)?.leave(waiter);
    if (!this.waiting.delete(waiter) || this.waiting.size > 0) return;
    this.look(); // an arrival that no future has seen
    if (this.sys !== null) this.sys.releaseSignal(this.watch.number, eventfdOf(this.sys).fd);
    this.sys = null;
  }

  /** Counts the arrivals since the latest look. */
  look(): void {
    const { sys, watch } = this;
    if (sys === null) return;
    for (const count = sys.signalCount(watch.number); this.counted < count; this.counted++) {
      if (watch.host.isListening) watch.host.alreadyCounted++;
      watch.onArrival();
    }
  }

  private begin(sys: Sys): Sys {
    this.counted = sys.signalCount(this.watch.number);
    check(catchSignal(sys, this.watch, eventfdOf(sys).fd), "sigaction");
    return sys;
  }
}

function catchSignal(sys: Sys, { name, number }: Watch, fd: number): number {
  try {
    return sys.catchSignal(number, fd);
  } catch (error) {
    throw codedError(
      "ERR_SIGNAL_UNAVAILABLE",
      `signal("${name}"): Bun's own loop delivers signals, which does not run while blockOn holds the thread, and no handler could be compiled: ${(error as Error).message}; use \`await runtime.run(...)\``,
      { cause: error },
    );
  }
}

/** The signals of one process. */
export type SignalWatches = Map<SignalName, Watch>;

let watches: SignalWatches = new Map();

/** Replaces the signals of this process, and returns them. A simulation does, because its hosts have their own. */
export function swapSignals(next: SignalWatches): SignalWatches {
  const previous = watches;
  watches = next;
  return previous;
}

function watchOf(name: SignalName): Watch {
  const watch = watches.get(name) ?? new Watch(name);
  watches.set(name, watch);
  return watch;
}

class SignalFuture extends Leaf<SignalName> {
  /** The runtime that counts this wait; null unless it waits for Bun's loop. */
  countedIn: RuntimeRef | null = null;
  readonly #watch: Watch;
  /** Completes with the first arrival after this number; -1 before the first poll. */
  #after = -1;
  /** The arrival that it has returned; 0 before that. */
  #received = 0;
  #origin: Origin | null = null;

  constructor(name: SignalName) {
    super();
    this.#watch = watchOf(name);
  }

  protected override attempt(cx: Context): Poll<SignalName> {
    const watch = this.#watch;
    if (this.#after < 0) this.#after = watch.delivered;
    watch.kernel.look();
    if (watch.arrivals > this.#after) {
      this.#received = watch.deliver();
      return watch.name;
    }
    if (!Bun.isMainThread) {
      throw codedError(
        "ERR_SIGNAL_UNAVAILABLE",
        `signal("${watch.name}"): a Worker receives no signals, because Bun delivers them on the main thread only; await the signal there and notify this Worker`,
      );
    }
    const origin = cx.runtime.holdsThread ? watch.kernel : watch.host;
    if (this.#origin !== origin) {
      this.#origin?.leave(this);
      this.#origin = origin;
    }
    origin.wait(this, cx);
    return Pending;
  }

  /** The signal did not reach its awaiter: the next future for it completes at once, if no other has received it. */
  override reclaim(): void {
    this.#watch.giveBack(this.#after, this.#received);
  }

  override describe(): string {
    return `signal ${this.#watch.name}`;
  }

  protected override release(): void {
    this.#origin?.leave(this);
    this.#origin = null;
  }
}

/**
 * Waits until the process receives the signal `name`, and returns that name. While at least one future waits for it,
 * the signal does not terminate the process; after that it does again. Works in `blockOn` and in guest mode. Throws
 * TypeError unless `name` is a signal that can be caught. The first poll throws Error in a Worker, where no signal
 * arrives, and in `blockOn` if Bun cannot compile a handler. Cancel safe: if a signal arrives and all futures that
 * wait for it are dropped, the next future for it completes at once. See signal(7), sigaction(2).
 *
 * @example
 * await race(work, signal("SIGTERM"));
 */
export function signal(name: SignalName): Future<SignalName> {
  const { signals } = process.getBuiltinModule("node:os").constants;
  if (
    typeof name !== "string" ||
    !Object.hasOwn(signals, name) ||
    name === "SIGKILL" ||
    name === "SIGSTOP"
  ) {
    throw invalidType(
      `signal: name must name a signal that can be caught, such as "SIGTERM"; got ${describe(name)}`,
    );
  }
  return new SignalFuture(name);
}

/**
 * Waits for Ctrl-C. The same as `signal("SIGINT")`, including its errors and cancel safety. Once it has completed, a
 * second Ctrl-C ends the process at once, unless something waits for it again.
 *
 * @example
 * await race(work, ctrlC());
 */
export function ctrlC(): Future<SignalName> {
  return new SignalFuture("SIGINT");
}
