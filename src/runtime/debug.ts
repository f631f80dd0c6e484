// Debug mode: where tasks were spawned, where what an async function awaits was made, and futures that
// were made and never polled.

import type { Context } from "../core/context.ts";
import { Future } from "../core/future.ts";
import { host } from "../core/host.ts";
import { addToStack } from "./errors.ts";
import { Join, JoinHandle } from "./join-handle.ts";

/** Where this library is. */
let here = "";

/** The first line of a stack that is not this library's: where the user's code called it. */
export function callSite(): string {
  here ||= decodeURIComponent(new URL("..", import.meta.url).pathname);
  const lines = new Error().stack?.split("\n").slice(1) ?? [];
  // "unknown": a constructor that the language made; "node": AsyncLocalStorage.
  const isTheirs = (text: string): boolean =>
    !text.includes(here) && !/\((unknown|node|native):/.test(text);
  const line = lines.find(isTheirs) ?? "an unknown place";
  return line.trim().replace(/^at /, "");
}

/** How many runtimes of this thread are in debug mode. */
let watching = 0;
/** Where each future was created that nobody has polled or dropped, by its number. */
const unpolled = new Map<number, string>();
let lastId = 0;
let registry: FinalizationRegistry<number> | null = null;

function reportUnpolled(id: number): void {
  const site = unpolled.get(id);
  if (site === undefined) return;
  unpolled.delete(id);
  const error = new Error(
    `a future was created at ${site} and never polled: is a \`yield*\` or an \`await\` missing?`,
  );
  console.error("guillotine:", error);
}

/**
 * From now on, in this thread, reports each future that nobody polls or drops: when it is collected, else when
 * the process ends. The place where a future was created also goes into the stack of what an `await` of it
 * throws. Ends when the function that this returns has been called as often as this one. (Spawning creates
 * JoinHandles, which may be left alone.)
 */
export function watchFutures(): () => void {
  if (registry === null) {
    registry = new FinalizationRegistry(reportUnpolled);
    process.on("exit", () => {
      for (const id of unpolled.keys()) reportUnpolled(id);
    });
  }
  watching++;
  host.onFutureCreated = watch;
  return () => {
    if (--watching === 0) host.onFutureCreated = null;
  };
}

const shadowed = ["poll", "pollCancel", "drop"] as const;

/** Called with each future that is created or reused. */
function watch(created: object): void {
  const future = created as Future<unknown>;
  if (future instanceof JoinHandle) return;
  const site = callSite();
  const id = ++lastId;
  unpolled.set(id, site);
  registry?.register(future, id);
  // These shadow the methods until one of them is called.
  for (const name of shadowed) {
    Object.defineProperty(future, name, {
      configurable: true,
      value(...args: [Context]) {
        for (const each of shadowed) Reflect.deleteProperty(future, each);
        unpolled.delete(id);
        return Reflect.apply(future[name], future, args);
      },
    });
  }
  if (!(future instanceof Join)) addCreationSite(future, site); // a task knows where it was spawned
}

/**
 * Adds the creation site to what an `await` throws. A `yield*` is in the stack already; an `await` is not, because
 * the error is created in the runtime's poll.
 */
function addCreationSite(future: Future<unknown>, site: string): void {
  // biome-ignore lint/suspicious/noThenProperty: it has one
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
