// A primitive and a model of it, driven side by side by fast-check's commands. Futures are polled by
// hand, so that nothing is left to a scheduler: a waiter can be woken, and dropped before it is polled.

import { expect } from "bun:test";
import fc from "fast-check";
import { type Future, Pending } from "../../src/index.ts";
import { type ManualContext, type ManualRuntime, manualContext } from "./manual.ts";

/** What a poll, or a call, came to. Errors are told apart by what their names and messages start with. */
export type Outcome = "pending" | { value: unknown } | { error: string };

export function outcomeOf(call: () => unknown): Outcome {
  try {
    const value = call();
    return value === Pending ? "pending" : { value };
  } catch (error) {
    return { error: (error as Error).name };
  }
}

/** A future that has not ended, and what the model knows of it. */
export interface Entry<S> {
  readonly future: Future<unknown>;
  readonly manual: {
    cx: Parameters<Future<unknown>["poll"]>[0];
    target: ManualContext;
    runtime: ManualRuntime;
  };
  /** It was polled: it may wait in a queue, and must be woken. */
  wasPolled: boolean;
  readonly state: S;
}

/** The system under test with its model; `S` is what the model keeps for each future. */
export abstract class Model<S> {
  readonly entries: Entry<S>[] = [];
  readonly #ended: Entry<S>[] = [];

  /** Each value costs one of the coop budget. */
  readonly isPaid: boolean = true;

  /** What polling this one comes to; the model does the same. */
  abstract expectPoll(state: S, entry: Entry<S>): Outcome;
  /** The model drops this one. */
  abstract expectDrop(state: S, entry: Entry<S>): void;
  /** Whether a poll would not be Pending: then it must have been woken. */
  abstract isReady(state: S, entry: Entry<S>): boolean;
  /** What must hold after each command. */
  check(): void {}
  /** What must hold when all futures are gone. */
  checkEnd(): void {}

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
    expect(outcomeOf(() => this.seen(future.poll(manual.cx)))).toEqual(expected);
    if (expected === "pending") return;
    if ("value" in expected && this.isPaid) expect(manual.runtime.budget).toBe(127);
    expect(
      outcomeOf(() => future.poll(manual.cx)),
      "it is used once",
    ).toEqual({ error: "Error" });
    this.#ends(entry);
  }

  /** A poll without budget does nothing, but asks for another. */
  starve(index: number): void {
    const entry = this.entries[index % this.entries.length];
    if (entry === undefined || !this.isPaid) return;
    const { cx, runtime, target } = entry.manual;
    const { wakes } = target;
    runtime.budget = 0;
    expect(outcomeOf(() => entry.future.poll(cx))).toBe("pending");
    expect(target.wakes).toBe(wakes + 1);
  }

  /** What the model compares of a value. */
  seen(value: unknown): unknown {
    return value;
  }

  drop(index: number): void {
    this.#ended.at(-1)?.future.drop(); // changes nothing
    const entry = this.entries[index % this.entries.length];
    if (entry === undefined) return;
    this.entries.splice(this.entries.indexOf(entry), 1);
    this.expectDrop(entry.state, entry);
    entry.future.drop();
    entry.future.drop(); // idempotent
    this.#ends(entry);
    expect(outcomeOf(() => entry.future.poll(entry.manual.cx))).toEqual({ error: "Error" });
  }

  #ends(entry: Entry<S>): void {
    entry.manual.target.wakes = 0;
    this.#ended.push(entry);
  }

  /** Nobody wakes what is gone: it has left its queue. */
  checkEnded(): void {
    for (const { manual } of this.#ended) expect(manual.target.wakes, "it left").toBe(0);
  }

  checkAll(): void {
    for (const entry of this.entries) {
      if (entry.wasPolled && this.isReady(entry.state, entry)) {
        expect(entry.manual.target.wakes, "no lost wake").toBeGreaterThan(0);
      }
    }
    this.check();
  }
}

/** What a command does to both sides; the number chooses. */
export type Steps<M> = Record<string, (model: M, n: number) => unknown>;

/** What `checkModel` needs of a Model, whatever it keeps for each future. */
interface Driven {
  readonly entries: readonly unknown[];
  poll(index: number): void;
  drop(index: number): void;
  starve(index: number): void;
  checkAll(): void;
  checkEnd(): void;
  checkEnded(): void;
}

/** Runs `steps`, beside polls and drops, in random order against what `make` makes. */
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
