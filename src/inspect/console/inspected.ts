// The runtimes of this thread, as the console sees them, and the consoles that look.
//
// Invariant: a runtime that was never disposed can still be garbage-collected, because this list refers to it weakly.

import type { List } from "../../base/list.ts";
import type { Reactor } from "../../reactor/reactor.ts";
import type { Observer } from "../../runtime/observer.ts";
import type { Metrics } from "../../runtime/options.ts";
import type { Task } from "../../runtime/task.ts";
import type { TaskInfo } from "../../runtime/task-info.ts";

/** The parts of a runtime that the console reads. */
export interface Inspected {
  readonly observer: Observer;
  readonly reactor: Reactor;
  readonly tasks: List<Task<unknown>>;
  /** The awaits that no task owns. */
  looseInfo(): readonly TaskInfo[];
  metrics(): Metrics;
  /** Where a waiting task is in its code, the innermost place first. */
  stackOf(task: Task<unknown>): readonly string[];
}

/** Looks at runtimes. */
export interface Looker {
  attach(runtime: Inspected): void;
  detach(runtime: Inspected): void;
}

const runtimes: Set<WeakRef<Inspected>> = new Set();
const refs: WeakMap<Inspected, WeakRef<Inspected>> = new WeakMap();
const lookers: Set<Looker> = new Set();

/** Adds a runtime. It stays until `removeRuntime`, or until it is garbage-collected. */
export function addRuntime(runtime: Inspected): void {
  const ref = new WeakRef(runtime);
  refs.set(runtime, ref);
  runtimes.add(ref);
  for (const looker of lookers) looker.attach(runtime);
}

/** Removes a runtime. Must be called before its reactor is closed. */
export function removeRuntime(runtime: Inspected): void {
  const ref = refs.get(runtime);
  if (ref === undefined) return;
  runtimes.delete(ref);
  for (const looker of lookers) looker.detach(runtime);
}

/** Attaches `looker` to all runtimes of this thread, also to those that are created later. */
export function addLooker(looker: Looker): void {
  lookers.add(looker);
  for (const ref of runtimes) {
    const runtime = ref.deref();
    if (runtime === undefined) runtimes.delete(ref);
    else looker.attach(runtime);
  }
}

/** Detaches `looker` from all runtimes. */
export function removeLooker(looker: Looker): void {
  lookers.delete(looker);
  for (const ref of runtimes) {
    const runtime = ref.deref();
    if (runtime !== undefined) looker.detach(runtime);
  }
}
