// Random trees of futures against a small model of what they mean.
//
// Leaves are completed by hand, one event at a time, in a random order. The model says what each node
// gives, when, and which leaves are dropped; time is an event, too (a leaf that stands for the clock).

import { expect, setDefaultTimeout, spyOn, test } from "bun:test";
import fc from "fast-check";
import {
  type Coroutine,
  type Future,
  joinAll,
  Runtime,
  race,
  scope,
  shield,
  spawn,
  TimeoutError,
  yieldNow,
} from "../src/index.ts";
import { Counting } from "./support/counting.ts";

setDefaultTimeout(60_000); // a slow machine is no failure

type Tree =
  | { kind: "leaf"; fails: boolean }
  | { kind: "join" | "race" | "scope"; children: Tree[] }
  | { kind: "timeout" | "shield" | "spawn" | "careful" | "async"; child: Tree };

const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.oneof(
    { depthSize: "medium", maxDepth: 5, withCrossShrink: true },
    fc.record({ kind: fc.constant("leaf" as const), fails: fc.boolean() }),
    fc.record({
      kind: fc.constantFrom("join" as const, "race" as const, "scope" as const),
      children: fc.array(tie("tree"), { minLength: 1, maxLength: 3 }),
    }),
    fc.record({
      kind: fc.constantFrom(
        "timeout" as const,
        "shield" as const,
        "spawn" as const,
        "careful" as const,
        "async" as const,
      ),
      child: tie("tree"),
    }),
  ),
}));

class Leaf extends Counting<number> {
  readonly id: number;
  readonly fails: boolean;
  isOver = false;

  constructor(id: number, fails: boolean) {
    super();
    this.id = id;
    this.fails = fails;
  }

  end(): void {
    this.isOver = true;
    if (this.fails) this.fail(new Error(`leaf ${this.id}`));
    else this.complete(this.id);
  }
}

/** The real thing, its leaves in order, and the log of cleanups. */
class World {
  readonly leaves: Leaf[] = [];
  readonly begun = new Set<number>();
  readonly cleaned: number[] = [];
  #careful = 0;

  leaf(fails: boolean): Leaf {
    const leaf = new Leaf(this.leaves.length, fails);
    this.leaves.push(leaf);
    return leaf;
  }

  build(node: Tree): Future<unknown> {
    switch (node.kind) {
      case "leaf":
        return this.leaf(node.fails);
      case "join":
        return joinAll(node.children.map((child) => this.build(child)));
      case "race":
        return race(...(node.children.map((child) => this.build(child)) as [Future<unknown>]));
      case "scope": {
        const children = node.children.map((child) => this.build(child));
        return scope(function* (s) {
          for (const child of children) s.spawn(child);
          yield* yieldNow();
        });
      }
      case "timeout": {
        const work = this.build(node.child);
        const clock = this.leaf(false);
        return race(work, function* () {
          yield* clock;
          throw new TimeoutError("late");
        });
      }
      case "shield":
        return shield(this.build(node.child));
      case "spawn": {
        const child = this.build(node.child);
        return scope(function* (s) {
          return yield* s.spawn(child);
        });
      }
      case "async": {
        const child = this.build(node.child);
        return race(async () => await child);
      }
      case "careful": {
        const id = this.#careful++;
        const child = this.build(node.child);
        const world = this;
        return race(function* (): Coroutine<unknown> {
          world.begun.add(id);
          try {
            return yield* child;
          } finally {
            yield* yieldNow();
            yield* yieldNow();
            world.cleaned.push(id);
          }
        });
      }
    }
  }
}

type Result = { value: unknown } | { error: string } | null;

