// Signals as futures, in guest mode. See signal(7).
//
// A signal is delivered by Bun's own loop (signalfd is unreliable: Bun's helper threads do not block
// the signal). While `blockOn` holds the thread none comes.

import type { constants } from "node:os";
import { describe } from "../base/describe.ts";
import type { Context, RuntimeRef } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { Leaf } from "../core/leaf.ts";
import { Pending, type Poll } from "../core/poll.ts";

type SignalName = keyof typeof constants.signals;

class SignalFuture extends Leaf<SignalName> {
  readonly #name: SignalName;
  #isReceived = false;
  /** The runtime that counts this wait; null while we do not listen. */
  #runtime: RuntimeRef | null = null;

  constructor(name: SignalName) {
    super();
    this.#name = name;
  }

  readonly #listener = (): void => {
    this.#isReceived = true;
    this.target?.wake();
  };

  protected override attempt(cx: Context): Poll<SignalName> {
    if (this.#isReceived) return this.#name;
    if (this.#runtime === null) {
      if (cx.runtime.holdsThread) {
        throw new Error(
          `signal("${this.#name}"): Bun's own loop delivers signals, and it stands still while blockOn holds the thread; use \`await runtime.run(...)\``,
        );
      }
      if (!Bun.isMainThread) {
        throw new Error(
          `signal("${this.#name}"): Bun delivers signals to the main thread only; await the signal there, and notify this Worker`,
        );
      }
      this.#runtime = cx.runtime;
      cx.runtime.countHostWait(1);
      process.on(this.#name, this.#listener);
    }
    this.target = cx.target;
    return Pending;
  }

  override describe(): string {
    return `signal ${this.#name}`;
  }

  protected override release(): void {
    this.target = null;
    if (this.#runtime === null) return;
    this.#runtime.countHostWait(-1);
    this.#runtime = null;
    process.off(this.#name, this.#listener);
  }
}

/**
 * Completes, with the signal's name, when the process gets that signal. Meanwhile the signal does not
 * end the process; no listener is left afterwards. Guest mode on the main thread only: in `blockOn`
 * and in Workers it throws. Throws TypeError for an unknown name, or one that cannot be caught. Not cancel
 * safe: dropped, it loses a signal that came and was not given yet.
 *
 * @example
 * await select({ serve: serve(listener), stop: signal("SIGTERM") });
 */
export function signal(name: SignalName): Future<SignalName> {
  const { signals } = process.getBuiltinModule("node:os").constants;
  if (!Object.hasOwn(signals, name) || name === "SIGKILL" || name === "SIGSTOP") {
    throw new TypeError(
      `signal: name must be that of a signal that can be caught, like "SIGTERM"; got ${describe(name)}`,
    );
  }
  return new SignalFuture(name);
}

/**
 * `signal("SIGINT")`: Ctrl-C.
 *
 * @example
 * await select({ serve: serve(listener), stop: ctrlC() });
 */
export function ctrlC(): Future<SignalName> {
  return new SignalFuture("SIGINT");
}
