// Finds the planted bugs, and counts the runs.

import type { Coroutine } from "../../../src/index.ts";
import { ExplorationError, explore, type World } from "../../../src/sim/index.ts";
import { plantedInLibrary } from "./library.ts";
import { programs } from "./programs.ts";

export type Strategy = "random" | "pct";

export interface Planted {
  readonly name: string;
  /** Explores with the bug. Returns the error of the exploration; null if no run failed. */
  find(strategy: Strategy, runs: number): ExplorationError | null;
  /** Explores without the bug, which must not fail. */
  pass(strategy: Strategy, runs: number): void;
}

function errorOf(work: () => unknown): ExplorationError | null {
  try {
    work();
    return null;
  } catch (error) {
    if (error instanceof ExplorationError) return error;
    throw error;
  }
}

export const planted: readonly Planted[] = [
  ...programs.map(({ name, link = {}, scenario }): Planted => {
    const run = (strategy: Strategy, runs: number, isPlanted: boolean): unknown =>
      explore({ strategy, runs, link }, scenario(isPlanted));
    return {
      name,
      find: (strategy, runs) => errorOf(() => run(strategy, runs, true)),
      pass: (strategy, runs) => void run(strategy, runs, false),
    };
  }),
  ...plantedInLibrary.map(({ name, plant, scenario }): Planted => {
    const run = (strategy: Strategy, runs: number, isPlanted: boolean): void => {
      const restore = plant(isPlanted);
      try {
        explore({ strategy, runs }, (world: World): Coroutine<void> => scenario(world));
      } finally {
        restore();
      }
    };
    return {
      name,
      find: (strategy, runs) => errorOf(() => run(strategy, runs, true)),
      pass: (strategy, runs) => run(strategy, runs, false),
    };
  }),
];
