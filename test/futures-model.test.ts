// Random trees of futures, compared with a small model of their semantics.
//
// The first test completes leaves and aborts spawned tasks, one at a time and in random order. After each event the
// model says what the tree must have returned or thrown, if it has ended. Time is an event as well: each timeout has
// a leaf in place of its timer. The second test lets events happen at any moment, and checks only how the tree ends.
//
// The nodes `coroutine` and `async` await their child and have a cleanup that suspends. `all` is `Promise.all`.

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import {
  AbortError,
  type Coroutine,
  type Future,
  type JoinHandle,
  joinAll,
  Runtime,
  race,
  scope,
  shield,
  spawn,
  TimeoutError,
  timeout,
  yieldNow,
} from "../src/index.ts";
import { Counting } from "./support/counting.ts";
import { untilIdle } from "./support/idle.ts";
import { captureConsoleError } from "./support/output.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

type Tree =
  | { kind: "leaf"; fails: boolean }
  | { kind: "join" | "race" | "scope" | "all"; children: Tree[] }
  | { kind: "timeout" | "shield" | "spawn" | "coroutine" | "async"; child: Tree };

const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.oneof(
    { depthSize: "medium", maxDepth: 5, withCrossShrink: true },
    fc.record({ kind: fc.constant("leaf" as const), fails: fc.boolean() }),
    fc.record({
      kind: fc.constantFrom("join" as const, "race" as const, "scope" as const, "all" as const),
      children: fc.array(tie("tree"), { minLength: 1, maxLength: 3 }),
    }),
    fc.record({
      kind: fc.constantFrom(
        "timeout" as const,
        "shield" as const,
        "spawn" as const,
        "coroutine" as const,
        "async" as const,
      ),
      child: tie("tree"),
    }),
  ),
}));

class Leaf extends Counting<number> {
  readonly id: number;
  readonly fails: boolean;
  /** True directly inside a `shield`: once it has started, it is never dropped. */
  readonly isShielded: boolean;
  isOver = false;

  constructor(id: number, fails: boolean, isShielded: boolean) {
    super();
    this.id = id;
    this.fails = fails;
    this.isShielded = isShielded;
  }

  get isOpen(): boolean {
    return !this.isOver && this.waker !== null;
  }

  end(): void {
    this.isOver = true;
    if (this.fails) this.fail(new Error(`leaf ${this.id}`));
    else this.complete(this.id);
  }
}

/** A cleanup that suspends, of a coroutine or an async function. */
class Cleanup {
  isBegun = false;
  /** The work ended before any cancellation. A cancellation during its `finally` may then cut the `finally` short. */
  endedByItself = false;
  /** Its position among the cleanups that ran to their end; null until then. */
  place: number | null = null;
  readonly within: Cleanup | null;

  constructor(within: Cleanup | null) {
    this.within = within;
  }
}

/** The futures under test: the leaves, spawned tasks and cleanups of one tree, in order of creation. */
class World {
  readonly leaves: Leaf[] = [];
  /** The handles of the spawns that have started, by their number in the tree. */
  readonly handles: Map<number, JoinHandle<unknown>> = new Map();
  readonly cleanups: Cleanup[] = [];
  #spawns = 0;
  #cleaned = 0;

  #leaf(fails: boolean, isShielded: boolean): Leaf {
    const leaf = new Leaf(this.leaves.length, fails, isShielded);
    this.leaves.push(leaf);
    return leaf;
  }

  /** Builds the future of `node`. The cleanups of `node` must run before the cleanup `within`. */
  build(node: Tree, within: Cleanup | null = null, isShielded = false): Future<unknown> {
    switch (node.kind) {
      case "leaf":
        return this.#leaf(node.fails, isShielded);
      case "join":
        return joinAll(node.children.map((child) => this.build(child, within)));
      case "race":
        return race(...(node.children.map((child) => this.build(child, within)) as [Future<void>]));
      case "all": {
        // When one child fails, `Promise.all` settles and the others continue: their cleanups may run later.
        const children = node.children.map((child) => this.build(child));
        return race(async () => {
          const helper = async (child: Future<unknown>): Promise<unknown> => await child;
          return await Promise.all(children.map(helper));
        });
      }
      case "scope": {
        const children = node.children.map((child) => this.build(child, within));
        return scope(function* (s) {
          for (const child of children) s.spawn(child);
          yield* yieldNow();
        });
      }
      case "timeout": {
        const work = this.build(node.child, within);
        const clock = this.#leaf(false, false);
        const late = function* (): Coroutine<never> {
          yield* clock;
          throw new TimeoutError("late");
        };
        return timeout(1e9, race(work, late));
      }
      case "shield":
        return shield(this.build(node.child, within, true));
      case "spawn": {
        const id = this.#spawns++;
        const child = this.build(node.child, within); // an event may abort it through its handle
        const { handles } = this;
        return scope(function* (s) {
          const handle = s.spawn(child, { name: `s${id}` });
          handles.set(id, handle);
          return yield* handle;
        });
      }
      case "async": {
        const cleanup = this.#cleanup(within);
        const child = this.build(node.child, cleanup, isShielded);
        return race(async () => {
          cleanup.isBegun = true;
          try {
            const value = await child;
            cleanup.endedByItself = true;
            return value;
          } catch (error) {
            // Awaiting an aborted task also throws an AbortError, so the class alone does not tell.
            const { message } = error as Error;
            cleanup.endedByItself = !(
              error instanceof AbortError && message.includes("was cancelled")
            );
            throw error;
          } finally {
            await yieldNow();
            await yieldNow();
            this.#end(cleanup);
          }
        });
      }
      case "coroutine": {
        const cleanup = this.#cleanup(within);
        const child = this.build(node.child, cleanup, isShielded);
        const world = this;
        return race(function* (): Coroutine<unknown> {
          cleanup.isBegun = true;
          try {
            const value = yield* child;
            cleanup.endedByItself = true;
            return value;
          } catch (error) {
            cleanup.endedByItself = true;
            throw error;
          } finally {
            yield* yieldNow();
            yield* yieldNow();
            world.#end(cleanup);
          }
        });
      }
    }
  }

  #cleanup(within: Cleanup | null): Cleanup {
    const cleanup = new Cleanup(within);
    this.cleanups.push(cleanup);
    return cleanup;
  }

  #end(cleanup: Cleanup): void {
    if (cleanup.place !== null) throw new Error("a cleanup ran twice");
    cleanup.place = this.#cleaned++;
  }
}

