// The harness of all benchmarks: parses options, runs interleaved rounds, prints tables of ratios.

import { cpus } from "node:os";

const { argv } = process;
const option = (name: string): string | undefined => {
  const at = argv.indexOf(`--${name}`);
  return at < 0 ? undefined : (argv[at + 1] ?? "");
};

/** `--quick`: fewer and shorter rounds. */
export const isQuick: boolean = argv.includes("--quick");
/** `--rounds N`: measurements per peer. Default 21; 5 with `--quick`. */
export const rounds: number = Number(option("rounds") ?? (isQuick ? 5 : 21));
/** `--only TEXT`: runs only the tables whose title contains TEXT. */
const only: string = option("only") ?? "";
/** `--peer TEXT`: measures only the first peer and the peers whose name contains TEXT. */
const onlyPeer: string = option("peer") ?? "";

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const [low = Number.NaN, high = Number.NaN] = [sorted[middle - 1], sorted[middle]];
  return sorted.length % 2 === 1 ? high : (low + high) / 2;
}

/** The unit of a measurement: how to show a value, and which direction is better. */
export interface Unit {
  readonly better: "larger" | "smaller";
  show(value: number): string;
}

/** For operations per second. */
export const perSecond: Unit = {
  better: "larger",
  show: (value) => `${Math.round(value).toLocaleString("en")}/s`,
};
/** For measurements in nanoseconds. */
export const time: Unit = {
  better: "smaller",
  show: (value) => {
    if (value < 1e4) return `${value.toFixed(0)} ns`;
    return value < 1e7 ? `${(value / 1e3).toFixed(0)} µs` : `${(value / 1e6).toFixed(0)} ms`;
  },
};
/** For measurements in bytes. */
export const memory: Unit = { better: "smaller", show: (value) => `${value.toFixed(0)} B` };

/** A program or library under measurement. */
export interface Peer<S> {
  readonly name: string;
  /** Makes one measurement. Returns NaN if the peer does not support it. */
  measure(shape: S): Promise<number> | number;
  /** Returns the CPU time per operation since the last call, in µs. */
  cost?(): number;
}

export interface Row {
  readonly bench: string;
  readonly shape: string;
  readonly better: "larger" | "smaller";
  readonly rounds: number;
  readonly peer: string;
  /** Relative to the first peer of the same round: median, minimum and maximum. */
  readonly ratio: number;
  readonly min: number;
  readonly max: number;
  readonly median: number;
  readonly shown: string;
  /** CPU time per operation, in µs and relative to the first peer's. */
  readonly cost?: number;
  readonly costRatio?: number;
}

const rows: Row[] = [];

/** A warm-up ends after STEADY measurements without a new best one, or after MOST_WARM_UPS in all. */
const STEADY = 3;
const MOST_WARM_UPS = 30;

/** Measures until the rate is steady: a fresh server takes a second until the engine has compiled its hot path. */
async function warmUp<S>(peer: Peer<S>, argument: S, unit: Unit): Promise<number> {
  let best = Number.NaN;
  for (let left = STEADY, run = 0; left > 0 && run < MOST_WARM_UPS; run++) {
    const value = await peer.measure(argument);
    if (Number.isNaN(value)) return value;
    const isBetter = unit.better === "larger" ? value > best * 1.02 : value < best / 1.02;
    left = isBetter ? STEADY : left - 1;
    if (isBetter || Number.isNaN(best)) best = value;
  }
  return best;
}

/**
 * Measures the peers in turn, `runs` times after a warm-up of each. Prints and saves each result relative to the first
 * peer. `isWarm` false measures what a fresh process does, with one warm-up. Measures the first peer twice: the difference between its two copies is the noise. Leaves out a peer that
 * throws; throws if the first peer does.
 */
export async function compare<S>(
  bench: string,
  shape: string,
  argument: S,
  peers: readonly Peer<S>[],
  unit: Unit,
  runs: number = rounds,
  isWarm = true,
): Promise<void> {
  const [first, ...others] = peers;
  if (first === undefined || !`${bench}: ${shape}`.includes(only)) return;
  const control: Peer<S> = {
    ...first,
    name: `${first.name} again (control)`,
    measure: (one) => first.measure(one),
  };
  delete control.cost;
  let all = [first, control, ...others.filter(({ name }) => name.includes(onlyPeer))];
  const samples = new Map<Peer<S>, number[]>(all.map((peer) => [peer, []]));
  for (let round = -1; round < runs; round++) {
    // Start each round with another peer, so that no peer is always first.
    for (let turn = 0; turn < all.length; turn++) {
      const peer = all[(turn + Math.max(round, 0)) % all.length]!; // the index is in range
      let value: number;
      try {
        if (!samples.has(peer)) continue; // this peer failed in an earlier round
        const warms = round < 0 && isWarm && peer !== control;
        value = await (warms ? warmUp(peer, argument, unit) : peer.measure(argument));
      } catch (error) {
        if (peer === first) throw error;
        console.log(`left out: ${peer.name}, in round ${round}: ${(error as Error).message}`);
        samples.delete(peer);
        continue;
      }
      if (round >= 0) samples.get(peer)!.push(value);
      else if (Number.isNaN(value)) samples.delete(peer);
      else peer.cost?.(); // discards the cost of the warm-up
    }
    all = all.filter((peer) => samples.has(peer));
  }
  console.log(`\n${bench}: ${shape} (${runs} rounds, ${unit.better} is better)`);
  let firstCost: number | undefined;
  for (const peer of all) {
    const values = samples.get(peer)!;
    const ratios = values.map((value, round) => value / samples.get(first)![round]!);
    const cost = peer.cost?.();
    firstCost ??= cost;
    const row: Row = {
      bench,
      shape,
      better: unit.better,
      rounds: runs,
      peer: peer.name,
      ratio: median(ratios),
      min: Math.min(...ratios),
      max: Math.max(...ratios),
      median: median(values),
      shown: unit.show(median(values)),
      ...(cost === undefined ? {} : { cost, costRatio: cost / firstCost! }),
    };
    rows.push(row);
    console.log(line(row));
  }
  await save();
}

function line({ ratio, min, max, shown, peer, cost, costRatio }: Row): string {
  const range = `(${min.toFixed(2)}–${max.toFixed(2)})`;
  const costs =
    cost === undefined
      ? ""
      : `; ${cost.toFixed(2)} µs CPU per operation (${costRatio!.toFixed(2)})`;
  return `  ${ratio.toFixed(2)}  ${range.padEnd(13)} ${shown.padStart(12)}  ${peer}${costs}`;
}

/** Prints that a peer is not available, and how to install it. */
export function skip(name: string, how: string): void {
  console.log(`skipped: ${name}. To include it: ${how}`);
}

async function machine(): Promise<string> {
  const { model = "?" } = cpus()[0] ?? {};
  const kernel = (await Bun.file("/proc/sys/kernel/osrelease").text()).trim();
  return `${model}, ${cpus().length} cores, Linux ${kernel}, Bun ${Bun.version}`;
}

/** `--json FILE`: writes all rows after each table, so that an interrupted run keeps its results. */
async function save(): Promise<void> {
  const file = option("json");
  if (file === undefined) return;
  const date = new Date().toISOString().slice(0, 10);
  const all = { machine: await machine(), date, rounds, rows };
  await Bun.write(file, JSON.stringify(all, null, 2));
}

/** Prints the processor, the kernel and Bun's version. */
export async function finish(): Promise<void> {
  console.log(`\n${await machine()}`);
}
