// A queue in a ring that grows: pushing and shifting cost the same however long it is.

/** Slots that an empty ring keeps; what a burst needed beyond that is given back. */
const KEPT = 1024;

export class Ring<T> {
  length = 0;
  /** Its capacity is a power of two; small at first, since most are. */
  #slots: (T | undefined)[] = new Array(8).fill(undefined);
  #head = 0;

  push(item: T): void {
    if (this.length === this.#slots.length) this.#grow();
    this.#slots[(this.#head + this.length++) & (this.#slots.length - 1)] = item;
  }

  /** The oldest; undefined when it is empty. */
  shift(): T | undefined {
    if (this.length === 0) return undefined;
    const item = this.#slots[this.#head];
    this.#slots[this.#head] = undefined; // held no longer than needed
    this.#head = (this.#head + 1) & (this.#slots.length - 1);
    this.length--;
    if (this.length === 0 && this.#slots.length > KEPT) {
      this.#slots = new Array(KEPT).fill(undefined);
      this.#head = 0;
    }
    return item;
  }

  /** Puts back what was shifted: it is the oldest again. */
  unshift(item: T): void {
    if (this.length === this.#slots.length) this.#grow();
    this.#head = (this.#head - 1) & (this.#slots.length - 1);
    this.#slots[this.#head] = item;
    this.length++;
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Array<T | undefined>(old.length * 2).fill(undefined);
    for (let index = 0; index < this.length; index++) {
      this.#slots[index] = old[(this.#head + index) & (old.length - 1)];
    }
    this.#head = 0;
  }
}
