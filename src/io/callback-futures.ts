// CallbackFutures: runs futures for callbacks of the platform, such as the `pull` of a ReadableStream. Such a callback
// runs at any time and in the async context of any code. So each future is a task of its own, which belongs to no
// async function: if code that happens to read from the stream is cancelled, the stream stays intact.

import type { RuntimeRef } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { host } from "../core/host.ts";
import { Stoppable } from "../core/stoppable.ts";

/** What a future returns that `stopAll` has ended. */
export const STOPPED: unique symbol = Symbol("guillotine.STOPPED");

/**
 * Runs the futures of one adapter: on the runtime of the poll in progress, else the one that holds the thread, else
 * the one on which the adapter was created.
 */
export class CallbackFutures {
  /** The runtime for futures that start in no poll and while no runtime holds the thread. */
  home: RuntimeRef = host.currentRuntime(null) as RuntimeRef;
  private readonly running: Set<{ stop(): void }> = new Set();

  /** Runs `future`. Resolves with its value, or with STOPPED; rejects with its error. */
  run<T>(future: Future<T>): Promise<T | typeof STOPPED> {
    const runtime = host.currentRuntime(this.home) as RuntimeRef;
    runtime.enterGuestMode(); // does nothing while the runtime is driven in another way
    const stoppable = new Stoppable<T, T | typeof STOPPED>(future, (value) => value, STOPPED);
    this.running.add(stoppable);
    return new Promise((resolve, reject) => {
      runtime.start(stoppable, {
        resolve: (value: T | typeof STOPPED) => {
          this.running.delete(stoppable);
          resolve(value);
        },
        reject: (error) => {
          this.running.delete(stoppable);
          reject(error);
        },
      });
    });
  }

  /** Drops the futures that have not ended. */
  stopAll(): void {
    for (const stoppable of this.running) stoppable.stop();
  }
}
