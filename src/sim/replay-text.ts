// The text of a recorded run: `3.42.<choices>.<check>`. It holds the choices themselves, so a replay needs no strategy.
//
// Fields: the line of the `explore` that recorded it, or 0; the seed, for `Math.random`; the choices as variable-length
// integers, compressed, in base64url; a hash of what the choices were about, to detect code that has changed.

import { outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { SimulationError } from "./errors.ts";

export interface Recorded {
  /** The line of the call of `explore`; 0 if unknown. */
  readonly line: number;
  readonly seed: number;
  readonly values: readonly number[];
  /** See `hashOf`. */
  readonly check: number;
}

/** Returns a hash of what a run's choices were about: FNV-1a over their kinds and counts. */
export function hashOf(kinds: readonly string[], counts: readonly number[]): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < kinds.length; index++) {
    const kind = kinds[index]!;
    for (let at = 0; at < kind.length; at++)
      hash = Math.imul(hash ^ kind.charCodeAt(at), 0x01000193);
    hash = Math.imul(hash ^ counts[index]!, 0x01000193);
  }
  return hash >>> 0;
}

export function toText({ line, seed, values, check }: Recorded): string {
  let length = values.length;
  while (length > 0 && values[length - 1] === 0) length--;
  const bytes: number[] = [];
  for (const value of values.slice(0, length)) {
    let rest = value;
    for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
    bytes.push(rest);
  }
  const packed = Bun.deflateSync(new Uint8Array(bytes));
  return [line, seed, Buffer.from(packed).toString("base64url"), check.toString(36)].join(".");
}

/** Throws SimulationError unless `text` comes from `toText`. */
export function fromText(text: string): Recorded {
  try {
    const [line = "", seed = "", packed = "", check = ""] = text.split(".");
    const bytes = Bun.inflateSync(Buffer.from(packed, "base64url"));
    const values: number[] = [];
    let value = 0;
    let factor = 1;
    for (const byte of bytes) {
      value += (byte & 127) * factor;
      factor *= 128;
      if ((byte & 128) !== 0) continue;
      values.push(value);
      value = 0;
      factor = 1;
    }
    const numbers = [Number(line), Number(seed), Number.parseInt(check, 36)] as const;
    if (!numbers.every((number) => Number.isSafeInteger(number) && number >= 0))
      throw outOfRange("replay: bad text");
    return { line: numbers[0], seed: numbers[1], values, check: numbers[2] };
  } catch {
    throw new SimulationError(
      `replay: text must be what a failing explore printed; got ${describe(text)}`,
    );
  }
}
