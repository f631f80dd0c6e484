// Wheel: deadlines in order, as far as anyone has to know.
//
// A hierarchical timing wheel, as tokio's and the kernel's: six levels of 32 slots, each level's slot as
// long as all of the level below. A timer is put in the lowest level whose slot holds it and not now, and
// moves down when time comes to its slot; so to insert and to remove cost the same beside none and beside
// a million, and each timer is touched a few times in all. (In a heap, also a pairing heap, each is
// compared with others that are not in the cache: 100,000 that ended within 100 ms took 165 ms of time; in
// the wheel they are done when the last is due.)
//
// What must hold: with `now` the time that the wheel has come to, a timer of level n > 0 agrees with `now`
// in all digits above n and is ahead of it in digit n. So of all timers those in the first slot of the
// lowest level come first; no slot of a level but the lowest holds `now`.

import { type Waiter, WaitQueue } from "../core/wait-queue.ts";

/** One deadline; the future that waits for it is its own node. */
export interface Timer extends Waiter {
  /** On `performance.now()`'s clock. */
  deadlineMs: number;
}

/** A slot of the lowest level is 62.5 us long: what it holds besides what is due is little. */
const TICKS_PER_MS = 16;
const BITS = 5;
const SLOTS = 1 << BITS;
const LEVELS = 6;
/** Ticks go round. */
const TICKS = 2 ** (BITS * LEVELS);
/** 9.3 hours: a timer that is farther ahead is put there, and looked at again then. */
const FARTHEST_MS = TICKS / 2 / TICKS_PER_MS;

class Slot extends WaitQueue {
  /** No later than the earliest deadline in it: who leaves does not change it. */
  earliestMs = 0;
}

export class Wheel {
  size = 0;
  /** What `nextMs` gives while there are timers. */
  #nextMs = Number.POSITIVE_INFINITY;
  /** Where the wheel has come to. */
  #nowMs = 0;
  readonly #slots = new Array<Slot | null>(LEVELS * SLOTS).fill(null);
  /** By level, a bit for each slot that may hold a timer. */
  readonly #occupied = new Int32Array(LEVELS);

  /** No later than the earliest deadline, and that deadline if nobody left; Infinity if there is none. */
  get nextMs(): number {
    return this.size === 0 ? Number.POSITIVE_INFINITY : this.#nextMs;
  }

  insert(timer: Timer, nowMs: number): void {
    if (this.size++ === 0) {
      this.#nowMs = nowMs;
      this.#nextMs = timer.deadlineMs;
    } else if (timer.deadlineMs < this.#nextMs) this.#nextMs = timer.deadlineMs;
    this.#place(timer);
  }

  /** Takes a timer out, if it is in. */
  remove(timer: Timer): void {
    if (timer.list === null) return;
    (timer.list as Slot).leave(timer);
    this.size--;
  }

  /** Comes to `nowMs`: takes out all whose deadline has passed, and returns them, the earliest first. */
  advance(nowMs: number): Timer[] {
    const due: Timer[] = [];
    const later: Timer[] = [];
    const [from, to] = [tickAt(this.#nowMs), tickAt(nowMs)];
    const hasGoneRound = nowMs - this.#nowMs >= FARTHEST_MS; // nobody turned it for hours
    for (let level = 0; level < LEVELS; level++) {
      const shift = level * BITS;
      const first = from >>> shift;
      const moved = hasGoneRound ? SLOTS : ((to - (first << shift)) & (TICKS - 1)) >>> shift;
      for (let left = this.#occupied[level]!; left !== 0; left &= left - 1) {
        const digit = lowestBit(left);
        if (((digit - first) & (SLOTS - 1)) > moved) continue; // it is ahead of `to`
        this.#occupied[level]! &= ~(1 << digit);
        const slot = this.#slots[level * SLOTS + digit]!;
        for (let one = slot.shift(); one !== null; one = slot.shift()) {
          const timer = one as Timer; // no others come in
          if (timer.deadlineMs <= nowMs) due.push(timer);
          else later.push(timer);
        }
      }
    }
    this.#nowMs = nowMs;
    for (const timer of later) this.#place(timer);
    this.size -= due.length;
    this.#nextMs = this.#findNext();
    return due.length > 1 ? due.sort(byDeadline) : due;
  }

  #place(timer: Timer): void {
    const { deadlineMs } = timer;
    const nowMs = this.#nowMs;
    const tick = tickAt(Math.min(Math.max(deadlineMs, nowMs), nowMs + FARTHEST_MS));
    const apart = tick ^ tickAt(nowMs);
    const level = apart < SLOTS ? 0 : ((31 - Math.clz32(apart)) / BITS) | 0;
    const digit = (tick >>> (level * BITS)) & (SLOTS - 1);
    this.#occupied[level]! |= 1 << digit;
    const index = level * SLOTS + digit;
    this.#slots[index] ??= new Slot();
    const slot = this.#slots[index];
    if (slot.size === 0 || deadlineMs < slot.earliestMs) slot.earliestMs = deadlineMs;
    slot.push(timer);
  }

  /** The earliest of the first slot that holds any. */
  #findNext(): number {
    for (let level = 0; level < LEVELS; level++) {
      let nextMs = Number.POSITIVE_INFINITY;
      for (let left = this.#occupied[level]!; left !== 0; left &= left - 1) {
        const digit = lowestBit(left);
        const slot = this.#slots[level * SLOTS + digit]!;
        if (slot.size === 0) this.#occupied[level]! &= ~(1 << digit);
        else nextMs = Math.min(nextMs, slot.earliestMs); // the top level goes round: not the first bit
      }
      if (nextMs < Number.POSITIVE_INFINITY) return nextMs;
    }
    return Number.POSITIVE_INFINITY;
  }
}

function tickAt(ms: number): number {
  return (ms * TICKS_PER_MS) & (TICKS - 1);
}

function lowestBit(bits: number): number {
  return 31 - Math.clz32(bits & -bits);
}

function byDeadline(a: Timer, b: Timer): number {
  return a.deadlineMs - b.deadlineMs;
}
