// epoll(7): the only file that knows struct epoll_event.
//
// x86-64 packs it: 12 bytes, data at 4. arm64 does not: 16 bytes, data at 8. All fields are read as
// 32-bit words. The 64 bits of data hold a slot (low word) and its generation (high word).

export const EPOLLIN = 0x1;
export const EPOLLPRI = 0x2;
export const EPOLLOUT = 0x4;
export const EPOLLERR = 0x8;
export const EPOLLHUP = 0x10;
export const EPOLLRDHUP = 0x2000;
export const EPOLLET = 0x80000000;

const isPacked = process.arch === "x64";
const WORDS_PER_EVENT = isPacked ? 3 : 4;
const SLOT_WORD = isPacked ? 1 : 2;

/** Room for the events of one epoll_wait; made once per reactor. */
export class EpollEvents {
  readonly capacity: number;
  /** An explicit ArrayBuffer: its address is stable. */
  readonly words: Uint32Array;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.words = new Uint32Array(new ArrayBuffer(capacity * WORDS_PER_EVENT * 4));
  }

  events(index: number): number {
    return this.words[index * WORDS_PER_EVENT]!;
  }

  slot(index: number): number {
    return this.words[index * WORDS_PER_EVENT + SLOT_WORD]!;
  }

  generation(index: number): number {
    return this.words[index * WORDS_PER_EVENT + SLOT_WORD + 1]!;
  }

  set(index: number, events: number, slot: number, generation: number): void {
    const at = index * WORDS_PER_EVENT;
    this.words[at] = events;
    this.words[at + SLOT_WORD] = slot;
    this.words[at + SLOT_WORD + 1] = generation;
  }
}
