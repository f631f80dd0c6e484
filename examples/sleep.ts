// Ten tasks sleep 10, 20, ... 100 ms at the same time, behind one timerfd.
//
//   bun run examples/sleep.ts          # strace -f -e timerfd_create,epoll_ctl shows one of each
//   bun run examples/sleep.ts eager    # each task has an eventfd, and each wake writes to it
//
// You will see: the tasks finish in order, then the total time, a little more than 100 ms.

import { Runtime, sleep, spawn } from "../src/index.ts";

using runtime = new Runtime({ eventfd: process.argv[2] === "eager" ? "eager" : "lazy" });
const startMs = performance.now();

runtime.blockOn(function* () {
  const handles = Array.from({ length: 10 }, (_, index) =>
    spawn(function* () {
      yield* sleep((index + 1) * 10);
      console.log(`task ${index} slept ${(index + 1) * 10} ms`);
    }),
  );
  for (const handle of handles) yield* handle;
});

console.log(`all done after ${(performance.now() - startMs).toFixed(0)} ms`);
