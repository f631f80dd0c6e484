// Shrinking: from the choices of a run that fails to fewer and calmer ones that fail in the same way. First the faults
// go, then the delays, then the preemptions, each kind as a whole; then single choices.

/** A failing run: its choices, what each was about, and how the run failed. */
export interface FailingRun {
  readonly values: readonly number[];
  readonly kinds: readonly string[];
  readonly error: unknown;
}

/** The order in which the kinds of choices become calm: faults, delays, preemptions. */
const KINDS: readonly (readonly string[])[] = [
  ["loss", "duplicate", "unsynced write", "fault"],
  ["short write", "segment", "split"],
  ["latency", "blocking call"],
  ["scenario"],
  ["host", "turn"],
  ["task"],
];

/** Returns a text that is equal for failures of one cause: numbers in it may differ. */
export function failureKey(error: unknown): string {
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return text.replace(/\d+(\.\d+)?/g, "#");
}

/**
 * Returns the smallest failing run that it finds. `attempt` performs a run with the given choices, which decides calmly
 * after their end, and returns it if it fails, else null. Performs at most `maxAttempts` runs.
 */
export function shrink(
  failing: FailingRun,
  attempt: (values: readonly number[]) => FailingRun | null,
  maxAttempts: number = 500,
): FailingRun {
  const key = failureKey(failing.error);
  let best = failing;
  let left = maxAttempts;
  const accept = (values: readonly number[]): boolean => {
    if (left-- <= 0) return false;
    const run = attempt(values);
    if (run === null || failureKey(run.error) !== key || !isSimpler(run, best)) return false;
    best = run;
    return true;
  };
  shorten(() => best, accept);
  for (const kinds of KINDS) {
    accept(best.values.map((value, index) => (kinds.includes(best.kinds[index]!) ? 0 : value)));
  }
  for (const kinds of KINDS) calmGroups(() => best, kinds, accept);
  lower(() => best, accept);
  shorten(() => best, accept);
  return best;
}

/** How many choices are not calm, and how far from it they are. */
function weightOf({ values }: FailingRun): number {
  let weight = 0;
  for (const value of values) if (value !== 0) weight += 1000 + Math.min(value, 999);
  return weight;
}

function isSimpler(a: FailingRun, b: FailingRun): boolean {
  const difference = weightOf(a) - weightOf(b);
  return difference < 0 || (difference === 0 && a.values.length < b.values.length);
}

type Accept = (values: readonly number[]) => boolean;

/** Cuts the end off: the rest of the run is then calm. */
function shorten(best: () => FailingRun, accept: Accept): void {
  for (let cut = best().values.length; cut > 0; cut = Math.floor(cut / 2)) {
    while (best().values.length > cut && accept(best().values.slice(0, -cut)));
    if (cut === best().values.length) accept([]);
  }
}

/** Makes choices of the given kinds calm: half of them, then smaller groups, then one at a time. */
function calmGroups(best: () => FailingRun, kinds: readonly string[], accept: Accept): void {
  const indexes = (): number[] => {
    const { values, kinds: all } = best();
    return [...values.keys()].filter((at) => values[at] !== 0 && kinds.includes(all[at]!));
  };
  for (
    let size = Math.ceil(indexes().length / 2);
    size > 0;
    size = size === 1 ? 0 : Math.ceil(size / 2)
  ) {
    for (let start = 0; ; ) {
      const group = new Set(indexes().slice(start, start + size));
      if (group.size === 0) break;
      const isCalmer = accept(best().values.map((value, at) => (group.has(at) ? 0 : value)));
      if (!isCalmer) start += size;
    }
  }
}

/** Reduces each choice as far as possible. */
function lower(best: () => FailingRun, accept: Accept): void {
  for (let at = 0; at < best().values.length; at++) {
    for (let value = best().values[at]!; value > 1; ) {
      const smaller = Math.floor(value / 2);
      const values = best().values.map((old, index) => (index === at ? smaller : old));
      if (!accept(values)) break;
      value = best().values[at] ?? 0;
    }
  }
}
