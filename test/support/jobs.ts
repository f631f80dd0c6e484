// Functions that blocking jobs are asked for by name.

export function sum(...numbers: number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

export const notAFunction = 1;
