// simulate: one run of a scenario. It also installs and removes everything that a run replaces on this thread.

import { checkCount, checkObject, invalidType, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { IntoFuture } from "../core/into-future.ts";
import { swapDriving } from "../runtime/promises/driving.ts";
import { usePromises } from "../runtime/promises/microtasks.ts";
import { simulation } from "../runtime/simulated.ts";
import { setDefaultSys } from "../sys/default.ts";
import { METHODS, type Sys } from "../sys/sys.ts";
import { Choices, RandomStrategy } from "./choices.ts";
import { refuse, SimulationError } from "./errors.ts";
import type { FaultOptions } from "./faults.ts";
import { install } from "./globals.ts";
import type { LinkOptions } from "./network.ts";
import { Random } from "./random.ts";
import { World } from "./world.ts";

/** What a scenario is: a function that receives the world and returns work. */
export type Scenario<T> = (world: World) => IntoFuture<T>;

/** The options that all runs share. */
export interface RunOptions {
  /** All links between hosts, unless `world.link` changes one. */
  readonly link?: LinkOptions;
  /** System calls that fail by chance. */
  readonly faults?: FaultOptions;
  /** What `Date` shows at the start. Default: 2030-01-01T00:00:00Z. */
  readonly date?: Date | number;
  /** The run fails after this many turns of hosts: a scenario that never ends should not hang. Default: 10 million. */
  readonly maxTurns?: number;
}

/** The options of `simulate`. */
export interface SimulateOptions extends RunOptions {
  /**
   * An integer >= 0, from which every choice follows. Without a seed every choice is the calm one: tasks run first come,
   * first served, and packets take the shortest time. That suits a unit test which only wants virtual time.
   */
  readonly seed?: number;
  /** Whether the run keeps `world.log`, which needs some memory for each system call. Default: true. */
  readonly log?: boolean;
}

const DEFAULT_DATE_MS = 1_893_456_000_000;
const DEFAULT_MAX_TURNS = 10_000_000;

/** One run, with what it recorded. */
export interface Run<T> {
  readonly world: World;
  readonly choices: Choices;
  readonly outcome: { readonly value: T } | { readonly error: unknown };
}

export interface RunSettings extends RunOptions {
  readonly seed: number;
  readonly choices: Choices;
  readonly isLogged: boolean;
  readonly wrapSys?: (sys: Sys) => Sys;
}

/** Throws TypeError or RangeError for a bad option. */
export function checkRunOptions(options: RunOptions): void {
  checkObject(options);
  if (options.maxTurns !== undefined) checkCount(options.maxTurns, "options.maxTurns");
}

/** Throws RangeError unless `seed` is an integer >= 0. */
export function checkSeed(seed: unknown): asserts seed is number {
  if (typeof seed === "number" && Number.isSafeInteger(seed) && seed >= 0) return;
  throw outOfRange(`options.seed must be an integer >= 0; got ${describe(seed)}`);
}

/** Performs one run. Returns its failure in the outcome. */
export function runOnce<T>(scenario: Scenario<T>, settings: RunSettings): Run<T> {
  if (simulation.refuse !== null) {
    throw new SimulationError("a simulation cannot run inside another; start another host instead");
  }
  const { seed, choices, isLogged, wrapSys } = settings;
  const { link = {}, faults = {}, maxTurns = DEFAULT_MAX_TURNS } = settings;
  const { date = DEFAULT_DATE_MS } = settings;
  const world = World.create({ seed, choices, link, faults, isLogged, maxTurns, wrapSys });
  usePromises();
  const startMs = Number(date);
  const restoreGlobals = install({
    now: () => world.now(),
    date: () => startMs + world.now(),
    random: new Random(seed),
    onWarning: (text) => world.note(`warning: ${text}`),
  });
  simulation.refuse = (what) => refuse(what, "a host is given its work; use spawn() in it");
  const previousSys = setDefaultSys(sysOf(world));
  const previousDriving = swapDriving(null);
  try {
    return { world, choices, outcome: { value: world.run(() => scenario(world)) } };
  } catch (error) {
    return { world, choices, outcome: { error } };
  } finally {
    swapDriving(previousDriving);
    setDefaultSys(previousSys);
    simulation.refuse = null;
    restoreGlobals();
  }
}

/** Returns the Sys of code outside any task: that of the host in its turn. */
function sysOf(world: World): Sys {
  const methods = (Object.keys(METHODS) as (keyof Sys)[]).map((name) => [
    name,
    (...args: readonly unknown[]) =>
      (world.currentSys[name] as (...args: readonly unknown[]) => unknown).apply(
        world.currentSys,
        args as [],
      ),
  ]);
  return Object.fromEntries(methods) as Sys;
}

/**
 * Runs a scenario in a simulated world: with virtual time, a simulated kernel for each host, and a simulated network
 * between them, on this thread, without Bun's loop. Returns the value of the scenario, or throws what it threw, or what
 * a host threw if nobody has joined that host. The same seed repeats the same run.
 *
 * During the run `Date`, `performance.now`, `Math.random`, `crypto.getRandomValues` and `crypto.randomUUID` are
 * virtual. What cannot be simulated throws SimulationError by name: `fetch`, `setTimeout`, `Bun.file`, Workers, fds
 * that other code opened, `new Runtime()`. The run also fails with SimulationError when nothing can happen any more.
 *
 * @example
 * const elapsedMs = simulate(function* (world) {
 *   yield* sleep(3_600_000); // takes no time
 *   return world.now();
 * });
 * console.log(elapsedMs); // 3600000
 */
export function simulate<T>(scenario: Scenario<T>): T;
export function simulate<T>(options: SimulateOptions, scenario: Scenario<T>): T;
export function simulate<T>(
  optionsOrScenario: SimulateOptions | Scenario<T>,
  maybeScenario?: Scenario<T>,
): T {
  const hasOptions = typeof optionsOrScenario !== "function";
  const options: SimulateOptions = hasOptions ? optionsOrScenario : {};
  const scenario = hasOptions ? maybeScenario : optionsOrScenario;
  if (typeof scenario !== "function") {
    throw invalidType(`simulate: scenario must be a function; got ${describe(scenario)}`);
  }
  checkRunOptions(options);
  const { seed, log = true } = options;
  if (seed !== undefined) checkSeed(seed);
  const choices = new Choices([], seed === undefined ? undefined : new RandomStrategy(seed));
  const { outcome } = runOnce(scenario, { ...options, seed: seed ?? 0, choices, isLogged: log });
  if ("error" in outcome) throw outcome.error;
  return outcome.value;
}