type Result = { value: unknown } | { error: string } | null;
/** The events so far: `leaf 3` when leaf 3 ended, `abort 3` when the task of spawn 3 was aborted. */
type Log = readonly string[];

/** Returns the result of a tree after the events of `log`, and the index of the event that decided it. */
function model(node: Tree, log: Log, next: { leaf: number; spawn: number }): Decision {
  const waits = { at: Number.POSITIVE_INFINITY, result: null };
  switch (node.kind) {
    case "leaf": {
      const id = next.leaf++;
      const at = log.indexOf(`leaf ${id}`);
      if (at < 0) return waits;
      return { at, result: node.fails ? { error: `leaf ${id}` } : { value: id } };
    }
    case "spawn": {
      const id = next.spawn++;
      const child = model(node.child, log, next);
      const at = log.indexOf(`abort ${id}`);
      return at < 0 || child.at < at ? child : { at, result: { error: `task s${id} was aborted` } };
    }
    case "shield":
    case "coroutine":
    case "async":
      return model(node.child, log, next);
    case "timeout": {
      const work = model(node.child, log, next);
      const clock = log.indexOf(`leaf ${next.leaf++}`);
      if (clock >= 0 && clock < work.at) return { at: clock, result: { error: "late" } };
      return work;
    }
    case "race": {
      const results = node.children.map((child) => model(child, log, next));
      return results.reduce((first, other) => (other.at < first.at ? other : first));
    }
    case "join":
    case "all":
    case "scope": {
      const results = node.children.map((child) => model(child, log, next));
      const failures = results.filter(({ result }) => result !== null && "error" in result);
      if (failures.length > 0) {
        return failures.reduce((first, other) => (other.at < first.at ? other : first));
      }
      if (results.some(({ result }) => result === null)) return waits;
      const at = Math.max(...results.map((result) => result.at));
      const values = results.map(({ result }) => (result as { value: unknown }).value);
      return { at, result: { value: node.kind === "scope" ? undefined : values } };
    }
  }
}
/** `at` is the index of the deciding event; Infinity, with the result null, while the tree waits. */
type Decision = { at: number; result: Result };

function hasShield(node: Tree): boolean {
  if (node.kind === "leaf") return false;
  if (node.kind === "shield") return true;
  if ("child" in node) return hasShield(node.child);
  return node.children.some(hasShield);
}

/** Runs `turns` turns of the executor. The default is more than any tree needs to become idle. */
function settle(runtime: Runtime, turns = 60): void {
  if (turns === 0) return;
  runtime.blockOn(function* () {
    for (let turn = 0; turn < turns; turn++) yield* yieldNow();
  });
}

/** Checks what must hold for every tree once it has ended. */
function checkEnd(runtime: Runtime, world: World): void {
  for (const leaf of world.leaves) {
    expect(leaf.waker).toBeNull();
    if (leaf.polls === 0) continue;
    // A leaf that was polled has completed or was dropped once. It may be dropped after its completion woke its task.
    const ended = leaf.drops === 0 ? leaf.isOver : leaf.drops === 1;
    expect([leaf.id, ended]).toEqual([leaf.id, true]);
    if (leaf.isShielded) expect([leaf.id, leaf.drops]).toEqual([leaf.id, 0]);
  }
  for (const { isBegun, endedByItself, place, within } of world.cleanups) {
    if (!endedByItself) expect(place !== null).toBe(isBegun);
    // Cleanups end from the inside out.
    if (place !== null && within?.place != null) expect(place).toBeLessThan(within.place);
  }
  expect(runtime.tasks()).toEqual([]);
  expect(runtime.metrics()).toMatchObject({ timers: 0 });
}

