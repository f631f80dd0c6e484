// What a simulation (sim/) changes in the runtime. Without one, nothing here is in use.
//
// A simulated host has a Runtime of its own. The simulation drives those runtimes in turns, on one thread, and chooses
// which ready task runs next: it passes the ready queue.

import type { Queue } from "../base/queue.ts";
import type { Runnable } from "../core/context.ts";
import type { Future } from "../core/future.ts";

/** What the simulation provides to the runtime of one host. */
export interface SimulatedHost {
  /** Decides the order of the ready tasks. Its `shift` may return null early, which ends the turn. */
  readonly ready: Queue<Runnable>;
  /** Performs a `spawnBlocking`, which real runtimes send to a Worker. */
  callBlocking(target: unknown, args: readonly unknown[]): Future<unknown>;
}

/** The simulation that runs on this thread. */
export const simulation: {
  /** Throws an error that names what cannot be simulated. null while none runs. */
  refuse: ((what: string) => never) | null;
} = { refuse: null };
