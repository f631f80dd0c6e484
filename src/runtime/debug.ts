// Debug mode: where tasks were spawned, where what an async function awaits was made, and futures that
// were made and never polled.

import type { Context } from "../core/context.ts";
import { Future, made } from "../core/future.ts";
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

/** Runtimes of this thread in debug mode. */
let watching = 0;
let registry: FinalizationRegistry<string> | null = null;

/**
 * From now on, in this thread, a future that is collected without having been polled or dropped is
 * reported, with where it was made, which is in the stack of what an `await` of it throws, too; until the
 * function that this returns has been called as often. (JoinHandles are made by spawning, and may be left
 * alone.)
 */
export function watchFutures(): () => void {
  registry ??= new FinalizationRegistry((site) => {
    const error = new Error(
      `a future was made at ${site}, and never polled: is a \`yield*\` missing?`,
    );
    console.error("guillotine:", error);
  });
  watching++;
  made.hook = watch;
  return () => {
    if (--watching === 0) made.hook = null;
  };
}

const shadowed = ["poll", "pollCancel", "drop"] as const;

function watch(future: Future<unknown>): void {
  if (future instanceof JoinHandle) return;
  const site = callSite();
  registry?.register(future, site, future);
  // These shadow the methods until one of them is called.
  for (const name of shadowed) {
    Object.defineProperty(future, name, {
      configurable: true,
      value(...args: [Context]) {
        for (const each of shadowed) Reflect.deleteProperty(future, each);
        registry?.unregister(future);
        return Reflect.apply(future[name], future, args);
      },
    });
  }
  if (!(future instanceof Join)) tellWhereMade(future, site); // of a task there is where it was spawned
}

/** A `yield*` is in the stack of what it throws. An `await` is not: the error is made in the runtime's poll. */
function tellWhereMade(future: Future<unknown>, site: string): void {
  // biome-ignore lint/suspicious/noThenProperty: it has one
  Object.defineProperty(future, "then", {
    configurable: true,
    value(...args: Parameters<Future<unknown>["then"]>) {
      const promise = Future.prototype.then.call(future, undefined, (error: unknown) => {
        addToStack(error, `in a future made at ${site}`);
        throw error;
      });
      return promise.then(...args);
    },
  });
}
