// recvmmsg(2): many datagrams by one call. The only file that knows struct mmsghdr.
//
// It holds addresses of memory: of buffers that never move, and live as long as the Datagrams do.

import type { Libc } from "./libc.ts";
import { SockaddrBuffer, type SocketAddress } from "./sockaddr.ts";

/** No datagram is longer. */
const ROOM = 65_536;
/** What is 64 KiB apart shares a place in the cache. */
const APART = ROOM + 256;
// In 32-bit words, on 64-bit machines: struct mmsghdr { struct msghdr { name, its length, vector, its
// length, control, its length, flags }, length }; struct iovec { base, length }.
const HEADER = {
  words: 16,
  name: 0,
  nameLength: 2,
  vector: 4,
  vectorLength: 6,
  length: 14,
} as const;
const VECTOR = { words: 4, base: 0, length: 2 } as const;

/** Room for so many datagrams, and who sent them. */
export class Datagrams {
  readonly capacity: number;
  readonly headers: Uint32Array;
  readonly #vectors: Uint32Array;
  readonly #rooms: Uint8Array[];
  readonly #from: SockaddrBuffer[];
  /** Set by the first call, which makes the pointers. */
  #libc: Libc | null = null;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.headers = new Uint32Array(new ArrayBuffer(capacity * HEADER.words * 4));
    this.#vectors = new Uint32Array(new ArrayBuffer(capacity * VECTOR.words * 4));
    // Not filled with zeros: what no datagram reaches takes no memory.
    const { buffer } = Buffer.allocUnsafeSlow(capacity * APART);
    this.#rooms = Array.from(
      { length: capacity },
      (_, index) => new Uint8Array(buffer, index * APART, ROOM),
    );
    this.#from = Array.from({ length: capacity }, () => new SockaddrBuffer());
  }

  /** The length of a datagram that was received. */
  length(index: number): number {
    return this.headers[index * HEADER.words + HEADER.length]!;
  }

  /** Who sent it. */
  from(index: number): SocketAddress {
    return this.#from[index]!.decode();
  }

  /** Copies as much of it as there is room for. By memcpy(3): `set` needs a view for each, and is slower. */
  copy(index: number, buffer: Uint8Array): void {
    const length = Math.min(this.length(index), buffer.length);
    this.#libc!.memcpy(buffer, this.#rooms[index]!, length); // it was received, so there was a call
  }

  /** Gives the kernel room to write any address; called before each call. */
  reset(libc: Libc): this {
    if (this.#libc === null) this.#link(libc);
    for (let index = 0; index < this.capacity; index++) {
      this.headers[index * HEADER.words + HEADER.nameLength] = this.#from[index]!.bytes.length;
    }
    return this;
  }

  #link(libc: Libc): void {
    this.#libc = libc;
    const { addressOf } = libc;
    const vectors = addressOf(this.#vectors);
    for (let index = 0; index < this.capacity; index++) {
      const header = index * HEADER.words;
      setAddress(this.headers, header + HEADER.name, addressOf(this.#from[index]!.bytes));
      setAddress(this.headers, header + HEADER.vector, vectors + index * VECTOR.words * 4);
      this.headers[header + HEADER.vectorLength] = 1;
      const vector = index * VECTOR.words;
      setAddress(this.#vectors, vector + VECTOR.base, addressOf(this.#rooms[index]!));
      this.#vectors[vector + VECTOR.length] = ROOM;
    }
  }
}

/** Low word first: x86-64 and arm64 are little-endian. */
function setAddress(words: Uint32Array, at: number, address: number): void {
  words[at] = address % 2 ** 32;
  words[at + 1] = Math.floor(address / 2 ** 32);
}
