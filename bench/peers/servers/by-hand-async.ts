// Echo server in async functions over hand-written thenables, with the same syscalls as this library. It shows the lower
// bound of the cost of an `await`.
//
//   by-hand-async.ts [owned|natural]
//
// Each connection reuses one thenable per direction. `then` tries the syscall at once. If the syscall would block, the
// thenable keeps the engine's resolve function, and the epoll loop settles it later. The loop drains microtasks once per
// epoll round. There are no tasks, no cancellation and no context: this is a lower bound, not a design.
//
// `owned` adds what no library can leave out that cancels ordinary async functions: an AsyncLocalStorage that names the
// function which awaits; a new thenable for each await, because an old one may be awaited again; an object for the outcome
// that all its awaiters share; a count of what the function awaits; and a check that the engine is the caller.
//
// `natural` is the echo of guillotine-async.ts by that name: a large buffer per connection, and a `subarray` per write.

import { drainMicrotasks } from "bun:jsc";
import { AsyncLocalStorage } from "node:async_hooks";

import { EAGAIN } from "../../../src/sys/errno.ts";
import { Connection, LARGE, SMALL, serve, sys } from "./by-hand-loop.ts";

/** The thenable of one direction of a connection: awaiting it performs one recv or send. */
class Attempt {
  buffer: Uint8Array = new Uint8Array(0);
  length = 0;
  /** The engine's resolve function while the syscall would block. */
  resolve: ((count: number) => void) | null = null;
  readonly connection: AsyncConnection;
  readonly isRead: boolean;

  constructor(connection: AsyncConnection, isRead: boolean) {
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
    const count = isRead
      ? connection.recv(buffer)
      : sys.send(connection.fd, buffer, 0, this.length);
    connection.waiting = count === -EAGAIN ? this : null;
    if (count !== -EAGAIN) this.settle(count);
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

const [, , style] = process.argv;
const isOwned = style === "owned";

class AsyncConnection extends Connection {
  /** The thenable that waits for an event; null while none does. */
  waiting: Attempt | null = null;
  readonly #read = new Attempt(this, true);
  readonly #write = new Attempt(this, false);

  protected override resume(): void {
    this.waiting?.attempt();
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

async function echo(connection: AsyncConnection): Promise<void> {
  let buffer = new Uint8Array(SMALL);
  for (;;) {
    const count = await connection.read(buffer);
    if (count <= 0) break;
    await connection.write(buffer, count);
    if (count === SMALL) buffer = Buffer.allocUnsafeSlow(LARGE);
  }
  connection.close();
}

async function natural(connection: AsyncConnection): Promise<void> {
  const buffer = new Uint8Array(LARGE);
  for (;;) {
    const count = await connection.read(buffer);
    if (count <= 0) break;
    await connection.write(buffer.subarray(0, count), count);
  }
  connection.close();
}

function accept(fd: number): AsyncConnection {
  const connection = new AsyncConnection(fd);
  if (isOwned) void owners.run(new Owner(), () => echo(connection));
  else void (style === "natural" ? natural : echo)(connection);
  return connection;
}

serve(accept, drainMicrotasks);
