// All deadlines of a runtime behind one timerfd.

import { expect, setDefaultTimeout, test } from "bun:test";
import { Runtime, sleep, spawn } from "../../src/index.ts";
import { FaultSys } from "../support/fault-sys.ts";

setDefaultTimeout(60_000); // a slow machine is no failure

test("100,000 sleeps at once: one timerfd, registered once, set at most a few times", () => {
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

test("the timerfd is set only when the earliest deadline came closer", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  const later = runtime.spawn(sleep(1e6));
  runtime.blockOn(sleep(1));
  expect(faults.count("timerfdSet")).toBe(1); // for the near one
  const more = [2e6, 3e6].map((ms) => runtime.spawn(sleep(ms)));
  runtime.blockOn(sleep(1));
  expect(faults.count("timerfdSet")).toBe(2);
  for (const handle of [later, ...more]) handle.abort();
  runtime.block();
  expect(runtime.metrics().timers).toBe(0);
});

test("without an fd for it, epoll's own timeout keeps time; until there is one", () => {
  const faults = new FaultSys().on("timerfdCreate", () => -24);
  using runtime = new Runtime({ sys: faults.sys });
  const startMs = performance.now();
  runtime.blockOn(sleep(3));
  expect(performance.now() - startMs).toBeGreaterThanOrEqual(3);
  faults.heal("timerfdCreate");
  runtime.blockOn(sleep(1));
  expect(faults.count("timerfdSet")).toBe(1);
});
