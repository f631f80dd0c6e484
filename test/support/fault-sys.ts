// The kernel with faults: each method may be answered by a script before libc is asked.

import { linux } from "../../src/sys/linux.ts";
import type { Sys } from "../../src/sys/sys.ts";

type Method = keyof Sys;
/** Answers a call in the kernel's place, or returns null to let it through. */
type Script<M extends Method> = (real: Sys[M], ...args: Parameters<Sys[M]>) => number | null;

export class FaultSys {
  readonly sys: Sys;
  /** Calls that were made, faulted or not, by method. */
  readonly calls: Map<Method, number> = new Map();
  readonly #scripts = new Map<Method, Script<Method>>();

  constructor(real: Sys = linux()) {
    const entries = (Object.keys(real) as Method[]).map((method) => {
      const next = real[method] as (...args: unknown[]) => number;
      const call = (...args: unknown[]): number => {
        this.calls.set(method, this.count(method) + 1);
        const script = this.#scripts.get(method) as
          | ((real: unknown, ...args: unknown[]) => number | null)
          | undefined;
        return script?.(next, ...args) ?? next(...args);
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
    this.#scripts.set(method, script as unknown as Script<Method>);
    return this;
  }

  /** The next calls of `method` return these, in turn; then libc is asked again. */
  fail<M extends Method>(method: M, ...results: number[]): this {
    return this.on(method, () => results.shift() ?? null);
  }

  heal(method: Method): this {
    this.#scripts.delete(method);
    return this;
  }
}
