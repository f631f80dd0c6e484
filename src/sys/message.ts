// Messages: the structs of sendmsg(2), recvmsg(2) and writev(2). Only this file and datagrams.ts know struct iovec and
// struct msghdr, and only this one knows struct cmsghdr (cmsg(3)).
//
// The structs contain the addresses of the data. The kernel uses them during the call, while the caller's variables keep
// the data alive. The structs themselves are explicit ArrayBuffers, whose addresses never change.

import { outOfRange } from "../base/check.ts";
import type { Libc } from "./libc.ts";
import { SockaddrBuffer } from "./sockaddr.ts";

/** The most pieces of one call. The kernel allows 1024 (IOV_MAX); more than this does not make a call cheaper. */
export const MAX_PIECES = 64;

// Sizes and offsets, counted in 32-bit integers, on a 64-bit machine. struct iovec: base, length. struct msghdr: name,
// name length, vector, vector length, control, control length, flags.
const VECTOR = { size: 4, base: 0, length: 2 } as const;
const MESSAGE = {
  size: 14,
  name: 0,
  nameLength: 2,
  vector: 4,
  vectorLength: 6,
  control: 8,
  controlLength: 10,
  flags: 12,
} as const;

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

/** Returns `text` as C expects it. */
export function cString(text: string): Uint8Array {
  return Buffer.from(`${text}\0`);
}

/** struct cmsghdr: a length of 64 bits, level, type; then the data. Each begins at a multiple of 8 bytes. */
const CONTROL_HEADER = 16;
const align = (length: number): number => (length + 7) & ~7;

/** Data that goes along with a message: passed fds, the address that a datagram was sent to, ... See cmsg(3). */
export interface ControlMessage {
  readonly level: number;
  readonly type: number;
  /** The bytes behind the header. Of a `Message`, a view of its memory: valid until its next use. */
  readonly data: Uint8Array;
}

/**
 * One message of `sendmsg` and `recvmsg`: its data, the address, and the control messages. A `Sys` without libc reads a
 * message to send with `data`, `to` and `controls()`, and fills one that it receives with `data`, `address`,
 * `addControl` and `flags`.
 */
export class Message {
  /** The caller's buffer: what to send, or where to receive. */
  data: Uint8Array = new Uint8Array(0);
  /** The address to send to, if `hasAddress`; and the sender of what was received, of `address.length` bytes. */
  readonly address: SockaddrBuffer = new SockaddrBuffer();
  hasAddress = false;
  /** What `recvmsg` reported: MSG_TRUNC, MSG_CTRUNC, ... */
  flags = 0;
  /** The number of bytes of control messages. */
  controlLength = 0;
  /** How many bytes of control messages may be received. At most the capacity. */
  maxControlLength: number;
  readonly #control: Uint8Array;
  readonly #controlView: DataView;
  readonly #header: Uint32Array = new Uint32Array(new ArrayBuffer(MESSAGE.size * 4));
  readonly #vector: Uint32Array = new Uint32Array(new ArrayBuffer(VECTOR.size * 4));
  /** null until the first call, which also writes the pointers. */
  #libc: Libc | null = null;

  /** `controlCapacity` is the most bytes of control messages. */
  constructor(controlCapacity = 4096) {
    this.maxControlLength = controlCapacity;
    this.#control = new Uint8Array(new ArrayBuffer(controlCapacity));
    this.#controlView = new DataView(this.#control.buffer);
  }

  /** Prepares the next use: no address, no control messages. */
  reset(data: Uint8Array): this {
    this.data = data;
    this.hasAddress = false;
    this.address.reset().length[0] = 0; // also forgets what it encoded last
    this.flags = 0;
    this.controlLength = 0;
    this.maxControlLength = this.#control.length;
    return this;
  }

  /** Releases the caller's buffer. */
  clear(): void {
    this.data = EMPTY;
  }

  /** Appends a control message. Throws RangeError if the capacity is exhausted. */
  addControl(level: number, type: number, data: Uint8Array): void {
    const at = align(this.controlLength);
    const length = CONTROL_HEADER + data.length;
    if (at + align(length) > this.#control.length) {
      throw outOfRange(
        `control messages must be at most ${this.#control.length} bytes; got ${at + align(length)}`,
      );
    }
    this.#control.fill(0, this.controlLength, at + align(length));
    this.#controlView.setUint32(at, length, true);
    this.#controlView.setInt32(at + 8, level, true);
    this.#controlView.setInt32(at + 12, type, true);
    this.#control.set(data, at + CONTROL_HEADER);
    this.controlLength = at + align(length);
  }

  /** Replaces the control messages by raw bytes, as the kernel writes them. */
  setControl(bytes: Uint8Array): void {
    this.#control.set(bytes.subarray(0, this.#control.length));
    this.controlLength = Math.min(bytes.length, this.#control.length);
  }

  /** Returns the control messages. The last one may be shorter than its sender made it, if MSG_CTRUNC is set. */
  controls(): ControlMessage[] {
    const found: ControlMessage[] = [];
    for (let at = 0; at + CONTROL_HEADER <= this.controlLength; ) {
      const length = this.#controlView.getUint32(at, true);
      const isLong = this.#controlView.getUint32(at + 4, true) !== 0;
      if (isLong || length < CONTROL_HEADER) break;
      found.push({
        level: this.#controlView.getInt32(at + 8, true),
        type: this.#controlView.getInt32(at + 12, true),
        data: this.#control.subarray(
          at + CONTROL_HEADER,
          Math.min(at + length, this.controlLength),
        ),
      });
      at += align(length);
    }
    return found;
  }

  /** @internal Returns the struct msghdr for sendmsg. */
  toSend(libc: Libc): Uint32Array {
    const header = this.#fill(libc);
    setAddress(header, MESSAGE.name, this.hasAddress ? libc.addressOf(this.address.bytes) : 0);
    header[MESSAGE.nameLength] = this.hasAddress ? this.address.length[0]! : 0;
    header[MESSAGE.controlLength] = this.controlLength;
    return header;
  }

  /** @internal Returns the struct msghdr for recvmsg. */
  toReceive(libc: Libc): Uint32Array {
    const header = this.#fill(libc);
    setAddress(header, MESSAGE.name, libc.addressOf(this.address.reset().bytes));
    header[MESSAGE.nameLength] = this.address.length[0]!;
    header[MESSAGE.controlLength] = this.maxControlLength;
    return header;
  }

  /** @internal Reads what recvmsg wrote to the struct msghdr. */
  onReceived(): void {
    this.address.length[0] = this.#header[MESSAGE.nameLength]!;
    this.controlLength = this.#header[MESSAGE.controlLength]!;
    this.flags = this.#header[MESSAGE.flags]!;
  }

  #fill(libc: Libc): Uint32Array {
    if (this.#libc === null) {
      this.#libc = libc;
      setAddress(this.#header, MESSAGE.vector, libc.addressOf(this.#vector));
      this.#header[MESSAGE.vectorLength] = 1;
      setAddress(this.#header, MESSAGE.control, libc.addressOf(this.#control));
    }
    const { data } = this;
    setAddress(this.#vector, VECTOR.base, data.length === 0 ? 0 : libc.addressOf(data));
    this.#vector[VECTOR.length] = Math.min(data.length, 0x7fffffff);
    return this.#header;
  }
}

const EMPTY: Uint8Array = new Uint8Array(0);
