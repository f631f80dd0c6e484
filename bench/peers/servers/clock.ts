// The clock of a server of ours. steps.ts runs the server instruction by instruction, some 5000 times slower. By the
// system's clock each turn would then end after five polls instead of 61, so an echo would pay for ten times as many
// turns as it really does. So steps.ts slows the clock down as well.

import type { Clock } from "../../../src/index.ts";

const slowdown = Number(process.env.CLOCK_SLOWDOWN ?? 1);

export const clock: Clock = { now: () => performance.now() / slowdown };
