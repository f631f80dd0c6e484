// Debug mode: records where tasks are spawned and futures are created, for the stacks of their errors. Reports
// futures that are never polled, which usually means a forgotten `yield*`, and promises that stand for work to cancel.
//
// It must be cheap enough for staging, so most of the work is done only for what turns out to be wrong:
// - A place is an Error whose stack nobody has read yet. JSC captures the frames (0.3 to 0.5 us) and formats them when
//   the stack is first read (7 us).
// - Almost all futures are polled soon after their creation. Only those that were not are registered with the
//   FinalizationRegistry, in batches.
// - The methods that end the watch are wrapped once for each class, and not for each future.

import type { Context, TaskRef } from "../core/context.ts";
import { currentContextOrNull } from "../core/current.ts";
import { Future } from "../core/future.ts";
import { host } from "../core/host.ts";
import { Leaf } from "../core/leaf.ts";
import { callSite, userFrames } from "./call-site.ts";
import { addToStack } from "./errors.ts";
import { Join } from "./join-handle.ts";

/** What is known of a future since its creation. It must not refer to the future, which has to be collected. */
interface Birth {
  readonly place: Error;
  /** The task that created the future; null for other code. */
  readonly task: TaskRef | null;
  /** The future was polled, cancelled or dropped. */
  isUsed: boolean;
}

const BIRTH: unique symbol = Symbol("guillotine.BIRTH");

interface Watched extends Future<unknown> {
  [BIRTH]?: Birth;
}

/** How many runtimes of this thread are in debug mode. */
let watchers = 0;
/** The latest futures, until it is known whether they are used soon. */
const young: Watched[] = [];
const MAX_YOUNG = 64;
/** The births of futures that were not used soon, while these exist. */
const registered: Set<Birth> = new Set();
let registry: FinalizationRegistry<Birth> | null = null;

function onCollected(birth: Birth): void {
  registered.delete(birth);
  if (!birth.isUsed) reportUnused(birth);
}

function reportUnused({ place }: Birth): void {
  // Not an Error: its stack would show this library, and not the user's code.
  console.error(
    `guillotine: a future was created at ${callSite(place)} and never polled: is a \`yield*\` or an \`await\` missing?`,
  );
}

/**
 * Registers those of the latest futures that were not used yet, and tells all of them which task uses them. Diagnostics
 * call it first.
 */
export function settleYoung(): void {
  for (const future of young) {
    const birth = future[BIRTH];
    if (birth === undefined) continue;
    if (birth.task !== null) future.noteUser(birth.task);
    if (birth.isUsed || registered.has(birth)) continue;
    registered.add(birth);
    registry?.register(future, birth);
  }
  young.length = 0;
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
    registry = new FinalizationRegistry(onCollected);
    process.on("exit", () => {
      settleYoung();
      for (const birth of registered) if (!birth.isUsed) reportUnused(birth);
    });
  }
  if (watchers++ === 0) {
    host.onFutureCreated = watchFuture;
    host.onPromiseGiven = warnOfPromise;
    wrapMethods(Leaf.prototype); // and those of Future
    wrap(Leaf.prototype, "tryReuse", (tryReuse) => {
      return function (this: Watched, cx: Context) {
        const isNew = tryReuse.call(this, cx) as boolean;
        if (isNew) watchFuture(this);
        return isNew;
      };
    });
    wrap(Future.prototype, "then", (then) => {
      return function (this: Watched, ...args: unknown[]) {
        return thenWithSite(this, then, args);
      };
    });
  }
  return () => {
    if (--watchers > 0) return;
    host.onFutureCreated = host.onPromiseGiven = null;
    settleYoung();
    for (const undo of wrapped.values()) undo();
    wrapped.clear();
  };
}

/** Makes the first future of this thread start a watch that never stops, if `GUILLOTINE_DEBUG` is 1. */
export function watchFromFirstFuture(): void {
  host.onFutureCreated = (first) => {
    host.onFutureCreated = null;
    if (process.env.GUILLOTINE_DEBUG !== "1") return;
    watchFutures();
    watchFuture(first);
  };
}

/** `timeout(1000, ask())` cannot cancel what `ask` does. */
function warnOfPromise(name: string): void {
  process.emitWarning(
    `${name} at ${callSite(new Error())} was given a promise, and cannot cancel the work behind it. Pass the function: () => work(). To only stop waiting, pass fromPromise(promise)`,
    { code: "GUILLOTINE_PROMISE_AS_WORK" },
  );
}

/** Called with each future that is created or reused. */
function watchFuture(created: object): void {
  const future = created as Watched;
  if (future.isHandle) return;
  wrapMethods(Object.getPrototypeOf(future));
  const task = currentContextOrNull()?.task ?? null;
  future[BIRTH] = { place: new Error(), task, isUsed: false };
  if (young.push(future) === MAX_YOUNG) settleYoung();
}

/** Returns the user's frames at the creation of a future, the innermost first; none outside debug mode. */
export function creationFrames(future: object): readonly string[] {
  const birth = (future as Watched)[BIRTH];
  return birth === undefined ? [] : userFrames(birth.place);
}

// biome-ignore lint/suspicious/noExplicitAny: methods of any class
type Method = (this: any, ...args: any[]) => unknown;

/** The prototypes that were looked at, and what undoes their wrapping. */
const wrapped: Map<object, () => void> = new Map();

/** Makes the methods that use a future record that, in a class and in those that it extends. */
function wrapMethods(prototype: object): void {
  for (let at = prototype; at !== null && !wrapped.has(at); at = Object.getPrototypeOf(at)) {
    for (const name of ["next", "poll", "pollCancel", "drop"]) {
      if (Object.hasOwn(at, name)) {
        wrap(at, name, (method) => {
          return function (this: Watched, cx: Context) {
            const birth = this[BIRTH];
            if (birth !== undefined) birth.isUsed = true;
            return method.call(this, cx);
          };
        });
      }
    }
    if (!wrapped.has(at)) wrapped.set(at, () => {});
  }
}

/** Replaces a method, until no runtime is in debug mode. */
function wrap(prototype: object, name: string, replace: (method: Method) => Method): void {
  const descriptor = Object.getOwnPropertyDescriptor(prototype, name) as PropertyDescriptor;
  const undoOthers = wrapped.get(prototype);
  Object.defineProperty(prototype, name, { ...descriptor, value: replace(descriptor.value) });
  wrapped.set(prototype, () => {
    undoOthers?.();
    Object.defineProperty(prototype, name, descriptor);
  });
}

/**
 * Adds the creation site to the stack of what an `await` of the future throws. The error is created in the
 * runtime's poll, so its stack lacks the async function. After a `yield*` the stack has the coroutine anyway.
 */
function thenWithSite(future: Watched, then: Method, args: unknown[]): unknown {
  const birth = future[BIRTH];
  // A task knows where it was spawned.
  if (birth === undefined || future instanceof Join) return then.apply(future, args);
  const promise = then.call(future, undefined, (error: unknown) => {
    addToStack(error, `in a future created at ${callSite(birth.place)}`);
    throw error;
  }) as Promise<unknown>;
  return promise.then(...(args as []));
}
