// Disk: what a simulated host keeps when it crashes.

import { checkConstructor, invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { Choices } from "./choices.ts";

/**
 * The disk of a simulated host: files by name. A write is durable once `sync` was called; before that, a crash may
 * lose it. All calls return at once.
 *
 * @example
 * simulate(function* (world) {
 *   const store = world.host("store", function* (host) {
 *     host.disk.write("count", new TextEncoder().encode("1"));
 *     host.disk.sync();
 *     yield* sleep(1000);
 *   });
 *   yield* sleep(10);
 *   store.crash();
 *   console.log(store.disk.read("count")?.length); // 1
 * });
 */
export class Disk {
  readonly #choices: Choices;
  readonly #durable = new Map<string, Uint8Array>();
  /** Writes since the last sync; null stands for a deleted file. */
  readonly #pending = new Map<string, Uint8Array | null>();

  private constructor(choices: Choices) {
    checkConstructor(choices, Choices, "Disk", "host.disk");
    this.#choices = choices;
  }

  /** @internal */
  static create(choices: Choices): Disk {
    return new Disk(choices);
  }

  /** Returns a copy of a file; null if there is none. */
  read(name: string): Uint8Array | null {
    const file = this.#pending.has(name) ? this.#pending.get(name) : this.#durable.get(name);
    return file?.slice() ?? null;
  }

  /** Replaces a file. Throws TypeError if `data` is not a Uint8Array. */
  write(name: string, data: Uint8Array): void {
    if (!(data instanceof Uint8Array)) {
      throw invalidType(`disk.write: data must be a Uint8Array; got ${describe(data)}`);
    }
    this.#pending.set(name, new Uint8Array(data));
  }

  /** Deletes a file if it exists. */
  delete(name: string): void {
    this.#pending.set(name, null);
  }

  /** Returns the names of all files, sorted. */
  names(): string[] {
    const all = new Set([...this.#durable.keys(), ...this.#pending.keys()]);
    return [...all].filter((name) => this.read(name) !== null).sort();
  }

  /** Makes all writes durable. */
  sync(): void {
    for (const [name, data] of this.#pending) this.#apply(name, data);
    this.#pending.clear();
  }

  /** @internal The host loses power: each write since the last sync is lost, or not. */
  crash(): void {
    for (const [name, data] of this.#pending) {
      if (this.#choices.pick("unsynced write", 2) === 0) this.#apply(name, data);
    }
    this.#pending.clear();
  }

  #apply(name: string, data: Uint8Array | null): void {
    if (data === null) this.#durable.delete(name);
    else this.#durable.set(name, data);
  }
}
