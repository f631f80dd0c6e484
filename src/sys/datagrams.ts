// Datagrams: a batch for recvmmsg(2) or sendmmsg(2), which receive or send many datagrams in one call. No other file knows
// struct mmsghdr.
//
// The structs contain pointers to other buffers of the batch. Those buffers are explicit ArrayBuffers, which never
// move, and live as long as the Datagrams.

import type { Libc } from "./libc.ts";
import { setAddress } from "./message.ts";
import { SockaddrBuffer, type SocketAddress } from "./sockaddr.ts";

/** Bytes per datagram. No UDP datagram is longer. */
const BUFFER_SIZE = 65_536;
/** Not a multiple of 64 KiB: buffers that far apart compete for the same cache lines. */
const BUFFER_STRIDE = BUFFER_SIZE + 256;
// Sizes and offsets, counted in 32-bit integers, on a 64-bit machine.
// struct mmsghdr: struct msghdr (name, name length, vector, vector length, control, control length, flags), received
// length. struct iovec: base, length.
const HEADER = {
  size: 16,
  name: 0,
  nameLength: 2,
  vector: 4,
  vectorLength: 6,
  length: 14,
} as const;
const VECTOR = { size: 4, base: 0, length: 2 } as const;

/**
 * A batch of datagrams with their addresses, to receive or to send: one batch serves one direction. A `Sys` without libc
 * fills a batch that it receives with `write`, and reads one that it sends with `length`, `copy`, `from` and `hasAddress`.
 */
export class Datagrams {
  /** How many datagrams one call can receive. */
  readonly capacity: number;
  /** @internal The array of struct mmsghdr. */
  readonly headers: Uint32Array;
  readonly #vectors: Uint32Array;
  readonly #buffers: Uint8Array[];
  readonly #senders: SockaddrBuffer[];
  /** null until the first `reset`, which also writes the pointers. */
  #libc: Libc | null = null;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.headers = new Uint32Array(new ArrayBuffer(capacity * HEADER.size * 4));
    this.#vectors = new Uint32Array(new ArrayBuffer(capacity * VECTOR.size * 4));
    // Not zero-filled: pages that no datagram reaches use no memory.
    const { buffer } = Buffer.allocUnsafeSlow(capacity * BUFFER_STRIDE);
    this.#buffers = Array.from(
      { length: capacity },
      (_, index) => new Uint8Array(buffer, index * BUFFER_STRIDE, BUFFER_SIZE),
    );
    this.#senders = Array.from({ length: capacity }, () => new SockaddrBuffer());
  }

  /** Returns the length in bytes of the datagram at `index`. */
  length(index: number): number {
    return this.headers[index * HEADER.size + HEADER.length]!;
  }

  /** Returns false for a datagram to the connected peer. */
  hasAddress(index: number): boolean {
    return this.#senders[index]!.length[0] !== 0;
  }

  /** Returns the sender of the datagram at `index`, or where it is sent to. */
  from(index: number): SocketAddress {
    return this.#senders[index]!.decode();
  }

  /** Copies the datagram at `index` into `buffer`, as much of it as fits. */
  copy(index: number, buffer: Uint8Array): void {
    const length = Math.min(this.length(index), buffer.length);
    const received = this.#buffers[index]!;
    // memcpy(3) if libc is open: `set` is slower, because it needs a new view for each datagram.
    if (this.#libc !== null) this.#libc.memcpy(buffer, received, length);
    else buffer.set(received.subarray(0, length));
  }

  /**
   * Stores a datagram at `index`, as recvmmsg does, or to send it. Stores at most 65,536 of the `bytes`. The hostname of
   * `address` must be an IP literal; null: send to the connected peer.
   */
  write(index: number, bytes: Uint8Array, address: SocketAddress | null): void {
    const length = Math.min(bytes.length, BUFFER_SIZE);
    this.#buffers[index]!.set(bytes.subarray(0, length));
    this.headers[index * HEADER.size + HEADER.length] = length;
    const stored = this.#senders[index]!.reset();
    if (address !== null) stored.encode(address);
    else stored.length[0] = 0;
  }

  /** @internal Returns the array of struct mmsghdr for a sendmmsg of the first `count` datagrams. */
  toSend(libc: Libc, count: number): Uint32Array {
    if (this.#libc === null) this.#link(libc);
    for (let index = 0; index < count; index++) {
      this.headers[index * HEADER.size + HEADER.nameLength] = this.#senders[index]!.length[0]!;
      this.#vectors[index * VECTOR.size + VECTOR.length] = this.length(index);
    }
    return this.headers;
  }

  /** @internal Makes room for an address of any length for each sender. Must be called before each recvmmsg. */
  reset(libc: Libc): this {
    if (this.#libc === null) this.#link(libc);
    for (let index = 0; index < this.capacity; index++) {
      this.headers[index * HEADER.size + HEADER.nameLength] = this.#senders[index]!.bytes.length;
    }
    return this;
  }

  #link(libc: Libc): void {
    this.#libc = libc;
    const { addressOf } = libc;
    const vectors = addressOf(this.#vectors);
    for (let index = 0; index < this.capacity; index++) {
      const header = index * HEADER.size;
      setAddress(this.headers, header + HEADER.name, addressOf(this.#senders[index]!.bytes));
      setAddress(this.headers, header + HEADER.vector, vectors + index * VECTOR.size * 4);
      this.headers[header + HEADER.vectorLength] = 1;
      const vector = index * VECTOR.size;
      setAddress(this.#vectors, vector + VECTOR.base, addressOf(this.#buffers[index]!));
      this.#vectors[vector + VECTOR.length] = BUFFER_SIZE;
    }
  }
}
