// The permits of a lock together with their holders. Diagnostics show which tasks hold a lock that others wait for.
//
// Invariant: a Held is in the list of its owner exactly while it holds its permits.

import { describeSome } from "../base/describe.ts";
import { type Linked, List } from "../base/list.ts";
import type { TaskRef } from "../core/context.ts";
import { currentContextOrNull } from "../core/current.ts";
import { Permits } from "./permits.ts";

/** Permits that one guard or permit of a user holds. */
export class Held implements Linked<Held> {
  before: Held | null = null;
  after: Held | null = null;
  /** null once the permits were released or forgotten. */
  list: object | null = null;
  readonly count: number;
  /** The task that acquired the permits; null for code outside a task. */
  readonly task: TaskRef | null = currentContextOrNull()?.task ?? null;
  private readonly owner: HeldPermits;

  constructor(owner: HeldPermits, count: number) {
    this.owner = owner;
    this.count = count;
  }

  get isReleased(): boolean {
    return this.list === null;
  }

  /** A phrase for the task. */
  get holder(): string {
    return describeTask(this.task);
  }

  /** Returns the permits, unless they were released or forgotten. */
  release(): void {
    if (this.isReleased) return;
    this.forget();
    this.owner.release(this.count);
  }

  /** Ends the hold without returning the permits. */
  forget(): void {
    this.owner.holders.remove(this);
  }

  /** Releases all permits but `count`, and returns the hold of those. */
  keep(count: number): Held {
    const kept = this.owner.hold(count);
    this.forget();
    this.owner.release(this.count - count);
    return kept;
  }
}

/** Permits that know their holders. */
export class HeldPermits extends Permits {
  readonly holders: List<Held> = new List();

  /** Records that the running task holds `count` permits, which it has acquired. */
  hold(count: number): Held {
    const held = new Held(this, count);
    this.holders.push(held);
    return held;
  }

  override holdingTasks(): readonly TaskRef[] {
    return [...new Set([...this.holders].flatMap(({ task }) => task ?? []))];
  }

  /** Returns a phrase for the holders. */
  describeHolders(): string {
    // A released permit belongs to the next waiter before that waiter is polled.
    if (this.holders.size === 0) return this.granted > 0 ? "the next in line" : "no task";
    const tasks = new Set([...this.holders].map(({ task }) => task));
    return describeSome([...tasks], describeTask);
  }
}

function describeTask(task: TaskRef | null): string {
  if (task === null || task.id === 0) return "code outside a task";
  const { id, name, isEnded } = task;
  return `task ${name === `#${id}` ? id : name}${isEnded ? ", which has ended" : ""}`;
}
