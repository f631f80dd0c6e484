// explore: many runs of a scenario, each with other choices. A failing run is run again to see that it is repeatable,
// shrunk, and reported with a command that repeats it.

import { checkCount, invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { userFrames } from "../runtime/call-site.ts";
import { Choices, PctStrategy, RandomStrategy } from "./choices.ts";
import { DivergenceError } from "./errors.ts";
import { fromText, hashOf, toText } from "./replay-text.ts";
import { type FailingRun, shrink } from "./shrink.ts";
import {
  checkRunOptions,
  checkSeed,
  type Run,
  type RunOptions,
  runOnce,
  type Scenario,
} from "./simulate.ts";

/** The options of `explore`. */
export interface ExploreOptions extends RunOptions {
  /** How many runs. Default: 1000, or the environment variable `GUILLOTINE_RUNS`. */
  readonly runs?: number;
  /**
   * How runs choose which task runs next. `"random"` (default): each ready task with the same probability. `"pct"`:
   * by random priorities that change at a few points, which finds bugs that need one long delay of one task.
   */
  readonly strategy?: "random" | "pct";
  /** With `"pct"`: how many ordering constraints a bug may need. Default: 3. */
  readonly depth?: number;
  /** The seed of the first run; the others follow. Default: 0. */
  readonly seed?: number;
}

/** What an exploration without a failure returns. */
export interface Exploration {
  readonly runs: number;
  /** Turns of hosts, in all runs together. */
  readonly turns: number;
}

/**
 * Thrown by `explore` when a run fails. `cause` is the failure itself, and the message says how to repeat it. `code` is
 * `ERR_EXPLORATION`.
 */
export class ExplorationError extends Error {
  override readonly name = "ExplorationError";
  readonly code = "ERR_EXPLORATION";
  /** The seed of the failing run. */
  readonly seed: number;
  /** How many runs there were, with the failing one. */
  readonly runs: number;
  /** For `replay`: the shrunk choices. */
  readonly replay: string;
  /** The log of the shrunk run. */
  readonly log: readonly string[];

  /** Not for users: `explore` throws it. */
  constructor(
    message: string,
    details: Pick<ExplorationError, "seed" | "runs" | "replay" | "log">,
    cause: unknown,
  ) {
    super(message, { cause });
    this.seed = details.seed;
    this.runs = details.runs;
    this.replay = details.replay;
    this.log = details.log;
  }
}

/** For the first run with "pct"; later ones expect what the run before needed. */
const FIRST_EXPECTED_STEPS = 20;
/** One passing run in this many is run again, to see that it is repeatable. */
const CHECKED_RUNS = 100;
/** The report shows this many choices. */
const MAX_SHOWN = 20;

/**
 * Runs a scenario many times, each time with other choices: which task and which host runs next, how long each packet
 * takes, what the links of the scenario lose. Throws ExplorationError for the first run that fails, with its choices
 * reduced as far as possible and a command that repeats it. Throws DivergenceError if a run is not repeatable: its code
 * then depends on something that the simulation does not decide.
 *
 * @example
 * explore({ runs: 100 }, function* (world) {
 *   let balance = 0;
 *   world.host("bank", function* () {
 *     const deposit = function* () {
 *       yield* yieldNow();
 *       balance += 10; // read and written in one step: correct in any order
 *     };
 *     yield* join(spawn(deposit), spawn(deposit));
 *   });
 *   yield* sleep(10);
 *   if (balance !== 20) throw new Error("a deposit is lost");
 * });
 */
export function explore<T>(scenario: Scenario<T>): Exploration;
export function explore<T>(options: ExploreOptions, scenario: Scenario<T>): Exploration;
export function explore<T>(
  optionsOrScenario: ExploreOptions | Scenario<T>,
  maybeScenario?: Scenario<T>,
): Exploration {
  const hasOptions = typeof optionsOrScenario !== "function";
  const options: ExploreOptions = hasOptions ? optionsOrScenario : {};
  const scenario = hasOptions ? maybeScenario : optionsOrScenario;
  if (typeof scenario !== "function") {
    throw invalidType(`explore: scenario must be a function; got ${describe(scenario)}`);
  }
  checkRunOptions(options);
  const { strategy = "random", depth = 3, seed: firstSeed = 0 } = options;
  const { runs = Number(process.env.GUILLOTINE_RUNS ?? 1000) } = options;
  checkCount(runs, "options.runs");
  checkCount(depth, "options.depth");
  checkSeed(firstSeed);
  if (strategy !== "random" && strategy !== "pct") {
    throw invalidType(`options.strategy must be "random" or "pct"; got ${describe(strategy)}`);
  }
  const site = callSite();
  const line = lineOf(site);
  const recorded = process.env.GUILLOTINE_REPLAY;
  if (recorded !== undefined) {
    if (fromText(recorded).line === line) replay(recorded, options, scenario);
    return { runs: 0, turns: 0 };
  }
  let turns = 0;
  let steps = FIRST_EXPECTED_STEPS;
  for (let index = 0; index < runs; index++) {
    const seed = firstSeed + index;
    const decider =
      strategy === "pct" ? new PctStrategy(seed, depth, steps) : new RandomStrategy(seed);
    const choices = new Choices([], decider);
    const run = runOnce(scenario, { ...options, seed, choices, isLogged: false });
    turns += run.world.turns;
    if (decider instanceof PctStrategy) steps = Math.max(decider.steps, 1);
    if ("error" in run.outcome) throw reportOf(scenario, options, run, { index, runs, site, line });
    if (index % CHECKED_RUNS === 0) checkRepeatable(scenario, options, run);
  }
  return { runs, turns };
}

/** Runs again with the choices of `run`, and a log. */
function repeat<T>(
  scenario: Scenario<T>,
  options: RunOptions,
  seed: number,
  values: readonly number[],
): Run<T> {
  return runOnce(scenario, { ...options, seed, choices: new Choices(values), isLogged: true });
}

/** Throws DivergenceError unless the run can be repeated. Returns its repetition, which has a log. */
function checkRepeatable<T>(scenario: Scenario<T>, options: RunOptions, run: Run<T>): Run<T> {
  const { seed } = run.world;
  const { values } = run.choices;
  const first = repeat(scenario, options, seed, values);
  const second = repeat(scenario, options, seed, values);
  for (const other of [run, second]) {
    const at = firstChoiceThatDiffers(first.choices, other.choices);
    if (at < 0) continue;
    const [a, b] = [choiceAt(first.choices, at), choiceAt(other.choices, at)];
    throw new DivergenceError(
      `two runs with seed ${seed} differ at choice ${at}: ${a} in one, ${b} in the other. The code depends on something that the simulation does not decide, such as state outside the scenario`,
    );
  }
  const { log } = first.world;
  const otherLog = second.world.log;
  for (let index = 0; index < Math.max(log.length, otherLog.length); index++) {
    if (log[index] === otherLog[index]) continue;
    throw new DivergenceError(
      `two runs with seed ${seed} differ at line ${index} of their logs: ${describe(log[index])} and ${describe(otherLog[index])}`,
    );
  }
  return first;
}

function firstChoiceThatDiffers(a: Choices, b: Choices): number {
  const length = Math.max(a.values.length, b.values.length);
  for (let index = 0; index < length; index++) {
    if (choiceAt(a, index) !== choiceAt(b, index)) return index;
  }
  return -1;
}

/** Describes a choice: `task 1 of 3`. */
function choiceAt({ kinds, values, counts }: Choices, index: number): string {
  const kind = kinds[index];
  return kind === undefined ? "no choice" : `${kind} ${values[index]} of ${counts[index]}`;
}

interface Place {
  readonly index: number;
  readonly runs: number;
  readonly site: string;
  readonly line: number;
}

function reportOf<T>(
  scenario: Scenario<T>,
  options: ExploreOptions,
  run: Run<T>,
  { index, runs, site, line }: Place,
): ExplorationError {
  const { seed } = run.world;
  const { values } = checkRepeatable(scenario, options, run).choices;
  const attempt = (tried: readonly number[]): FailingRun | null => {
    const { outcome, choices } = runOnce(scenario, {
      ...options,
      seed,
      choices: new Choices(tried),
      isLogged: false,
    });
    if (!("error" in outcome)) return null;
    return { values: choices.values, kinds: choices.kinds, error: outcome.error };
  };
  const { error } = run.outcome as { error: unknown };
  const smallest = shrink({ values, kinds: run.choices.kinds, error }, attempt);
  const last = repeat(scenario, options, seed, smallest.values);
  const { choices, world } = last;
  const text = toText({
    line,
    seed,
    values: choices.values,
    check: hashOf(choices.kinds, choices.counts),
  });
  const unusual = [...choices.values.keys()].filter((at) => choices.values[at] !== 0);
  const shown = unusual.slice(0, MAX_SHOWN).map((at) => choiceAt(choices, at));
  if (unusual.length > MAX_SHOWN) shown.push(`and ${unusual.length - MAX_SHOWN} more`);
  const cause = "error" in last.outcome ? last.outcome.error : error;
  const { strategy = "random" } = options;
  const lines = [
    `run ${index + 1} of ${runs} failed (seed ${seed}, strategy ${strategy}): ${describeError(cause)}`,
    unusual.length === 0
      ? "It fails without any unusual choice."
      : `It fails because of ${unusual.length} of its ${choices.values.length} choices: ${shown.join(", ")}.`,
    `To repeat it: ${commandFor(text, site)}`,
  ];
  return new ExplorationError(
    lines.join("\n"),
    { seed, runs: index + 1, replay: text, log: [...world.log] },
    cause,
  );
}

/** Returns the place in the user's code that called `explore`. */
function callSite(): string {
  const here = new URL(import.meta.url).pathname;
  return userFrames(new Error()).find((frame) => !frame.includes(here)) ?? "an unknown place";
}

function describeError(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : describe(error);
}

/** The line number in a call site such as `test (/home/me/a.test.ts:12:3)`; 0 if it has none. */
function lineOf(site: string): number {
  return Number(/:(\d+):\d+\)?$/.exec(site)?.[1] ?? 0);
}

