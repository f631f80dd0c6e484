// Signals as futures, in guest mode. See signal(7).
//
// A signal is delivered by Bun's own loop (signalfd is unreliable: Bun's helper threads do not block
// the signal). While `blockOn` holds the thread none comes.

import type { constants } from "node:os";
import { describe } from "../base/describe.ts";
import type { Context, RuntimeRef } from "../core/context.ts";
import { Future, polledAfterEnd } from "../core/future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import type { WakeTarget } from "../core/waker.ts";

type SignalName = keyof typeof constants.signals;

class SignalFuture extends Future<SignalName> {
  readonly #name: SignalName;
  #state: "new" | "listening" | "received" | "ended" = "new";
  #target: WakeTarget | null = null;
  /** The runtime that counts this wait. */
  #runtime: RuntimeRef | null = null;

  constructor(name: SignalName) {
    super();
    this.#name = name;
  }

  readonly #listener = (): void => {
    this.#state = "received";
    this.#target?.wake();
  };

  override poll(cx: Context): Poll<SignalName> {
    if (this.#state === "ended") throw polledAfterEnd(`signal("${this.#name}")`);
    if (this.#state === "received") {
      if (cx.isExhausted()) return Pending;
      cx.runtime.budget--;
      this.drop();
      return this.#name;
    }
    if (this.#state === "new") {
      if (cx.runtime.holdsThread) {
        this.#state = "ended";
        throw new Error(
          `signal("${this.#name}"): signals are delivered by Bun's own loop, which stands still while blockOn holds the thread; use \`await runtime.run(...)\``,
        );
      }
      if (!Bun.isMainThread) {
        this.#state = "ended";
        throw new Error(
          `signal("${this.#name}"): Bun delivers signals to the main thread only; await it there, and tell this Worker`,
        );
      }
      this.#state = "listening";
      this.#runtime = cx.runtime;
      cx.runtime.hostWaits++;
      process.on(this.#name, this.#listener);
    }
    this.#target = cx.target;
    cx.waitsOn = this;
    return Pending;
  }

  override drop(): void {
    this.#state = "ended";
    this.#target = null;
    if (this.#runtime === null) return;
    this.#runtime.hostWaits--;
    this.#runtime = null;
    process.off(this.#name, this.#listener);
  }

  waitsOn(): string {
    return `signal ${this.#name}`;
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
