// The clock of a server of ours. steps.ts runs the server instruction by instruction, some 5000 times slower. By the
// system's clock each turn would then end after five polls instead of 61, so an echo would pay for ten times as many
// turns as it really does. So steps.ts slows the clock down as well.

import { type Clock, systemClock } from "../../../src/sys/clock.ts";

const { CLOCK_SLOWDOWN } = process.env;
const slowdown = Number(CLOCK_SLOWDOWN);

export const clock: Clock =
  CLOCK_SLOWDOWN === undefined ? systemClock : { now: () => systemClock.now() / slowdown };
