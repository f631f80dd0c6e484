// In debug mode: closes the open fds of sockets that were garbage-collected, and warns about each.
//
// Invariants:
// - The table of a reactor refers to a watched source weakly. So the source, with its socket, lives only as long as user
//   code or a waiting operation refers to it. (A waiting operation belongs to a task, and refers to its source.)
// - An fd is closed once: by its source, which ends the watch, or by the collection of its source.
//
// Facts, and why this is not always on: a WeakRef, a sink and a registration cost 100 to 150 ns for each socket, about 200
// bytes, and each event pays 3 to 6 ns for the reference. Outside debug mode the reactor refers to the source directly.

import type { Sys } from "../sys/sys.ts";
import type { EventSink, Registry } from "./sink.ts";

/** An fd that its owner must close. */
export interface Closable extends EventSink {
  readonly sys: Sys;
  readonly fd: number;
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

  constructor(source: Closable, name: string, onFdClosed: () => void) {
    this.ref = new WeakRef(source);
    this.name = name;
    this.sys = source.sys;
    this.fd = source.fd;
    this.onFdClosed = onFdClosed;
  }

  /** Records where the fd is registered; null once it is not. */
  setPlace(registry: Registry | null, slot: number): void {
    this.registry = registry;
    this.slot = slot;
  }

  onEvents(events: number): void {
    this.ref.deref()?.onEvents(events);
  }

  canWake(): boolean {
    return this.ref.deref()?.canWake() ?? false;
  }

  onReactorClosed(): void {
    this.registry = null;
    this.ref.deref()?.onReactorClosed();
  }

  /** Closes the fd: its source has been collected. */
  onCollected(): void {
    this.registry?.deregister(this.slot, this.fd);
    this.sys.close(this.fd);
    this.onFdClosed();
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
export function watchUnclosed(source: Closable, name: string, onFdClosed: () => void): void {
  const sink = new WeakSink(source, name, onFdClosed);
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
