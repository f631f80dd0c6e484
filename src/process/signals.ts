// Signals: futures that complete when the process receives a signal. See signal(7).
//
// Facts about signals in Bun:
// - Bun's own event loop delivers signals. They arrive in guest mode, but not while `blockOn` holds the thread.
// - Bun delivers signals on the main thread only. So `signal` fails in a Worker.
// - Bun's helper threads do not block signals, so a signalfd can miss one. So we use `process.on`.

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
  /** The runtime that counts this wait; null while no listener is installed. */
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
          `signal("${this.#name}"): signals do not arrive while blockOn holds the thread, because Bun's own loop delivers them; use \`await runtime.run(...)\``,
        );
      }
      if (!Bun.isMainThread) {
        throw new Error(
          `signal("${this.#name}"): a Worker receives no signals, because Bun delivers them on the main thread only; await the signal there and notify this Worker`,
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
 * Waits until the process receives the signal `name`, and returns that name. Its first poll installs a listener:
 * from then until the future completes or is dropped, the signal does not terminate the process. Throws TypeError
 * unless `name` is a signal that can be caught. The first poll throws Error inside `blockOn` and in a Worker, where
 * no signal arrives: use `await runtime.run` on the main thread. Not cancel safe: a drop between the signal's
 * arrival and the next poll loses that signal. See signal(7).
 *
 * @example
 * await select({ serve: serve(listener), stop: signal("SIGTERM") });
 */
export function signal(name: SignalName): Future<SignalName> {
  const { signals } = process.getBuiltinModule("node:os").constants;
  if (!Object.hasOwn(signals, name) || name === "SIGKILL" || name === "SIGSTOP") {
    throw new TypeError(
      `signal: name must name a signal that can be caught, such as "SIGTERM"; got ${describe(name)}`,
    );
  }
  return new SignalFuture(name);
}

/**
 * Waits for Ctrl-C. The same as `signal("SIGINT")`, including its errors and cancel safety.
 *
 * @example
 * await select({ serve: serve(listener), stop: ctrlC() });
 */
export function ctrlC(): Future<SignalName> {
  return new SignalFuture("SIGINT");
}