function commandFor(text: string, site: string): string {
  const file = /([^\s(]+):\d+:\d+\)?$/.exec(site)?.[1] ?? Bun.main;
  const isTest = /[._](test|spec)\.\w+$/.test(Bun.main);
  const cwd = `${process.cwd()}/`;
  const path = file.startsWith(cwd) ? `./${file.slice(cwd.length)}` : file;
  return `GUILLOTINE_REPLAY=${text} bun ${isTest ? `test ${path}` : Bun.main}`;
}

/**
 * Repeats a run that `explore` has recorded, with a log, and returns or throws what that run does. `text` is what the
 * error of `explore` has as `replay`. Set a breakpoint and run it under `bun --inspect-brk`. Throws DivergenceError if
 * the run passes now and its choices are about other things than the recorded ones: the code has changed.
 *
 * @example
 * const scenario = function* () {
 *   let last = "";
 *   const write = (name: string) => function* () {
 *     yield* yieldNow();
 *     last = name;
 *   };
 *   yield* join(spawn(write("a")), spawn(write("b")));
 *   if (last !== "b") throw new Error("the writes were reordered");
 * };
 * try {
 *   explore(scenario);
 * } catch (error) {
 *   const { replay: text } = error as ExplorationError;
 *   try {
 *     replay(text, scenario);
 *   } catch (again) {
 *     console.log((again as Error).message); // the writes were reordered
 *   }
 * }
 */
export function replay<T>(text: string, scenario: Scenario<T>): T;
export function replay<T>(text: string, options: RunOptions, scenario: Scenario<T>): T;
export function replay<T>(
  text: string,
  optionsOrScenario: RunOptions | Scenario<T>,
  maybeScenario?: Scenario<T>,
): T {
  const hasOptions = typeof optionsOrScenario !== "function";
  const options: RunOptions = hasOptions ? optionsOrScenario : {};
  const scenario = hasOptions ? maybeScenario : optionsOrScenario;
  if (typeof scenario !== "function") {
    throw invalidType(`replay: scenario must be a function; got ${describe(scenario)}`);
  }
  checkRunOptions(options);
  const { seed, values, check } = fromText(text);
  const { outcome, choices } = repeat(scenario, options, seed, values);
  if ("error" in outcome) throw outcome.error;
  if (hashOf(choices.kinds, choices.counts) !== check) {
    throw new DivergenceError(
      "replay: the run passes, and it made other choices than the recorded run: the code or the options have changed",
    );
  }
  return outcome.value;
}