/** Aborts the tree, and completes the leaves that shields still wait for. */
function finish(runtime: Runtime, world: World, handle: JoinHandle<void>): void {
  handle.abort();
  settle(runtime);
  for (;;) {
    const open = world.leaves.find((leaf) => leaf.isOpen);
    if (open === undefined) break;
    open.end();
    settle(runtime);
  }
  runtime.block();
  expect(handle.isFinished).toBe(true);
  checkEnd(runtime, world);
}

/** One event: its kind, and which leaf or spawned task it happens to. */
const step = fc.record({
  kind: fc.oneof(
    { weight: 4, arbitrary: fc.constant("end" as const) },
    { weight: 1, arbitrary: fc.constant("wake" as const) },
    { weight: 1, arbitrary: fc.constant("abort" as const) },
  ),
  pick: fc.nat(1000),
  /** How many turns run before the next event. Only the second test uses it. */
  turns: fc.nat(4),
});
const steps = fc.array(step, { maxLength: 12 });

function pickOf<T>(from: readonly T[], pick: number): T | undefined {
  return from[pick % Math.max(from.length, 1)];
}

test("a random tree has the result that the model predicts, a wake polls one leaf once, and nothing leaks", () => {
  // The runtime reports shielded work that fails during cancellation. This test expects such failures.
  using _print = captureConsoleError();
  fc.assert(
    fc.property(tree, steps, (shape, all) => {
      using runtime = new Runtime({ onUncaught: () => {} });
      const world = new World();
      const future = world.build(shape);
      let result: Result = null;
      const handle = runtime.spawn(function* () {
        try {
          result = { value: yield* future };
        } catch (error) {
          result = { error: (error as Error).message };
        }
      });
      settle(runtime);
      const log: string[] = [];
      for (const { kind, pick } of all) {
        const open = world.leaves.filter((leaf) => leaf.isOpen);
        const leaf = pickOf(open, pick);
        if (leaf === undefined) break;
        if (kind === "wake") {
          const polls = open.map((other) => other.polls + (other === leaf ? 1 : 0));
          leaf.wake();
          leaf.wake();
          settle(runtime);
          expect(open.map((other) => other.polls)).toEqual(polls);
          continue;
        }
        if (kind === "end") {
          leaf.end();
          log.push(`leaf ${leaf.id}`);
        } else {
          const spawned = pickOf([...world.handles], pick);
          if (spawned === undefined || spawned[1].isFinished) continue;
          spawned[1].abort();
          log.push(`abort ${spawned[0]}`);
        }
        settle(runtime);
        // A shield delays its tree until the leaves inside the shield have ended. The model does not say when.
        if (hasShield(shape)) continue;
        expect<Result>(result).toEqual(model(shape, log, { leaf: 0, spawn: 0 }).result);
      }
      finish(runtime, world, handle);
    }),
    { numRuns: 4000, includeErrorInReport: true },
  );
});

test("in a random tree with events at any moment, each started future ends once and runs its cleanup", () => {
  // The runtime reports shielded work that fails during cancellation. This test expects such failures.
  using _print = captureConsoleError();
  fc.assert(
    fc.property(tree, steps, fc.option(fc.nat(8)), (shape, all, abortAt) => {
      using runtime = new Runtime({ onUncaught: () => {} });
      const world = new World();
      const handle = runtime.spawn(function* () {
        try {
          yield* world.build(shape);
        } catch {}
      });
      for (const [index, { kind, pick, turns }] of all.entries()) {
        if (index === abortAt) handle.abort();
        const leaf = pickOf(
          world.leaves.filter((leaf) => leaf.isOpen),
          pick,
        );
        if (kind === "abort") pickOf([...world.handles.values()], pick)?.abort();
        else if (kind === "wake") leaf?.wake();
        else leaf?.end();
        settle(runtime, turns);
      }
      finish(runtime, world, handle);
    }),
    { numRuns: 4000, includeErrorInReport: true },
  );
});

test("aborting a task ends the tasks of its scope", () => {
  // The runtime reports shielded work that fails during cancellation. This test expects such failures.
  using _print = captureConsoleError();
  using runtime = new Runtime();
  const leaf = new Counting<void>();
  runtime.blockOn(function* () {
    const handle = spawn(scope((s) => s.spawn(leaf)));
    yield* untilIdle();
    handle.abort();
  });
  runtime.block();
  expect([leaf.polls, leaf.drops]).toEqual([1, 1]);
});
