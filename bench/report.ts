// Generates bench/RESULTS.md and docs/bench.svg from the files that `bun run bench --json FILE` wrote. A table in a
// later file replaces the table of the same title in an earlier file.
//
//   bun bench/report.ts FILE...

import type { Row } from "./harness.ts";

interface Results {
  readonly machine: string;
  readonly date: string;
  readonly rounds: number;
  readonly rows: readonly Row[];
}

const files = process.argv.slice(2);
if (files.length === 0) throw new Error("usage: bun bench/report.ts FILE...");
const all: Results[] = await Promise.all(files.map((file) => Bun.file(file).json()));
const { machine, date, rounds } = all[0]!; // checked above
const tables = new Map<string, Row[]>();
for (const { rows } of all) {
  const titled = Map.groupBy(rows, ({ bench, shape }) => `${bench}: ${shape}`);
  for (const [title, table] of titled) tables.set(title, table);
}
const rows = [...tables.values()].flat();

const at = (name: string): string => new URL(name, import.meta.url).pathname;

await Bun.write(at("RESULTS.md"), results());
await Bun.write(at("../docs/bench.svg"), plot("TCP echo", "Bun.listen"));

function results(): string {
  const lines = [
    "# Results",
    "",
    `\`bun run bench\` and \`bun bench/report.ts\` generated this page on ${date}: ${machine}. Unless a table says otherwise, it ran ${rounds} interleaved rounds. Each ratio is the median of the ratios to the first peer of the same round, with the minimum and the maximum. The control is a second copy of the first peer: the difference between the two is the noise.`,
  ];
  for (const [title, all] of tables) {
    const [first] = all;
    const hasCost = all.some(({ cost }) => cost !== undefined);
    lines.push(
      "",
      `## ${title}`,
      "",
      `${first!.better === "larger" ? "Larger" : "Smaller"} is better; ${first!.rounds} rounds.`,
      "",
    );
    lines.push(`| | ratio | min–max | median |${hasCost ? " CPU per operation | ratio |" : ""}`);
    lines.push(`| --- | --- | --- | --- |${hasCost ? " --- | --- |" : ""}`);
    for (const { peer, ratio, min, max, shown, cost, costRatio } of all) {
      const costs =
        cost === undefined ? " | |" : ` ${cost.toFixed(2)} µs | ${costRatio!.toFixed(2)} |`;
      const range = `${min.toFixed(2)}–${max.toFixed(2)}`;
      lines.push(`| ${peer} | ${ratio.toFixed(2)} | ${range} | ${shown} |${hasCost ? costs : ""}`);
    }
  }
  return `${lines.join("\n")}\n`;
}

/** Returns a bar chart of ratios as SVG, with a group per shape. The dashed line at 1 is the peer `first`. */
function plot(bench: string, first: string): string {
  const colors: Record<string, string> = {
    "guillotine, blockOn": "#b2182b",
    "guillotine, guest mode": "#f4a582",
    "async functions, blockOn": "#762a83",
    "async functions, ambient": "#c2a5cf",
    "C, epoll": "#4d4d4d",
    "tokio, current_thread": "#878787",
    "node:net on Bun": "#92c5de",
    "node:net on Node": "#4393c3",
  };
  const [width, left, bar, gap, top] = [860, 230, 13, 26, 46];
  const groups = [...tables].filter(([title]) => title.startsWith(`${bench}:`));
  const most = Math.max(
    ...groups.flatMap(([, all]) =>
      all.filter(({ peer }) => peer in colors).map((row) => row.ratio),
    ),
  );
  const x = (ratio: number): number =>
    left + (ratio / Math.ceil(most * 2)) * 2 * (width - left - 60);
  const parts: string[] = [];
  let y = top;
  for (const [title, all] of groups) {
    const bars = all.filter(({ peer }) => peer in colors);
    const name = title.slice(bench.length + 2);
    parts.push(text(left - 10, y + (bars.length * bar) / 2 + 4, name, "end", 13));
    for (const { peer, ratio, shown } of bars) {
      const length = (x(ratio) - left).toFixed(1);
      parts.push(
        `<rect x="${left}" y="${y}" width="${length}" height="${bar - 2}" fill="${colors[peer]}"><title>${peer}: ${ratio.toFixed(2)}, ${shown}</title></rect>`,
        text(x(ratio) + 5, y + 10, ratio.toFixed(2), "start", 10),
      );
      y += bar;
    }
    y += gap;
  }
  const names = Object.entries(colors).filter(([name]) => rows.some(({ peer }) => peer === name));
  const legend = names.map(([name, color], index) => {
    const [column, row] = [index % 3, Math.floor(index / 3)];
    const [atX, atY] = [left + column * 215, y + 14 + row * 20];
    return `<rect x="${atX}" y="${atY - 10}" width="12" height="12" fill="${color}"/>${text(atX + 18, atY, name, "start", 12)}`;
  });
  const height = y + 14 + Math.ceil(names.length / 3) * 20;
  const one = x(1).toFixed(1);
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" fill="#222">
<title>${bench}, relative to ${first}</title>
<rect width="${width}" height="${height}" fill="#fff"/>
${text(left, 20, `${bench}: echoes per second, relative to ${first} (dashed line)`, "start", 14)}
${parts.join("\n")}
<line x1="${one}" y1="${top - 8}" x2="${one}" y2="${y - gap + 8}" stroke="#222" stroke-dasharray="3 3"/>
${legend.join("\n")}
</svg>
`;
}

function text(x: number, y: number, content: string, anchor: string, size: number): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" font-size="${size}">${content}</text>`;
}
