// ReadyQueue: the ready tasks of one simulated host. The choices decide which runs next, and when a turn ends early.

import { Queue } from "../base/queue.ts";
import type { Runnable } from "../core/context.ts";
import type { Choices } from "./choices.ts";

/** How many more tasks a turn may run after its first: all, or a few, so that events come in between. */
const MORE: readonly number[] = [Number.POSITIVE_INFINITY, 0, 1, 4];

export class ReadyQueue extends Queue<Runnable> {
  private readonly choices: Choices;
  private readonly ready: Runnable[] = [];
  /** How many tasks the turn has run, and how many more it may run. */
  private ran = 0;
  private left = 0;
  private isStopped = false;
  /** Called before each task that runs; null if nobody counts them. */
  onRun: (() => void) | null = null;

  constructor(choices: Choices) {
    super();
    this.choices = choices;
  }

  override get isEmpty(): boolean {
    return this.ready.length === 0 || this.isStopped;
  }

  override push(runnable: Runnable): boolean {
    runnable.next = runnable; // not null: it is in a queue
    return this.ready.push(runnable) === 1;
  }

  override shift(): Runnable | null {
    const { ready } = this;
    if (this.isEmpty) return null;
    // A turn with one task, the usual case, makes no choice.
    if (this.ran++ === 1) this.left = MORE[this.choices.pick("turn", MORE.length)]!;
    if (this.left-- === 0) return null;
    const index = this.choices.pickTask(ready);
    const [chosen] = index === 0 ? [ready.shift()!] : ready.splice(index, 1);
    chosen!.next = null;
    this.onRun?.();
    return chosen!;
  }

  /** Must be called before each turn. */
  beginTurn(): void {
    this.ran = 0;
    this.left = Number.POSITIVE_INFINITY;
  }

  /** The host is down: no task runs any more. */
  stop(): void {
    this.isStopped = true;
    this.ready.length = 0;
  }
}
