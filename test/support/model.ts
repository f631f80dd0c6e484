// Model tests of primitives such as channels and locks: fast-check's commands drive the primitive and a model of it side
// by side. The test polls futures by hand, without a scheduler. So a waiter can be woken and then dropped before its
// next poll.

import { expect } from "bun:test";
import fc from "fast-check";
import { type Future, Pending } from "../../src/index.ts";
import { type ManualContext, type ManualRuntime, manualContext } from "./manual.ts";

/** The outcome of a poll or a call. Errors are compared by name. */
export type Outcome = "pending" | { value: unknown } | { error: string };

/** Runs `call` and returns its outcome. */
export function outcomeOf(call: () => unknown): Outcome {
  try {
    const value = call();
    return value === Pending ? "pending" : { value };
  } catch (error) {
    return { error: (error as Error).name };
  }
}

/** A pending future with its model state. */
export interface Entry<S> {
  readonly future: Future<unknown>;
  readonly manual: {
    cx: Parameters<Future<unknown>["poll"]>[0];
    target: ManualContext;
    runtime: ManualRuntime;
  };
  /** True once the future was polled. From then on it must be woken when it is ready. */
  wasPolled: boolean;
  readonly state: S;
}

/** The primitive under test and its model. `S` is the model's state of one future. */
export abstract class Model<S> {
  readonly entries: Entry<S>[] = [];
  readonly #ended: Entry<S>[] = [];

  /** True if each completed poll charges 1 to the coop budget. */
  readonly chargesBudget: boolean = true;

  /** Polls the future in the model and returns the expected outcome. */
  abstract expectPoll(state: S, entry: Entry<S>): Outcome;
  /** Drops the future in the model. */
  abstract expectDrop(state: S, entry: Entry<S>): void;
  /** Returns true if a poll would not return Pending. The future must then have been woken. */
  abstract isReady(state: S, entry: Entry<S>): boolean;
  /** Checks the invariants that hold after each command. */
  check(): void {}
  /** Checks the invariants that hold after all futures have ended. */
  checkEnd(): void {}

  /** Adds a future, and polls it unless `isPolled` is false. */
  begin(future: Future<unknown>, state: S, isPolled = true): void {
    const entry = { future, manual: manualContext(), wasPolled: false, state };
    this.entries.push(entry);
    if (isPolled) this.poll(this.entries.length - 1);
  }

  poll(index: number): void {
    const entry = this.entries[index % this.entries.length];
    if (entry === undefined) return;
    const { future, manual } = entry;
    manual.runtime.budget = 128;
    manual.target.wakes = 0;
    const expected = this.expectPoll(entry.state, entry);
    entry.wasPolled = true;
    if (expected !== "pending") this.entries.splice(this.entries.indexOf(entry), 1);
    expect(outcomeOf(() => this.comparedPart(future.poll(manual.cx)))).toEqual(expected);
    if (expected === "pending") return;
    if ("value" in expected && this.chargesBudget) expect(manual.runtime.budget).toBe(127);
    expect(
      outcomeOf(() => future.poll(manual.cx)),
      "a poll after the end throws",
    ).toEqual({ error: "Error" });
    this.#recordEnd(entry);
  }

  /** Polls without coop budget: the poll must wake its task, to be polled again, and do nothing else. */
  starve(index: number): void {
    const entry = this.entries[index % this.entries.length];
    if (entry === undefined || !this.chargesBudget) return;
    const { cx, runtime, target } = entry.manual;
    const { wakes } = target;
    runtime.budget = 0;
    expect(outcomeOf(() => entry.future.poll(cx))).toBe("pending");
    expect(target.wakes).toBe(wakes + 1);
  }

  /** Returns the part of a value that the model compares. */
  comparedPart(value: unknown): unknown {
    return value;
  }

  drop(index: number): void {
    this.#ended.at(-1)?.future.drop(); // idempotent
    const entry = this.entries[index % this.entries.length];
    if (entry === undefined) return;
    this.entries.splice(this.entries.indexOf(entry), 1);
    this.expectDrop(entry.state, entry);
    entry.future.drop();
    entry.future.drop(); // idempotent
    this.#recordEnd(entry);
    expect(outcomeOf(() => entry.future.poll(entry.manual.cx))).toEqual({ error: "Error" });
  }

  #recordEnd(entry: Entry<S>): void {
    entry.manual.target.wakes = 0;
    this.#ended.push(entry);
  }

  /** Checks that no ended future was woken: each has left its queue. */
  checkEnded(): void {
    for (const { manual } of this.#ended) {
      expect(manual.target.wakes, "no wake after the end").toBe(0);
    }
  }

  /** Checks that every future that is ready was woken, and the invariants of `check`. */
  checkAll(): void {
    for (const entry of this.entries) {
      if (entry.wasPolled && this.isReady(entry.state, entry)) {
        expect(entry.manual.target.wakes, "no lost wake").toBeGreaterThan(0);
      }
    }
    this.check();
  }
}

/** The commands by name. Each acts on the primitive and its model; `n` is random. */
export type Steps<M> = Record<string, (model: M, n: number) => unknown>;

/** The part of a Model that `checkModel` uses, independent of `S`. */
interface Driven {
  readonly entries: readonly unknown[];
  poll(index: number): void;
  drop(index: number): void;
  starve(index: number): void;
  checkAll(): void;
  checkEnd(): void;
  checkEnded(): void;
}

/** Runs `steps`, polls, drops and starved polls in random order against a model that `make` creates. */
export function checkModel<M extends Driven>(make: () => M, steps: Steps<M>): void {
  const all: Steps<M> = {
    ...steps,
    poll: (model, n) => model.poll(n),
    drop: (model, n) => model.drop(n),
    starve: (model, n) => model.starve(n),
  };
  const commands = Object.entries(all).map(([name, run]) =>
    fc.nat(20).map(
      (n): fc.Command<{ model: M }, object> => ({
        check: () => true,
        run({ model }) {
          run(model, n);
          model.checkAll();
        },
        toString: () => `${name}(${n})`,
      }),
    ),
  );
  fc.assert(
    fc.property(fc.commands(commands, { maxCommands: 60, size: "max" }), (list) => {
      const model = make();
      fc.modelRun(() => ({ model: { model }, real: {} }), list);
      while (model.entries.length > 0) {
        model.drop(0);
        model.checkAll();
      }
      model.checkEnd();
      model.checkEnded();
    }),
    { numRuns: 500 },
  );
}
