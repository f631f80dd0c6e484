// FaultSys: the kernel with faults. A script may answer each call before libc does.

import { linux, type Sys } from "../../src/sys/index.ts";

type Method = keyof Sys;
/** Answers a call instead of the kernel, or returns null to let the call through to `real`. */
type Script<M extends Method> = (
  real: Sys[M],
  ...args: Parameters<Sys[M]>
) => ReturnType<Sys[M]> | null;
type AnyFunction = (...args: unknown[]) => unknown;

export class FaultSys {
  readonly sys: Sys;
  /** How often each method was called, faulted or not. */
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

  /** From now on `script` sees every call of `method` first. */
  on<M extends Method>(method: M, script: Script<M>): this {
    this.#scripts.set(method, script as unknown as AnyFunction);
    return this;
  }

  /** The next calls of `method` return `results` in turn. After those, libc answers again. */
  fail<M extends Method>(method: M, ...results: ReturnType<Sys[M]>[]): this {
    return this.on(method, () => results.shift() ?? null);
  }

  heal(method: Method): this {
    this.#scripts.delete(method);
    return this;
  }
}
