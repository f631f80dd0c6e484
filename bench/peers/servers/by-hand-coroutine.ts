// Echo server in coroutines over hand-written leaves, with the same syscalls as this library. It shows what the mechanisms
// of an executor cost by themselves.
//
// Each connection has a task: a generator, the AsyncLocalStorage of its spawn, a place in the ready queue, an outcome. A
// poll sets the current task, and restores it even if the poll throws. A leaf has a state, charges the task's budget, and
// is reused by its connection. There is no cancellation, no join, no timer, no check of arguments, no second runtime, no
// simulated kernel, and nothing that can look at the tasks.

import { AsyncResource } from "node:async_hooks";

import { EPOLLET, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EpollEvents } from "../../../src/sys/epoll.ts";
import { check, EAGAIN } from "../../../src/sys/errno.ts";
import { linux } from "../../../src/sys/linux.ts";
import { AF_INET, SockaddrBuffer } from "../../../src/sys/sockaddr.ts";

const sys = linux();
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
  protected readonly connection: Connection;

  constructor(connection: Connection) {
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
    const { connection, buffer } = this;
    if (connection.isDrained) return -EAGAIN;
    const count = sys.recv(connection.fd, buffer, 0);
    if (count > 0 && count < buffer.length && !connection.isHup) connection.isDrained = true;
    return count;
  }
}

class Write extends Leaf {
  length = 0;

  protected attempt(): number {
    return sys.send(this.connection.fd, this.buffer, 0, this.length);
  }
}

class Connection {
  /** The task whose syscall would block, if any. */
  waiting: Task | null = null;
  /** A read was short, and no event came since: the next one would block. */
  isDrained = false;
  /** The peer has ended its side: there is no further edge to wait for. */
  isHup = false;
  readonly #read = new Read(this);
  readonly #write = new Write(this);
  readonly fd: number;

  constructor(fd: number) {
    this.fd = fd;
  }

  read(buffer: Uint8Array): Read {
    this.#read.begin(buffer);
    return this.#read;
  }

  write(buffer: Uint8Array, length: number): Write {
    this.#write.begin(buffer);
    this.#write.length = length;
    return this.#write;
  }

  onEvents(events: number): void {
    this.isDrained = false;
    if ((events & EPOLLRDHUP) !== 0) this.isHup = true;
    const { waiting } = this;
    this.waiting = null;
    waiting?.wake();
  }
}

/** The size of a buffer in bytes until a read fills it, as in guillotine.ts. */
const SMALL = 512;

function* echo(connection: Connection): Generator<void, void, void> {
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
    if (count === SMALL) buffer = Buffer.allocUnsafeSlow(64 * 1024);
  }
  sys.close(connection.fd);
}

const at = new SockaddrBuffer();
const listener = check(sys.socket(AF_INET, 1), "socket");
at.encode({ hostname: "127.0.0.1", port: 0 });
check(sys.bind(listener, at), "bind");
check(sys.listen(listener, 4096), "listen");
check(sys.getsockname(listener, at), "getsockname");
console.log(`port ${at.decode().port}`);

function runReady(): void {
  for (let task = ready.first; task !== null; task = ready.first) {
    ready.first = task.next;
    if (ready.first === null) ready.last = null;
    task.next = null;
    task.run();
  }
}

function serve(): never {
  const epoll = check(sys.epollCreate(), "epoll_create1");
  const events = new EpollEvents(1024);
  const connections: (Connection | null)[] = [null];
  check(sys.epollAdd(epoll, listener, EPOLLIN, 0, 0), "epoll_ctl");
  for (;;) {
    const count = sys.epollWait(epoll, events, -1);
    for (let index = 0; index < count; index++) {
      const connection = connections[events.slot(index)];
      if (connection != null) {
        connection.onEvents(events.events(index));
        continue;
      }
      for (let fd = sys.accept(listener, at); fd >= 0; fd = sys.accept(listener, at)) {
        sys.setsockopt(fd, 6, 1, 1); // TCP_NODELAY
        const accepted = new Connection(fd);
        connections.push(accepted);
        const all = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
        check(sys.epollAdd(epoll, fd, all, connections.length - 1, 0), "epoll_ctl");
        new Task(echo(accepted)).wake();
      }
    }
    runReady();
  }
}
serve();
