// The errors of a simulation.

/**
 * Thrown when something cannot be simulated (a foreign promise, a real fd, a Worker), when a simulation is used
 * wrongly, or when it cannot go on. `code` is `ERR_SIMULATION`.
 */
export class SimulationError extends Error {
  override readonly name = "SimulationError";
  readonly code = "ERR_SIMULATION";
}

/**
 * Thrown when a second run with the same choices did something else: the code depends on something that the
 * simulation does not decide. The message names the first difference. `code` is `ERR_DIVERGED`.
 */
export class DivergenceError extends Error {
  override readonly name = "DivergenceError";
  readonly code = "ERR_DIVERGED";
}

/** Throws for what cannot be simulated. */
export function refuse(what: string, instead = ""): never {
  throw new SimulationError(`${what} cannot be simulated${instead === "" ? "" : `: ${instead}`}`);
}
