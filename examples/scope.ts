// Structured concurrency: a scope ends when all its tasks have ended, and the first failure cancels the
// rest.
//
//   bun run examples/scope.ts
//
// You will see: three workers start; after c fails, b and then a clean up; and only then the error,
// caught outside the scope.

import { Runtime, scope, sleep } from "../src/index.ts";

function* worker(name: string, cleanupMs: number) {
  console.log(`${name}: started`);
  try {
    yield* sleep(1000);
    console.log("never printed");
  } finally {
    yield* sleep(cleanupMs);
    console.log(`${name}: cleaned up`);
  }
}

using runtime = new Runtime();

runtime.blockOn(function* () {
  try {
    yield* scope(function* (s) {
      s.spawn(worker("a", 20));
      s.spawn(worker("b", 10));
      s.spawn(function* () {
        console.log("c: started");
        yield* sleep(20);
        throw new Error("c failed");
      });
      yield* sleep(1000); // the body is cancelled too
    });
  } catch (error) {
    console.log(`outside: ${(error as Error).message}`);
  }
});
