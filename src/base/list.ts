// An intrusive doubly linked list: a node leaves in O(1), and joining one allocates nothing.
// It knows nothing of wakers. Its nodes are waiters (wait-queue.ts), timers, children and tasks.

export interface Linked<N> {
  /** Neighbours in `list`; null at its ends, and outside a list. */
  before: N | null;
  after: N | null;
  /** The one list this node is in, or null. It is what makes `remove` safe to call twice. */
  list: object | null;
}

export class List<N extends Linked<N>> {
  head: N | null = null;
  tail: N | null = null;
  size = 0;

  push(node: N): void {
    node.before = this.tail;
    node.after = null;
    node.list = this;
    if (this.tail === null) this.head = node;
    else this.tail.after = node;
    this.tail = node;
    this.size++;
  }

  /** Takes `node` out, if it is in this list; else does nothing. */
  remove(node: N): void {
    if (node.list !== this) return;
    if (node.before === null) this.head = node.after;
    else node.before.after = node.after;
    if (node.after === null) this.tail = node.before;
    else node.after.before = node.before;
    node.before = node.after = node.list = null;
    this.size--;
  }

  /** The node that is visited may leave meanwhile; no other may. */
  *[Symbol.iterator](): Generator<N> {
    for (let node = this.head; node !== null; ) {
      const next: N | null = node.after;
      yield node;
      node = next;
    }
  }

  shift(): N | null {
    const node = this.head;
    if (node !== null) this.remove(node);
    return node;
  }
}
