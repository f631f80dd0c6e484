// Ring: a FIFO queue in a growable ring buffer. Pushing and shifting cost O(1), amortized.

/** A ring that becomes empty keeps at most this many slots, which frees the memory of a burst. */
const MAX_EMPTY_SLOTS = 1024;

export class Ring<T> {
  length = 0;
  /** The length of this array, the ring's capacity, is a power of two. It starts small: most rings stay small. */
  private slots: (T | undefined)[] = new Array(8).fill(undefined);
  private head = 0;

  /** Appends `item`. */
  push(item: T): void {
    if (this.length === this.slots.length) this.grow();
    this.slots[(this.head + this.length++) & (this.slots.length - 1)] = item;
  }

  /** Removes and returns the oldest item; undefined when the ring is empty. */
  shift(): T | undefined {
    if (this.length === 0) return undefined;
    const item = this.slots[this.head];
    this.slots[this.head] = undefined; // so that the ring does not keep the item alive
    this.head = (this.head + 1) & (this.slots.length - 1);
    this.length--;
    if (this.length === 0 && this.slots.length > MAX_EMPTY_SLOTS) {
      this.slots = new Array(MAX_EMPTY_SLOTS).fill(undefined);
      this.head = 0;
    }
    return item;
  }

  /** Prepends `item`, which becomes the oldest. Callers use it to put back an item that they shifted. */
  unshift(item: T): void {
    if (this.length === this.slots.length) this.grow();
    this.head = (this.head - 1) & (this.slots.length - 1);
    this.slots[this.head] = item;
    this.length++;
  }

  private grow(): void {
    const old = this.slots;
    this.slots = new Array<T | undefined>(old.length * 2).fill(undefined);
    for (let index = 0; index < this.length; index++) {
      this.slots[index] = old[(this.head + index) & (old.length - 1)];
    }
    this.head = 0;
  }
}
