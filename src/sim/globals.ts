// The globals of JavaScript during a simulation: time and randomness come from the simulation, and what only Bun's own
// loop or another thread performs is refused by name. `install` returns a function that restores everything.

import { SimulationError } from "./errors.ts";
import type { Random } from "./random.ts";

export interface VirtualGlobals {
  /** Milliseconds since the start of the simulation. */
  now(): number;
  /** Milliseconds since the epoch. */
  date(): number;
  readonly random: Random;
  /** Receives the warnings that the process would print. */
  onWarning(text: string): void;
}

/** What runs on Bun's loop or in another thread, with what to write instead. */
const REFUSED: readonly (readonly [name: string, instead: string])[] = [
  ["fetch", "it needs the network; write to a TcpStream"],
  ["setTimeout", "Bun's own loop runs it, in real time; use sleep()"],
  ["setInterval", "Bun's own loop runs it, in real time; use interval()"],
  ["setImmediate", "Bun's own loop runs it; use yieldNow()"],
  ["Worker", "another thread runs on its own schedule; use another host"],
  ["WebSocket", "it needs the network; write to a TcpStream"],
];
const REFUSED_IN_BUN: readonly (readonly [name: string, instead: string])[] = [
  ["sleep", "it waits in real time; use sleep()"],
  ["file", "it reads the real disk; use host.disk"],
  ["write", "it writes to the real disk; use host.disk"],
  ["spawn", "it starts a real process; use another host"],
  ["connect", "it needs the network; use TcpStream.connect()"],
  ["listen", "it needs the network; use TcpListener.bind()"],
  ["serve", "it needs the network; use TcpListener.bind()"],
  ["udpSocket", "it needs the network; use UdpSocket.bind()"],
];

type Target = Record<string, unknown>;

/** Replaces globals. Returns a function that restores them; call it in a `finally`. */
export function install(virtual: VirtualGlobals): () => void {
  const restores: (() => void)[] = [];
  const replace = (target: object, name: string, value: unknown): void => {
    const own = Object.getOwnPropertyDescriptor(target, name);
    if (own !== undefined && own.configurable === false && own.writable !== true) return;
    restores.push(() => {
      if (own === undefined) delete (target as Target)[name];
      else Object.defineProperty(target, name, own);
    });
    if (own?.configurable === false) (target as Target)[name] = value;
    else Object.defineProperty(target, name, { value, configurable: true, writable: true });
  };
  const refuseAll = (
    target: object,
    prefix: string,
    list: readonly (readonly [name: string, instead: string])[],
  ): void => {
    for (const [name, instead] of list) {
      // A function and not an arrow function: `new Worker` must reach it.
      replace(target, name, function refused() {
        throw new SimulationError(`${prefix}${name} cannot be simulated: ${instead}`);
      });
    }
  };
  replace(globalThis, "Date", virtualDate(globalThis.Date, virtual));
  replace(performance, "now", () => virtual.now());
  replace(Bun, "nanoseconds", () => Math.floor(virtual.now() * 1e6));
  replace(process, "hrtime", virtualHrtime(virtual));
  replace(Math, "random", () => virtual.random.next());
  replace(crypto, "getRandomValues", <A extends ArrayBufferView>(array: A): A => {
    const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    for (let index = 0; index < bytes.length; index++) bytes[index] = virtual.random.below(256);
    return array;
  });
  replace(crypto, "randomUUID", () => uuid(virtual.random));
  replace(process, "emitWarning", (warning: unknown) => virtual.onWarning(String(warning)));
  refuseAll(AbortSignal, "AbortSignal.", [["timeout", "it waits in real time; use timeout()"]]);
  refuseAll(globalThis, "", REFUSED);
  refuseAll(Bun, "Bun.", REFUSED_IN_BUN);
  return () => {
    for (const restore of restores.reverse()) restore();
  };
}

function virtualDate(RealDate: DateConstructor, virtual: VirtualGlobals): DateConstructor {
  const date: DateConstructor = new Proxy(RealDate, {
    construct(target, args, newTarget) {
      const values = args.length === 0 ? [virtual.date()] : args;
      return Reflect.construct(target, values, newTarget === date ? target : newTarget);
    },
    apply: (target) => new target(virtual.date()).toString(),
    get: (target, name) =>
      name === "now" ? () => Math.floor(virtual.date()) : Reflect.get(target, name),
  });
  return date;
}

/** Returns `process.hrtime` in virtual time. */
function virtualHrtime(virtual: VirtualGlobals): NodeJS.HRTime {
  const bigint = (): bigint => BigInt(Math.floor(virtual.now() * 1e6));
  const hrtime = (since: readonly [number, number] = [0, 0]): [number, number] => {
    const elapsed = Number(bigint()) - since[0] * 1e9 - since[1];
    return [Math.floor(elapsed / 1e9), elapsed % 1e9];
  };
  return Object.assign(hrtime, { bigint });
}

/** Returns a version 4 UUID, per RFC 9562. */
function uuid(random: Random): `${string}-${string}-${string}-${string}-${string}` {
  const bytes = Array.from({ length: 16 }, () => random.below(256));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
