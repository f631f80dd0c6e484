// Agenda: virtual time, and what happens later. Events run in the order of their times, and events of one time in
// the order in which they were scheduled.

/** One scheduled event. */
export class Appointment {
  readonly atMs: number;
  /** Breaks ties: events of one time run in this order. */
  readonly serial: number;
  /** null once it has run or was cancelled. */
  run: (() => void) | null;

  constructor(atMs: number, serial: number, run: () => void) {
    this.atMs = atMs;
    this.serial = serial;
    this.run = run;
  }

  /** Idempotent. */
  cancel(): void {
    this.run = null;
  }
}

function isBefore(a: Appointment, b: Appointment): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.serial < b.serial);
}

export class Agenda {
  nowMs = 0;
  private serial = 0;
  /** A binary heap: the parent of index n is at (n - 1) >> 1. Cancelled events stay until they reach the top. */
  private readonly heap: Appointment[] = [];

  /** Schedules `run` for `delayMs` milliseconds from now. */
  after(delayMs: number, run: () => void): Appointment {
    const added = new Appointment(this.nowMs + delayMs, ++this.serial, run);
    const { heap } = this;
    let at = heap.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(added, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = added;
    return added;
  }

  /** The time of the next event; Infinity if there is none. */
  get nextMs(): number {
    const { heap } = this;
    while (heap.length > 0 && heap[0]!.run === null) this.removeFirst();
    return heap.length === 0 ? Number.POSITIVE_INFINITY : heap[0]!.atMs;
  }

  /** Moves the time to the next event and runs it. Returns false if there is none. */
  runNext(): boolean {
    if (this.nextMs === Number.POSITIVE_INFINITY) return false;
    const { atMs, run } = this.heap[0]!;
    this.removeFirst().run = null;
    if (atMs > this.nowMs) this.nowMs = atMs;
    run!();
    return true;
  }

  /** Runs the events that are due now. */
  runDue(): void {
    while (this.nextMs <= this.nowMs) this.runNext();
  }

  private removeFirst(): Appointment {
    const { heap } = this;
    const first = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}
