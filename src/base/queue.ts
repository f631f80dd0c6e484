// An intrusive queue: to join and to leave it allocates nothing, and no burst makes it grow.

export interface Queued<N> {
  /** The next in its queue; of the last one itself; null outside a queue. A node is in one at most. */
  next: N | null;
}

export class Queue<N extends Queued<N>> {
  #first: N | null = null;
  #last: N | null = null;

  get isEmpty(): boolean {
    return this.#first === null;
  }

  push(node: N): void {
    node.next = node;
    if (this.#last === null) this.#first = node;
    else this.#last.next = node;
    this.#last = node;
  }

  shift(): N | null {
    const node = this.#first;
    if (node === null) return null;
    if (node === this.#last) this.#first = this.#last = null;
    else this.#first = node.next;
    node.next = null;
    return node;
  }

  /** Takes over all that are in `other`, behind its own. */
  append(other: Queue<N>): void {
    if (other.#first === null) return;
    if (this.#last === null) this.#first = other.#first;
    else this.#last.next = other.#first;
    this.#last = other.#last;
    other.#first = other.#last = null;
  }

  clear(): void {
    while (this.shift() !== null);
  }

  sort(compare: (a: N, b: N) => number): void {
    if (this.#first === this.#last) return;
    const nodes: N[] = [];
    for (let node = this.shift(); node !== null; node = this.shift()) nodes.push(node);
    for (const node of nodes.sort(compare)) this.push(node);
  }
}
