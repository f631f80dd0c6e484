// Echo server in coroutines over hand-written leaves, with the same syscalls as this library. It shows what the mechanisms
// of an executor cost by themselves.
//
// Each connection has a task: a generator, the AsyncLocalStorage of its spawn, a place in the ready queue, an outcome. A
// poll sets the current task, and restores it even if the poll throws. A leaf has a state, charges the task's budget, and
// is reused by its connection. There is no cancellation, no join, no timer, no check of arguments, no second runtime, no
// simulated kernel, and nothing that can look at the tasks.

import { AsyncResource } from "node:async_hooks";

import { EAGAIN } from "../../../src/sys/errno.ts";
import { Connection, LARGE, SMALL, serve, sys } from "./by-hand-loop.ts";

const BUDGET = 128;

const SUSPENDED: IteratorYieldResult<void> = { done: false, value: undefined };
const COMPLETED: IteratorReturnResult<number> = { done: true, value: 0 };
const current: { task: Task | null; budget: number } = { task: null, budget: BUDGET };
const ready: { first: Task | null; last: Task | null } = { first: null, last: null };

class Task {
  next: Task | null = null;
  isQueued = false;
  outcome: { value: unknown } | { error: unknown } | null = null;
  private readonly storage = new AsyncResource("task");
  private readonly work: Generator<void, void, void>;

  constructor(work: Generator<void, void, void>) {
    this.work = work;
  }

  wake(): void {
    if (this.isQueued || this.outcome !== null) return;
    this.isQueued = true;
    if (ready.last === null) ready.first = this;
    else ready.last.next = this;
    ready.last = this;
  }

  run(): void {
    this.isQueued = false;
    current.budget = BUDGET;
    current.task = this;
    try {
      const { done, value } = this.storage.runInAsyncScope(this.work.next, this.work);
      if (done) this.outcome = { value };
    } catch (error) {
      this.outcome = { error };
    } finally {
      current.task = null;
    }
  }
}

/** The leaf of one direction of a connection: `yield*` performs one recv or send. */
abstract class Leaf {
  buffer: Uint8Array = new Uint8Array(0);
  private isEnded = true;
  protected readonly connection: CoroutineConnection;

  constructor(connection: CoroutineConnection) {
    this.connection = connection;
  }

  begin(buffer: Uint8Array): void {
    if (!this.isEnded) throw new Error("the leaf is in use");
    this.isEnded = false;
    this.buffer = buffer;
  }

  /** Returns the negative errno, -EAGAIN if it has to wait. */
  protected abstract attempt(): number;

  [Symbol.iterator](): this {
    return this;
  }

  next(): IteratorResult<void, number> {
    const { task } = current;
    if (task === null) throw new Error("not in a task");
    if (this.isEnded) throw new Error("the leaf has ended");
    if (current.budget <= 0) {
      task.wake();
      return SUSPENDED;
    }
    const count = this.attempt();
    if (count === -EAGAIN) {
      this.connection.waiting = task;
      return SUSPENDED;
    }
    current.budget--;
    this.isEnded = true;
    COMPLETED.value = count;
    return COMPLETED;
  }

  return(value: number): IteratorResult<void, number> {
    this.isEnded = true;
    return { done: true, value };
  }
}

class Read extends Leaf {
  protected attempt(): number {
    return this.connection.recv(this.buffer);
  }
}

class Write extends Leaf {
  length = 0;

  protected attempt(): number {
    return sys.send(this.connection.fd, this.buffer, 0, this.length);
  }
}

class CoroutineConnection extends Connection {
  /** The task that waits for an event; null while none does. */
  waiting: Task | null = null;
  readonly #read = new Read(this);
  readonly #write = new Write(this);

  read(buffer: Uint8Array): Read {
    this.#read.begin(buffer);
    return this.#read;
  }

  write(buffer: Uint8Array, length: number): Write {
    this.#write.begin(buffer);
    this.#write.length = length;
    return this.#write;
  }

  protected override resume(): void {
    const { waiting } = this;
    this.waiting = null;
    waiting?.wake();
  }
}

function* echo(connection: CoroutineConnection): Generator<void, void, void> {
  let buffer = new Uint8Array(SMALL);
  for (;;) {
    const count = yield* connection.read(buffer);
    if (count <= 0) break;
    for (let sent = 0; sent < count; ) {
      const rest = sent === 0 ? buffer : buffer.subarray(sent);
      const written = yield* connection.write(rest, count - sent);
      if (written < 0) break;
      sent += written;
    }
    if (count === SMALL) buffer = Buffer.allocUnsafeSlow(LARGE);
  }
  connection.close();
}

function accept(fd: number): CoroutineConnection {
  const connection = new CoroutineConnection(fd);
  new Task(echo(connection)).wake();
  return connection;
}

function runReady(): void {
  for (let task = ready.first; task !== null; task = ready.first) {
    ready.first = task.next;
    if (ready.first === null) ready.last = null;
    task.next = null;
    task.run();
  }
}

serve(accept, runReady);
