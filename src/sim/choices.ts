// Choices: the one sequence from which every decision of a run comes: which host runs, which task, how long a packet
// takes, what is lost. The sequence is recorded, and replaying it repeats the run.
//
// Invariant: choice 0 is always the calm one: first come, first served; the shortest latency; no loss. So a run without
// choices is an ordinary run, and a failure is the simpler the more of its choices are 0. Shrinking uses that.

import type { Runnable } from "../core/context.ts";
import { Random } from "./random.ts";

/** Decides what the recorded sequence does not. */
export interface Strategy {
  /** Returns an integer from 0 to `count` - 1. */
  pick(kind: string, count: number): number;
  /** Returns true with the given probability. */
  chance(kind: string, probability: number): boolean;
  /** Returns the index of the task to run next. `ready` has at least two. */
  pickTask(ready: readonly Runnable[]): number;
}

/** Decides calmly: always 0. */
const CALM: Strategy = { pick: () => 0, chance: () => false, pickTask: () => 0 };

/** Decides at random. */
export class RandomStrategy implements Strategy {
  protected readonly random: Random;

  constructor(seed: number) {
    this.random = new Random(seed);
  }

  pick(_kind: string, count: number): number {
    return this.random.below(count);
  }

  chance(_kind: string, probability: number): boolean {
    return this.random.next() < probability;
  }

  pickTask(ready: readonly Runnable[]): number {
    return this.random.below(ready.length);
  }
}

/** A task that runs this often in a row yields to the others: it may wait for them. */
const MAX_REPEATS = 100;

/**
 * Probabilistic concurrency testing (Burckhardt et al., 2010): each task gets a random priority, the ready task with the
 * highest one runs, and at a few random points the running task drops to the lowest. A bug that needs `depth` ordering
 * constraints is found with a probability of at least 1 / (tasks × steps^(depth - 1)) per run.
 */
export class PctStrategy extends RandomStrategy {
  private readonly priorities = new WeakMap<Runnable, number>();
  private readonly changePoints: Set<number>;
  /** How often a task was chosen. */
  steps: number = 0;
  private lowest = 0;
  private last: Runnable | null = null;
  private repeats = 0;

  /** `expectedSteps` is about how often a run chooses a task: the change points are among these choices. */
  constructor(seed: number, depth: number, expectedSteps: number) {
    super(seed);
    const changes = Array.from({ length: depth - 1 }, () => this.random.below(expectedSteps));
    this.changePoints = new Set(changes);
  }

  override pickTask(ready: readonly Runnable[]): number {
    let best = 0;
    for (let index = 1; index < ready.length; index++) {
      if (this.priorityOf(ready[index]!) > this.priorityOf(ready[best]!)) best = index;
    }
    const chosen = ready[best]!;
    this.repeats = chosen === this.last ? this.repeats + 1 : 0;
    this.last = chosen;
    if (this.changePoints.has(this.steps++) || this.repeats > MAX_REPEATS) {
      this.priorities.set(chosen, --this.lowest);
      this.repeats = 0;
    }
    return best;
  }

  private priorityOf(task: Runnable): number {
    let priority = this.priorities.get(task);
    if (priority === undefined) {
      priority = this.random.next();
      this.priorities.set(task, priority);
    }
    return priority;
  }
}

export class Choices {
  /** What was chosen so far. */
  readonly values: number[] = [];
  /** What each choice was about, and out of how many. */
  readonly kinds: string[] = [];
  readonly counts: number[] = [];
  private readonly replayed: readonly number[];
  private readonly strategy: Strategy;
  /** Called with each choice other than the calm one; null without a log. */
  onChoice: ((kind: string, value: number, count: number) => void) | null = null;

  /** Replays `replayed`, then asks `strategy`; by default, decides calmly. */
  constructor(replayed: readonly number[] = [], strategy: Strategy = CALM) {
    this.replayed = replayed;
    this.strategy = strategy;
  }

  /** Chooses an integer from 0 to `count` - 1. 0 must be the calm choice. */
  pick(kind: string, count: number): number {
    return count <= 1
      ? 0
      : this.record(kind, count, this.next(count) ?? this.strategy.pick(kind, count));
  }

  /** Chooses whether something unusual happens. */
  chance(kind: string, probability: number): boolean {
    if (probability <= 0) return false;
    const value = this.next(2) ?? Number(this.strategy.chance(kind, probability));
    return this.record(kind, 2, value) === 1;
  }

  /** Chooses the task to run next. */
  pickTask(ready: readonly Runnable[]): number {
    const count = ready.length;
    if (count <= 1) return 0;
    return this.record("task", count, this.next(count) ?? this.strategy.pickTask(ready));
  }

  private next(count: number): number | undefined {
    const value = this.replayed[this.values.length];
    return value === undefined ? undefined : Math.min(value, count - 1);
  }

  private record(kind: string, count: number, value: number): number {
    this.values.push(value);
    this.kinds.push(kind);
    this.counts.push(count);
    if (value !== 0) this.onChoice?.(kind, value, count);
    return value;
  }
}
