// Queue: an intrusive singly linked FIFO queue. It allocates only to sort.

export interface Queued<N> {
  /**
   * The next node in the queue. The last node points to itself, so null means "not in a queue". A node is in
   * at most one queue.
   */
  next: N | null;
}

export class Queue<N extends Queued<N>> {
  private first: N | null = null;
  private last: N | null = null;

  get isEmpty(): boolean {
    return this.first === null;
  }

  /** Appends `node`, which must not be in a queue. Returns true if it is the only one. */
  push(node: N): boolean {
    node.next = node;
    const { last } = this;
    this.last = node;
    if (last === null) this.first = node;
    else last.next = node;
    return last === null;
  }

  /** Removes and returns the oldest node; null when the queue is empty. */
  shift(): N | null {
    const node = this.first;
    if (node === null) return null;
    if (node === this.last) this.first = this.last = null;
    else this.first = node.next;
    node.next = null;
    return node;
  }

  /** Moves all nodes of `other`, which must be another queue, to the end of this queue in O(1). */
  append(other: Queue<N>): void {
    if (other.first === null) return;
    if (this.last === null) this.first = other.first;
    else this.last.next = other.first;
    this.last = other.last;
    other.first = other.last = null;
  }

  /** Removes all nodes. */
  clear(): void {
    while (this.shift() !== null);
  }

  /** Sorts the nodes by `compare`. The sort is stable. A sort of two or more nodes allocates an array. */
  sort(compare: (a: N, b: N) => number): void {
    if (this.first === this.last) return;
    const nodes: N[] = [];
    for (let node = this.shift(); node !== null; node = this.shift()) nodes.push(node);
    for (const node of nodes.sort(compare)) this.push(node);
  }
}
