// Closes the open fds of sockets that nobody can use any more, and warns about each. In debug mode: as soon as they are
// garbage-collected. Else: when the process has run out of fds.
//
// Invariants:
// - The table of a reactor refers to a watched source weakly. So the source, with its socket, lives only as long as user
//   code or a waiting operation refers to it. (A waiting operation belongs to a task, and refers to its source.)
// - An fd is closed once: by its source, which ends the watch, or by the collection of its source.
//
// - Outside debug mode, `open` refers to each open socket of the kernel, and only a sweep makes references weak.
//
// Facts, and why debug mode is not always on: a WeakRef, a sink and a registration cost 100 to 150 ns for each socket, about
// 200 bytes, and each event pays 3 to 6 ns for the reference. Outside debug mode the reactor refers to the source directly,
// and a socket pays for one store into an array, which is not measurable (0 to 10 ns, the noise of the measurement).
//
// A sweep makes the references of all tables weak, collects garbage, and makes those weak references strong again that still
// refer to something. It blocks the thread for the length of a full collection, so it is rationed.

import { describeSome } from "../base/describe.ts";
import { systemClock } from "../sys/clock.ts";
import { isKernel } from "../sys/default.ts";
import { EMFILE, ENFILE } from "../sys/errno.ts";
import type { Sys } from "../sys/sys.ts";
import type { EventSink, Registry, ShownFd } from "./sink.ts";

/** An fd that its owner must close. */
export interface Closable extends EventSink {
  readonly sys: Sys;
  readonly fd: number;
  /** Its name in a warning. */
  readonly label: string;
  /** Makes the reactor send events to `stand` instead; null undoes it. */
  standIn(stand: WeakSink | null): void;
}

/** Stands for a source in the table of a reactor. */
export class WeakSink implements EventSink {
  /** What the warning calls the fd. */
  name: string;
  private readonly ref: WeakRef<Closable>;
  private readonly sys: Sys;
  private readonly fd: number;
  private readonly onFdClosed: () => void;
  private registry: Registry | null = null;
  private slot = -1;

  constructor(source: Closable, onFdClosed: () => void) {
    this.ref = new WeakRef(source);
    this.name = source.label;
    this.sys = source.sys;
    this.fd = source.fd;
    this.onFdClosed = onFdClosed;
  }

  /** Records where the fd is registered; null once it is not. */
  setPlace(registry: Registry | null, slot: number): void {
    this.registry = registry;
    this.slot = slot;
  }

  /** The source, unless it has been collected. */
  get source(): Closable | undefined {
    return this.ref.deref();
  }

  onEvents(events: number): void {
    this.ref.deref()?.onEvents(events);
  }

  canWake(): boolean {
    return this.ref.deref()?.canWake() ?? false;
  }

  get shown(): ShownFd | null {
    return this.ref.deref()?.shown ?? null;
  }

  onReactorClosed(): void {
    this.registry = null;
    this.ref.deref()?.onReactorClosed();
  }

  /** Closes the fd: its source has been collected. */
  close(): void {
    this.registry?.deregister(this.slot, this.fd);
    this.sys.close(this.fd);
    this.onFdClosed();
  }

  onCollected(): void {
    this.close();
    process.emitWarning(
      `${this.name} was garbage-collected while it was open, and is closed now: close it with \`using\` or close()`,
      { code: "GUILLOTINE_UNCLOSED" },
    );
  }
}

let registry: FinalizationRegistry<WeakSink> | null = null;
const sinks: WeakMap<Closable, WeakSink> = new WeakMap();

/** The watch of this thread. Off at first; debug mode turns it on. */
export const unclosed: { isWatching: boolean } = { isWatching: false };

/** Watches `source` until `unwatch`. */
export function watchUnclosed(source: Closable, onFdClosed: () => void): void {
  const sink = new WeakSink(source, onFdClosed);
  sinks.set(source, sink);
  registry ??= new FinalizationRegistry((collected) => collected.onCollected());
  registry.register(source, sink, source);
}

/** Returns what stands for `source` in the table of a reactor; null if it is not watched. */
export function weakSinkOf(source: Closable): WeakSink | null {
  return sinks.get(source) ?? null;
}

/** Ends the watch: the fd is closed, or belongs to the caller now. */
export function unwatchUnclosed(source: Closable): void {
  if (sinks.delete(source)) registry?.unregister(source);
}

/** The open sockets of this thread by fd, outside debug mode. A simulated kernel has fds of its own: they are not here. */
const open: (Closable | null)[] = [];
/** A sweep may take a hundredth of the time: no other one begins before this. */
const ration = { nextMs: 0 };

/** Makes `source`, an open socket, a candidate of sweeps until `forgetOpen`. */
export function rememberOpen(source: Closable): void {
  if (isKernel(source.sys)) open[source.fd] = source;
}

/** The fd is closed, or belongs to the caller now. */
export function forgetOpen(source: Closable): void {
  if (open[source.fd] === source) open[source.fd] = null;
}

/**
 * Called when a syscall of `sys` has returned `errno`. If the process is out of fds, closes the sockets that nobody can use
 * any more. Returns true if it has closed one, so that the call may succeed now.
 */
export function sweepUnclosed(sys: Sys, errno: number, onFdClosed: () => void): boolean {
  const isShortage = errno === -EMFILE || errno === -ENFILE;
  if (!isShortage || !isKernel(sys) || unclosed.isWatching) return false;
  const startMs = systemClock.now();
  if (startMs < ration.nextMs) return false;
  const stands = weaken(onFdClosed);
  Bun.gc(true);
  const closed = restore(stands);
  const endMs = systemClock.now();
  ration.nextMs = closed.length > 0 ? endMs : endMs + 100 * (endMs - startMs);
  if (closed.length === 0) return false;
  process.emitWarning(
    `the process was out of file descriptors, and no code could use ${closed.length} open sockets any more, which are closed now: close them with \`using\` or close(). They were ${describeSome(closed, ({ name }) => name)}`,
    { code: "GUILLOTINE_UNCLOSED" },
  );
  return true;
}

/** Makes all references to sockets weak that no operation waits on. Returns what stands for them. */
function weaken(onFdClosed: () => void): WeakSink[] {
  const stands: WeakSink[] = [];
  for (let fd = 0; fd < open.length; fd++) {
    const source = open[fd] ?? null;
    if (source === null || source.canWake()) continue;
    const stand = new WeakSink(source, onFdClosed);
    stands.push(stand);
    source.standIn(stand);
    open[fd] = null;
  }
  return stands;
}

/** Makes the references strong again. Closes the sockets that were collected, and returns them. */
function restore(stands: readonly WeakSink[]): WeakSink[] {
  const closed: WeakSink[] = [];
  for (const stand of stands) {
    const { source } = stand;
    if (source === undefined) {
      stand.close();
      closed.push(stand);
    } else {
      source.standIn(null);
      open[source.fd] = source;
    }
  }
  return closed;
}
