// What spawnBlocking is told, and how it becomes what a worker can be sent.

import { describe } from "../../base/describe.ts";
import type { JoinHandle } from "../join-handle.ts";
import type { Call } from "./worker.ts";

/** `spawnBlocking`: of a function, or of one that a module exports. */
export interface SpawnBlocking {
  <A extends readonly unknown[], T>(fn: (...args: A) => T, ...args: A): JoinHandle<Awaited<T>>;
  <T = unknown>(
    moduleUrl: string | URL,
    exportName: string,
    ...args: readonly unknown[]
  ): JoinHandle<T>;
}

/** Source that is known to stand as an expression. */
const sources = new WeakMap<object, string>();

/**
 * The call of `spawnBlocking(fn, ...args)` or `(moduleUrl, exportName, ...args)`, checked here, since
 * the worker is too far away for its complaint to be understood.
 */
export function callOf(target: unknown, rest: readonly unknown[]): Call {
  if (typeof target === "function") {
    return { source: sourceOf(target), args: cloned(rest) };
  }
  if (typeof target === "string" || target instanceof URL) {
    const [exportName, ...args] = rest;
    if (typeof exportName !== "string") {
      throw new TypeError(
        `spawnBlocking: exportName must be a string after a module URL; got ${describe(exportName)}`,
      );
    }
    const module = String(target);
    if (!URL.canParse(module) && !module.startsWith("/")) {
      throw new TypeError(
        `spawnBlocking: moduleUrl must be absolute, as new URL("./jobs.ts", import.meta.url) is; got ${describe(module)}`,
      );
    }
    return { module, exportName, args: cloned(args) };
  }
  throw new TypeError(
    `spawnBlocking: fn must be a function, or the URL of a module; got ${describe(target)}`,
  );
}

// biome-ignore lint/complexity/noBannedTypes: any function at all, it is looked at as text
function sourceOf(fn: Function): string {
  const known = sources.get(fn);
  if (known !== undefined) return known;
  const source = Function.prototype.toString.call(fn);
  const refuse = (why: string): TypeError =>
    new TypeError(
      `spawnBlocking: fn must stand alone, since only its source is sent to the worker; ${describe(fn)} ${why}`,
    );
  if (/\{\s*\[native code\]\s*\}\s*$/.test(source))
    throw refuse("is native or bound: wrap it in a function");
  if (/^class\b/.test(source)) throw refuse("is a class");
  try {
    new Function(`"use strict"; return (${source}\n)`);
  } catch (error) {
    const why = source.includes("import.meta")
      ? "uses import.meta: hand it what it needs as an argument"
      : "is a method or an accessor: write it as a function or an arrow function";
    throw refuse(`${why} (${(error as Error).message})`);
  }
  sources.set(fn, source);
  return source;
}

function cloned(args: readonly unknown[]): readonly unknown[] {
  try {
    return structuredClone(args);
  } catch (cause) {
    const index = args.findIndex((argument) => !isCloneable(argument));
    throw new TypeError(
      `spawnBlocking: argument ${index} must be cloneable to reach the worker; got ${describe(args[index])}`,
      { cause },
    );
  }
}

function isCloneable(value: unknown): boolean {
  try {
    structuredClone(value);
    return true;
  } catch {
    return false;
  }
}
