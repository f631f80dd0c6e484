// Debug mode: records where tasks are spawned and futures are created, for the stacks of their errors. Reports
// futures that are never polled, which usually means a forgotten `yield*`.

import type { Context } from "../core/context.ts";
import { Future } from "../core/future.ts";
import { host } from "../core/host.ts";
import { addToStack } from "./errors.ts";
import { Join } from "./join-handle.ts";

/** The path of this library's source; computed on first use. */
let libraryPath = "";

/** Returns the innermost stack line outside this library: where the user's code called it. */
export function callSite(): string {
  libraryPath ||= decodeURIComponent(new URL("..", import.meta.url).pathname);
  const lines = new Error().stack?.split("\n").slice(1) ?? [];
  // "unknown" is an implicit constructor; "node" is AsyncLocalStorage.
  const isUserCode = (line: string): boolean =>
    !line.includes(libraryPath) && !/\((unknown|node|native):/.test(line);
  const line = lines.find(isUserCode) ?? "an unknown place";
  return line.trim().replace(/^at /, "");
}

/** How many runtimes of this thread are in debug mode. */
let watchers = 0;
/** The creation sites of the futures that nobody has polled or dropped yet, by our own serial number. */
const unpolled = new Map<number, string>();
let lastId = 0;
let registry: FinalizationRegistry<number> | null = null;

function reportUnpolled(id: number): void {
  const site = unpolled.get(id);
  if (site === undefined) return;
  unpolled.delete(id);
  // Not an Error: its stack would show this library, and not the user's code.
  console.error(
    `guillotine: a future was created at ${site} and never polled: is a \`yield*\` or an \`await\` missing?`,
  );
}

/**
 * Starts to watch each future that this thread creates. Reports it when it is garbage-collected, or when the
 * process exits, and nobody has polled or dropped it. Adds its creation site to the stack of what an `await` of
 * it throws.
 *
 * Returns a function that stops this watch. Futures are watched until every watch has stopped. Handles are not
 * watched: nobody polls them, and a spawned task runs whether or not anyone awaits its handle.
 */
export function watchFutures(): () => void {
  if (registry === null) {
    registry = new FinalizationRegistry(reportUnpolled);
    process.on("exit", () => {
      for (const id of unpolled.keys()) reportUnpolled(id);
    });
  }
  watchers++;
  host.onFutureCreated = watchFuture;
  return () => {
    if (--watchers === 0) host.onFutureCreated = null;
  };
}

const WATCHED_METHODS = ["poll", "pollCancel", "drop"] as const;

/** Called with each future that is created or reused. */
function watchFuture(created: object): void {
  const future = created as Future<unknown>;
  if (future.isHandle) return;
  const site = callSite();
  const id = ++lastId;
  unpolled.set(id, site);
  registry?.register(future, id);
  // The first call of any of these ends the watch, and removes the properties that shadow the methods.
  for (const name of WATCHED_METHODS) {
    Object.defineProperty(future, name, {
      configurable: true,
      value(...args: [Context]) {
        for (const each of WATCHED_METHODS) Reflect.deleteProperty(future, each);
        unpolled.delete(id);
        return Reflect.apply(future[name], future, args);
      },
    });
  }
  if (!(future instanceof Join)) addCreationSite(future, site); // a task knows where it was spawned
}

/**
 * Adds the creation site to the stack of what an `await` of the future throws. The error is created in the
 * runtime's poll, so its stack lacks the async function. After a `yield*` the stack has the coroutine anyway.
 */
function addCreationSite(future: Future<unknown>, site: string): void {
  // biome-ignore lint/suspicious/noThenProperty: a future is a thenable
  Object.defineProperty(future, "then", {
    configurable: true,
    value(...args: Parameters<Future<unknown>["then"]>) {
      const promise = Future.prototype.then.call(future, undefined, (error: unknown) => {
        addToStack(error, `in a future created at ${site}`);
        throw error;
      });
      return promise.then(...args);
    },
  });
}
