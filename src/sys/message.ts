// Vectored output: the structs of sendmsg(2) and writev(2). No other file knows struct iovec and struct msghdr.
//
// The structs contain the addresses of the pieces. The kernel reads them during the call, while the caller's array keeps
// the pieces alive. The structs themselves are explicit ArrayBuffers, whose addresses never change.

import type { Libc } from "./libc.ts";

/** The most pieces of one call. The kernel allows 1024 (IOV_MAX); more than this does not make a call cheaper. */
export const MAX_PIECES = 64;

// Sizes and offsets, counted in 32-bit integers, on a 64-bit machine. struct iovec: base, length. struct msghdr: name,
// name length, vector, vector length, control, control length, flags.
const VECTOR = { size: 4, base: 0, length: 2 } as const;
const MESSAGE = { size: 14, vector: 4, vectorLength: 6 } as const;

/** Writes a 64-bit address, low half first: x86-64 and arm64 are little-endian. */
export function setAddress(memory: Uint32Array, at: number, address: number): void {
  memory[at] = address % 2 ** 32;
  memory[at + 1] = Math.floor(address / 2 ** 32);
}

/** One array of struct iovec, and the struct msghdr that points to it. Reused for each call of a thread. */
export class Vectors {
  readonly memory: Uint32Array = new Uint32Array(new ArrayBuffer(MAX_PIECES * VECTOR.size * 4));
  readonly message: Uint32Array = new Uint32Array(new ArrayBuffer(MESSAGE.size * 4));
  private readonly libc: Libc;

  constructor(libc: Libc) {
    this.libc = libc;
    setAddress(this.message, MESSAGE.vector, libc.addressOf(this.memory));
  }

  /** Points the vectors at the first pieces, at most MAX_PIECES. Returns their number. */
  fill(pieces: readonly Uint8Array[]): number {
    const count = Math.min(pieces.length, MAX_PIECES);
    for (let index = 0; index < count; index++) {
      const piece = pieces[index]!;
      const vector = index * VECTOR.size;
      // An empty or detached array has no address.
      const address = piece.length === 0 ? 0 : this.libc.addressOf(piece);
      setAddress(this.memory, vector + VECTOR.base, address);
      this.memory[vector + VECTOR.length] = piece.length;
    }
    this.message[MESSAGE.vectorLength] = count;
    return count;
  }
}
