// Programs of test/runtime/blocking/blocking.test.ts. Each needs a process of its own: `bun test` handles uncaught
// errors of Workers itself, and one test checks when the process ends. Usage: bun blocking.ts <name>

import { Runtime, spawnBlocking } from "../../../src/index.ts";

using runtime = new Runtime();

function printFailure(job: () => Promise<void>): void {
  try {
    runtime.blockOn(runtime.spawnBlocking(job));
  } catch (error) {
    console.log((error as Error).message.split("\n")[0]);
  }
}

const programs: Readonly<Record<string, () => void>> = {
  "crashing workers": () => {
    printFailure(async () => {
      setTimeout(() => {
        throw new Error("in a timer");
      }, 1);
      await new Promise(() => {});
    });
    printFailure(async () => {
      Promise.reject(new Error("in a promise"));
      await new Promise(() => {});
    });
    console.log(runtime.blockOn(runtime.spawnBlocking(() => 7)));
  },
  "sum of squares": () => {
    const sum = runtime.blockOn(function* () {
      const handles = [1, 2, 3].map((n) => spawnBlocking((m: number) => m * m, n));
      let sum = 0;
      for (const handle of handles) sum += yield* handle;
      return sum;
    });
    console.log(sum);
  },
};

programs[process.argv[2] ?? "sum of squares"]?.(); // a compiled executable has no argument
