// struct epoll_event of epoll(7). No other file knows its layout.
//
// x86-64 packs it: 12 bytes, with data at byte 4. arm64 does not: 16 bytes, with data at byte 8. We access all
// fields as 32-bit integers. The 64 bits of data hold a slot (low half) and its generation (high half).

export const EPOLLIN = 0x1;
export const EPOLLPRI = 0x2;
export const EPOLLOUT = 0x4;
export const EPOLLERR = 0x8;
export const EPOLLHUP = 0x10;
export const EPOLLRDHUP = 0x2000;
export const EPOLLET = 0x80000000;

const isPacked = process.arch === "x64";
/** In 32-bit integers, like all offsets here. */
const EVENT_SIZE = isPacked ? 3 : 4;
const SLOT = isPacked ? 1 : 2;
const GENERATION = SLOT + 1;

/**
 * The events that one `epollWait` returns. A reactor allocates one and reuses it. A `Sys` without libc fills it with
 * `set`.
 */
export class EpollEvents {
  readonly capacity: number;
  /** @internal The kernel's array. An explicit ArrayBuffer has a stable address. */
  readonly memory: Uint32Array;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.memory = new Uint32Array(new ArrayBuffer(capacity * EVENT_SIZE * 4));
  }

  /** Returns the fd's events at `index`, as a bit set: EPOLLIN, EPOLLOUT, EPOLLERR, ... */
  events(index: number): number {
    return this.memory[index * EVENT_SIZE]!;
  }

  /** Returns the `slot` that the fd was registered with. */
  slot(index: number): number {
    return this.memory[index * EVENT_SIZE + SLOT]!;
  }

  /** Returns the `generation` that the fd was registered with. */
  generation(index: number): number {
    return this.memory[index * EVENT_SIZE + GENERATION]!;
  }

  /** Writes the event at `index`. `slot` and `generation` are the arguments of the fd's `epollAdd` or `epollModify`. */
  set(index: number, events: number, slot: number, generation: number): void {
    const at = index * EVENT_SIZE;
    this.memory[at] = events;
    this.memory[at + SLOT] = slot;
    this.memory[at + GENERATION] = generation;
  }
}
