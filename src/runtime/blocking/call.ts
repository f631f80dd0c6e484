// Checks the arguments of spawnBlocking and turns them into a Call, the message for a worker.

import { invalidType } from "../../base/check.ts";
import { describe } from "../../base/describe.ts";
import type { JoinHandle } from "../join-handle.ts";
import type { Call } from "./worker.ts";

/** The type of `spawnBlocking`: for a function that a module exports, or for a function. */
export interface SpawnBlocking {
  <T = unknown>(
    moduleUrl: string | URL,
    exportName: string,
    ...args: readonly unknown[]
  ): JoinHandle<T>;
  // The compiler's message for wrong arguments is about the last overload, so this is the common one.
  <A extends readonly unknown[], T>(fn: (...args: A) => T, ...args: A): JoinHandle<Awaited<T>>;
}

/** The source of each function that passed the check: it parses as an expression. */
const sources = new WeakMap<object, string>();

/**
 * Returns the message for `spawnBlocking(fn, ...args)` or `spawnBlocking(moduleUrl, exportName, ...args)`. Throws
 * TypeError for anything that would fail in the worker, so that the error's stack shows the caller.
 */
export function callOf(target: unknown, rest: readonly unknown[]): Call {
  if (typeof target === "function") {
    return { source: sourceOf(target), args: cloned(rest) };
  }
  if (typeof target === "string" || target instanceof URL) {
    const [exportName, ...args] = rest;
    if (typeof exportName !== "string") {
      throw invalidType(
        `spawnBlocking: exportName must be a string after a module URL; got ${describe(exportName)}`,
      );
    }
    const module = String(target);
    if (!URL.canParse(module) && !module.startsWith("/")) {
      throw invalidType(
        `spawnBlocking: moduleUrl must be absolute, for example new URL("./jobs.ts", import.meta.url); got ${describe(module)}`,
      );
    }
    return { module, exportName, args: cloned(args) };
  }
  throw invalidType(
    `spawnBlocking: fn must be a function, or the URL of a module; got ${describe(target)}`,
  );
}

// biome-ignore lint/complexity/noBannedTypes: we only read its source text
function sourceOf(fn: Function): string {
  const known = sources.get(fn);
  if (known !== undefined) return known;
  const source = Function.prototype.toString.call(fn);
  const reject = (why: string): TypeError =>
    invalidType(
      `spawnBlocking: fn must stand alone, because the worker receives only its source; ${describe(fn)} ${why}`,
    );
  if (/\{\s*\[native code\]\s*\}\s*$/.test(source))
    throw reject("is native or bound: wrap it in a function");
  if (/^class\b/.test(source)) throw reject("is a class");
  try {
    new Function(`"use strict"; return (${source}\n)`);
  } catch (error) {
    const why = source.includes("import.meta")
      ? "uses import.meta: pass what it needs as an argument"
      : "is a method or an accessor: write it as a function or an arrow function";
    throw reject(`${why} (${(error as Error).message})`);
  }
  sources.set(fn, source);
  return source;
}

function cloned(args: readonly unknown[]): readonly unknown[] {
  try {
    return structuredClone(args);
  } catch (cause) {
    const index = args.findIndex((argument) => !isCloneable(argument));
    throw invalidType(
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
