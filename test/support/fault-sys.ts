// FaultSys: a Sys that counts calls and injects faults. A script may return a result in place of the kernel.

import { linux, type Sys } from "../../src/sys/index.ts";

type Method = keyof Sys;
/** Returns the result of a call, or null to call the kernel. `real` is the kernel's method. */
type Script<M extends Method> = (
  real: Sys[M],
  ...args: Parameters<Sys[M]>
) => ReturnType<Sys[M]> | null;
type AnyFunction = (...args: unknown[]) => unknown;

export class FaultSys {
  readonly sys: Sys;
  /** The number of calls of each method, with and without faults. */
  readonly calls: Map<Method, number> = new Map();
  readonly #scripts = new Map<Method, AnyFunction>();

  constructor(real: Sys = linux()) {
    const entries = (Object.keys(real) as Method[]).map((method) => {
      const next = real[method] as AnyFunction;
      const call: AnyFunction = (...args) => {
        this.calls.set(method, this.count(method) + 1);
        return this.#scripts.get(method)?.(next, ...args) ?? next(...args);
      };
      return [method, call];
    });
    this.sys = Object.fromEntries(entries) as Sys;
  }

  count(method: Method): number {
    return this.calls.get(method) ?? 0;
  }

  /** Runs `script` before each later call of `method`. Replaces an earlier script. */
  on<M extends Method>(method: M, script: Script<M>): this {
    this.#scripts.set(method, script as unknown as AnyFunction);
    return this;
  }

  /** Makes the next calls of `method` return `results`, one each. Later calls reach the kernel. */
  fail<M extends Method>(method: M, ...results: ReturnType<Sys[M]>[]): this {
    return this.on(method, () => results.shift() ?? null);
  }

  /** Removes the script of `method`. */
  heal(method: Method): this {
    this.#scripts.delete(method);
    return this;
  }
}
