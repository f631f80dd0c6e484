// A module whose exports tests pass to spawnBlocking by name.

export function sum(...numbers: number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

export const notAFunction = 1;

/** This module could also be a Worker's script, with a message handler. A job must not reach that handler. */
declare const self: { onmessage: unknown };

self.onmessage = () => {
  throw new Error("a job reached the message handler of its module");
};
