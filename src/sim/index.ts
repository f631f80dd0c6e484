// bun-guillotine/sim: a simulated world for unmodified servers and clients.

export { Disk } from "./disk.ts";
export { DivergenceError, SimulationError } from "./errors.ts";
export { type Check, cancelEverywhere, failEverywhere, type RepeatableWork } from "./everywhere.ts";
export {
  type Exploration,
  ExplorationError,
  type ExploreOptions,
  explore,
  replay,
} from "./explore.ts";
export type { FaultOptions } from "./faults.ts";
export { Host, type HostOptions, type HostWork } from "./host.ts";
export type { LinkOptions } from "./network.ts";
export { type RunOptions, type Scenario, type SimulateOptions, simulate } from "./simulate.ts";
export { World } from "./world.ts";
