// Echo server in async functions over hand-written thenables, with the same syscalls as this library. It shows the lower
// bound of the cost of an `await`.
//
//   by-hand-async.ts [owned]
//
// Each connection reuses one thenable per direction. `then` tries the syscall at once. If the syscall would block, the
// thenable keeps the engine's resolve function, and the epoll loop settles it later. The loop drains microtasks once per
// epoll round. There are no tasks, no cancellation and no context: this is a lower bound, not a design.
//
// `owned` adds what no library can leave out that cancels ordinary async functions: an AsyncLocalStorage that names the
// function which awaits; a new thenable for each await, because an old one may be awaited again; an object for the outcome
// that all its awaiters share; a count of what the function awaits; and a check that the engine is the caller.

import { drainMicrotasks } from "bun:jsc";
import { AsyncLocalStorage } from "node:async_hooks";

import { EPOLLET, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EpollEvents } from "../../../src/sys/epoll.ts";
import { check, EAGAIN } from "../../../src/sys/errno.ts";
import { linux } from "../../../src/sys/linux.ts";
import { AF_INET, SockaddrBuffer } from "../../../src/sys/sockaddr.ts";

const sys = linux();

/** The thenable of one direction of a connection: awaiting it performs one recv or send. */
class Attempt {
  buffer: Uint8Array = new Uint8Array(0);
  length = 0;
  /** The engine's resolve function while the syscall would block. */
  resolve: ((count: number) => void) | null = null;
  readonly connection: Connection;
  readonly isRead: boolean;

  constructor(connection: Connection, isRead: boolean) {
    this.connection = connection;
    this.isRead = isRead;
  }

  // biome-ignore lint/suspicious/noThenProperty: this class is a thenable
  then(resolve: (count: number) => void): void {
    this.resolve = resolve;
    this.attempt();
  }

  /** Tries the syscall, and resolves unless it would block. */
  attempt(): void {
    const { connection, isRead, buffer } = this;
    if (isRead && connection.isDrained) {
      connection.waiting = this;
      return;
    }
    const { fd } = connection;
    const count = isRead ? sys.recv(fd, buffer, 0) : sys.send(fd, buffer, 0, this.length);
    connection.waiting = count === -EAGAIN ? this : null;
    if (count === -EAGAIN) return;
    if (isRead && count > 0 && count < buffer.length && !connection.isHup)
      connection.isDrained = true;
    this.settle(count);
  }

  settle(count: number): void {
    const { resolve } = this;
    this.resolve = null;
    resolve!(count); // set by `then`
  }
}

/** The function that awaits, in `owned` mode. */
class Owner {
  active = 0;
  isCancelled = false;
}

/** What a later await of the same thenable would get. */
class AwaitOutcome {
  value: unknown = undefined;
  error: unknown = undefined;
  isSettled = false;
}

const owners = new AsyncLocalStorage<Owner>();
const textOf = Function.prototype.toString;
/** The source text of the engine's functions. */
let engineText = "";
new Promise((resolve) => {
  engineText = textOf.call(resolve);
});

class OwnedAttempt extends Attempt {
  owner: Owner | null = null;
  readonly outcome = new AwaitOutcome();

  // biome-ignore lint/suspicious/noThenProperty: this class is a thenable
  override then(resolve: (count: number) => void): void {
    if (textOf.call(resolve) !== engineText) throw new Error("not the engine");
    const owner = owners.getStore();
    if (owner === undefined || owner.isCancelled) throw new Error("no owner");
    owner.active++;
    this.owner = owner;
    super.then(resolve);
  }

  override settle(count: number): void {
    this.owner!.active--; // set by `then`
    this.outcome.value = count;
    this.outcome.isSettled = true;
    super.settle(count);
  }
}

const isOwned = process.argv[2] === "owned";

class Connection {
  /** The thenable whose syscall would block, if any. */
  waiting: Attempt | null = null;
  /** A read was short, and no event came since: the next one would block. */
  isDrained = false;
  /** The peer has ended its side: there is no further edge to wait for. */
  isHup = false;
  readonly #read = new Attempt(this, true);
  readonly #write = new Attempt(this, false);
  readonly fd: number;

  constructor(fd: number) {
    this.fd = fd;
  }

  read(buffer: Uint8Array): PromiseLike<number> {
    const attempt = isOwned ? new OwnedAttempt(this, true) : this.#read;
    attempt.buffer = buffer;
    return attempt as unknown as PromiseLike<number>;
  }

  write(buffer: Uint8Array, length: number): PromiseLike<number> {
    const attempt = isOwned ? new OwnedAttempt(this, false) : this.#write;
    attempt.buffer = buffer;
    attempt.length = length;
    return attempt as unknown as PromiseLike<number>;
  }
}

/** The size of a buffer in bytes until a read fills it, as in guillotine.ts. */
const SMALL = 512;

async function echo(connection: Connection): Promise<void> {
  let buffer = new Uint8Array(SMALL);
  for (;;) {
    const count = await connection.read(buffer);
    if (count <= 0) break;
    await connection.write(buffer, count);
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
        connection.isDrained = false;
        if ((events.events(index) & EPOLLRDHUP) !== 0) connection.isHup = true;
        connection.waiting?.attempt();
        continue;
      }
      for (let fd = sys.accept(listener, at); fd >= 0; fd = sys.accept(listener, at)) {
        sys.setsockopt(fd, 6, 1, 1); // TCP_NODELAY
        const accepted = new Connection(fd);
        connections.push(accepted);
        const all = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
        check(sys.epollAdd(epoll, fd, all, connections.length - 1, 0), "epoll_ctl");
        if (isOwned) void owners.run(new Owner(), () => echo(accepted));
        else void echo(accepted);
      }
    }
    drainMicrotasks();
  }
}
serve();
