// Pipes to a child process: lines go to the stdin of sort(1), and the sorted lines come back from its stdout.
//
//   bun run examples/pipe.ts [lines]     # 10 lines by default; try 1000000
//
// You will see: how many lines were written, how many came back, and the first and the last of them. Writing and reading
// run at the same time: with only one of them, both processes would wait for each other once the pipes are full.

import { closeSync } from "node:fs";
import { type AsyncFd, BufReader, join, pipe, Runtime } from "../src/index.ts";

const count = process.argv[2] === undefined ? 10 : Number(process.argv[2]);

function* writeNumbers(stdin: AsyncFd) {
  using _ = stdin; // sort prints nothing before the end of its input
  for (let first = 0; first < count; first += 1000) {
    const numbers = Array.from(
      { length: Math.min(1000, count - first) },
      (_, index) => first + index,
    );
    yield* stdin.writeAll(`${numbers.toReversed().join("\n")}\n`);
  }
  return count;
}

function* readLines(stdout: AsyncFd) {
  using _ = stdout;
  const reader = new BufReader(stdout);
  let lines = 0;
  let first: string | null = null;
  let last: string | null = null;
  for (;;) {
    const line = yield* reader.readLine();
    if (line === null) return { lines, first, last };
    first ??= line;
    last = line;
    lines++;
  }
}

await using runtime = new Runtime();
await runtime.run(function* () {
  const input = pipe();
  const output = pipe();
  // The child inherits these two ends, which `release` makes blocking. A pipe ends only once every copy of its writing end
  // is closed, so close ours.
  const [stdin, stdout] = [input.reader.release(), output.writer.release()];
  const child = Bun.spawn(["sort", "-n"], { stdin, stdout });
  closeSync(stdin);
  closeSync(stdout);
  const [written, { lines, first, last }] = yield* join(
    writeNumbers(input.writer),
    readLines(output.reader),
  );
  console.log(`wrote ${written} lines to sort (process ${child.pid})`);
  console.log(`read ${lines} lines, from ${first} to ${last}`);
});
