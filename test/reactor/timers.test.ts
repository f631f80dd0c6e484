// Timers: all deadlines of a runtime behind one timerfd.

import { expect, setDefaultTimeout, test } from "bun:test";
import { Runtime, sleep, spawn } from "../../src/index.ts";
import { EMFILE } from "../../src/sys/index.ts";
import { FaultSys } from "../support/fault-sys.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

test("100,000 concurrent sleeps share one timerfd, which is registered once", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  let ended = 0;
  runtime.blockOn(function* () {
    const handles = Array.from({ length: 100_000 }, (_, index) =>
      spawn(function* () {
        yield* sleep(1 + (index % 10));
        ended++;
      }),
    );
    for (const handle of handles) yield* handle;
  });
  expect(ended).toBe(100_000);
  expect(faults.count("timerfdCreate")).toBe(1);
  expect(faults.count("epollAdd")).toBe(1);
  expect(runtime.metrics().timers).toBe(0);
});

/** Sleeps until a sleep has armed the timerfd: on a busy machine, a deadline may pass before the thread parks. */
function sleepParked(runtime: Runtime, faults: FaultSys): void {
  const before = faults.count("timerfdSet");
  do runtime.blockOn(sleep(1));
  while (faults.count("timerfdSet") === before);
}

test("the timerfd is armed again only when the earliest deadline moves closer", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  const later = runtime.spawn(sleep(1e6));
  sleepParked(runtime, faults);
  expect(faults.count("timerfdSet")).toBe(1); // for the earlier deadline
  const more = [2e6, 3e6].map((ms) => runtime.spawn(sleep(ms)));
  sleepParked(runtime, faults);
  expect(faults.count("timerfdSet")).toBe(2);
  for (const handle of [later, ...more]) handle.abort();
  runtime.block();
  expect(runtime.metrics().timers).toBe(0);
});

test("without a free fd for the timerfd, the timeout of epoll_wait keeps time", () => {
  const faults = new FaultSys().on("timerfdCreate", () => -EMFILE);
  using runtime = new Runtime({ sys: faults.sys });
  const startMs = performance.now();
  runtime.blockOn(sleep(3));
  expect(performance.now() - startMs).toBeGreaterThanOrEqual(3);
  faults.heal("timerfdCreate");
  sleepParked(runtime, faults);
  expect(faults.count("timerfdSet")).toBe(1);
});