/** What a tree has come to when the leaves in `ended` have ended, in that order; null: it waits. */
function model(
  node: Tree,
  ended: readonly number[],
  next: { id: number },
): { at: number; result: Result } {
  const waits = { at: Number.POSITIVE_INFINITY, result: null };
  switch (node.kind) {
    case "leaf": {
      const id = next.id++;
      const at = ended.indexOf(id);
      if (at < 0) return waits;
      return { at, result: node.fails ? { error: `leaf ${id}` } : { value: id } };
    }
    case "shield":
    case "spawn":
    case "careful":
    case "async":
      return model(node.child, ended, next);
    case "timeout": {
      const work = model(node.child, ended, next);
      const clock = ended.indexOf(next.id++);
      if (clock >= 0 && clock < work.at) return { at: clock, result: { error: "late" } };
      return work;
    }
    case "race": {
      const results = node.children.map((child) => model(child, ended, next));
      return results.reduce((first, other) => (other.at < first.at ? other : first));
    }
    case "join":
    case "scope": {
      const results = node.children.map((child) => model(child, ended, next));
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

function hasShield(node: Tree): boolean {
  if (node.kind === "leaf") return false;
  if (node.kind === "shield") return true;
  if ("child" in node) return hasShield(node.child);
  return node.children.some(hasShield);
}

/** Lets all that is ready run out. */
function settle(runtime: Runtime): void {
  runtime.blockOn(function* () {
    for (let turn = 0; turn < 40; turn++) yield* yieldNow();
  });
}

const order = fc.array(fc.nat(1000), { maxLength: 12 });

test("property: results agree with the model; each leaf ends once; nothing is left", () => {
  // Shielded work that fails while it is cancelled is reported: expected here, and not looked at.
  const print = spyOn(console, "error").mockImplementation(() => {});
  fc.assert(
    fc.property(tree, order, fc.option(fc.nat(6)), (shape, picks, abortAt) => {
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
      const ended: number[] = [];
      const expected = (): Result => model(shape, ended, { id: 0 }).result;
      let isAborted = false;
      for (const [step, pick] of picks.entries()) {
        if (step === abortAt) {
          handle.abort();
          isAborted = true;
          settle(runtime);
        }
        const open = world.leaves.filter((leaf) => !leaf.isOver && leaf.waker !== null);
        const leaf = open[pick % Math.max(open.length, 1)];
        if (leaf === undefined) break;
        leaf.end();
        ended.push(leaf.id);
        settle(runtime);
        // A shield holds its tree back until its own leaves are done: the model does not say when.
        if (!isAborted && !hasShield(shape)) expect<Result>(result).toEqual(expected());
      }
      if (!handle.isFinished) handle.abort();
      settle(runtime);
      // What is shielded is finished by its leaves only.
      for (;;) {
        const open = world.leaves.find((leaf) => !leaf.isOver && leaf.waker !== null);
        if (open === undefined) break;
        open.end();
        settle(runtime);
      }
      runtime.block();
      expect(handle.isFinished).toBe(true);
      for (const leaf of world.leaves) {
        // Begun: completed, or dropped, exactly once. (It may have been woken, and then dropped.)
        if (leaf.polls > 0) {
          const completed = leaf.drops === 0;
          expect([leaf.id, completed ? leaf.isOver : leaf.drops === 1]).toEqual([leaf.id, true]);
        }
        expect(leaf.waker).toBeNull();
      }
      expect(world.cleaned.toSorted()).toEqual([...world.begun].toSorted());
      expect(runtime.tasks()).toEqual([]);
      expect(runtime.metrics()).toMatchObject({ timers: 0, sources: 0, jobs: 0 });
    }),
    { numRuns: 5000 },
  );
  print.mockRestore();
});

test("spawn inside a tree is joined: nothing outlives it", () => {
  using runtime = new Runtime();
  const leaf = new Counting<void>();
  runtime.blockOn(function* () {
    const handle = spawn(scope((s) => s.spawn(leaf)));
    yield* yieldNow();
    yield* yieldNow();
    handle.abort();
  });
  runtime.block();
  expect([leaf.polls, leaf.drops]).toEqual([1, 1]);
});
