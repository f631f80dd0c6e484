// List: an intrusive doubly linked list. Adding a node allocates nothing, and removing one is O(1).
// The nodes are waiters, timers, tasks and the children of combinators; the list does not know which.

export interface Linked<N> {
  /** The neighbors in `list`; null where there is none, and while the node is in no list. */
  before: N | null;
  after: N | null;
  /** The list that contains this node, or null. A node is in at most one list. */
  list: object | null;
}

export class List<N extends Linked<N>> {
  /** The ends; null when the list is empty. */
  head: N | null = null;
  tail: N | null = null;
  size = 0;

  /** Appends `node`, which must not be in a list. */
  push(node: N): void {
    node.before = this.tail;
    node.after = null;
    node.list = this;
    if (this.tail === null) this.head = node;
    else this.tail.after = node;
    this.tail = node;
    this.size++;
  }

  /** Removes `node` if it is in this list; otherwise does nothing. */
  remove(node: N): void {
    if (node.list !== this) return;
    if (node.before === null) this.head = node.after;
    else node.before.after = node.after;
    if (node.after === null) this.tail = node.before;
    else node.after.before = node.before;
    node.before = node.after = node.list = null;
    this.size--;
  }

  /** Visits the nodes in order. The loop body may remove the visited node, but not the one after it. */
  *[Symbol.iterator](): Generator<N> {
    for (let node = this.head; node !== null; ) {
      const next: N | null = node.after;
      yield node;
      node = next;
    }
  }

  /** Removes and returns the first node; null when the list is empty. */
  shift(): N | null {
    const node = this.head;
    if (node !== null) this.remove(node);
    return node;
  }
}
