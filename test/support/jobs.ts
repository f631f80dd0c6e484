// Functions that blocking jobs are asked for by name.

export function sum(...numbers: number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

export const notAFunction = 1;

/** It is a Worker's script, too; what it is sent are no jobs. */
declare const self: { onmessage: unknown };

self.onmessage = () => {
  throw new Error("a job came as a message");
};
