// What the benchmarks share: interleaved rounds, medians, tables of ratios, options.

import { cpus } from "node:os";

const { argv } = process;
const option = (name: string): string | undefined => {
  const at = argv.indexOf(`--${name}`);
  return at < 0 ? undefined : (argv[at + 1] ?? "");
};

export const isQuick: boolean = argv.includes("--quick");
export const rounds: number = Number(option("rounds") ?? (isQuick ? 5 : 21));
/** `--only name`: the benches whose name contains it. */
export const only: string = option("only") ?? "";

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const [low = Number.NaN, high = Number.NaN] = [sorted[middle - 1], sorted[middle]];
  return sorted.length % 2 === 1 ? high : (low + high) / 2;
}

export interface Peer<S> {
  readonly name: string;
  /** One measurement; larger is better. */
  measure(shape: S): Promise<number> | number;
  /** More to print beside it, after all rounds. */
  note?(): string;
}

export interface Row {
  readonly bench: string;
  readonly shape: string;
  readonly peer: string;
  /** Of the first peer of the same round. */
  readonly ratio: number;
  readonly min: number;
  readonly max: number;
  readonly absolute: string;
}

const rows: Row[] = [];

/**
 * Measures the peers in turn, `rounds` times, after a warm-up round; prints each as a ratio to the
 * first, which is measured twice: what its two copies differ by is the noise.
 */
export async function compare<S>(
  bench: string,
  shape: string,
  argument: S,
  peers: readonly Peer<S>[],
  show: (value: number) => string,
): Promise<void> {
  const [first] = peers;
  if (first === undefined || !`${bench} ${shape}`.includes(only)) return;
  const all = [
    ...peers,
    { name: `${first.name} again (control)`, measure: first.measure.bind(first) },
  ];
  const samples: number[][] = all.map(() => []);
  for (let round = -1; round < rounds; round++) {
    // Rotated, so that nobody always comes after the same neighbour.
    for (let turn = 0; turn < all.length; turn++) {
      const index = (turn + Math.max(round, 0)) % all.length;
      const value = await all[index]!.measure(argument); // index < length
      if (round >= 0) samples[index]!.push(value);
    }
  }
  console.log(`\n${bench}: ${shape} (${rounds} rounds, larger is better)`);
  for (const [index, peer] of all.entries()) {
    const ratios = samples[index]!.map((value, round) => value / samples[0]![round]!);
    const row: Row = {
      bench,
      shape,
      peer: peer.name,
      ratio: median(ratios),
      min: Math.min(...ratios),
      max: Math.max(...ratios),
      absolute: show(median(samples[index]!)),
    };
    rows.push(row);
    const note = "note" in peer ? (peer.note?.() ?? "") : "";
    console.log(
      `  ${row.ratio.toFixed(2)}  (${row.min.toFixed(2)}–${row.max.toFixed(2)})  ${row.absolute.padStart(12)}  ${peer.name} ${note}`,
    );
  }
}

/** The machine, and, with `--json FILE`, all rows. */
export async function finish(): Promise<void> {
  const { model = "?" } = cpus()[0] ?? {};
  const machine = `${model}, ${cpus().length} cores, Bun ${Bun.version}`;
  console.log(`\n${machine}`);
  const file = option("json");
  if (file !== undefined) await Bun.write(file, JSON.stringify({ machine, rounds, rows }, null, 2));
}
