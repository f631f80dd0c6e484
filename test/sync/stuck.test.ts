// A wait that can never end fails with a DeadlockError that names what it waits for.

import { expect, test } from "bun:test";
import {
  Barrier,
  broadcast,
  type IntoFuture,
  mpmc,
  mpsc,
  Notify,
  OnceCell,
  oneshot,
  Runtime,
  RwLock,
  Semaphore,
  unboundedMpsc,
  watch,
} from "../../src/index.ts";

const name = "jobs";
const full = mpsc<number>(1, { name });
full.sender.trySend(1);
const locked = new RwLock(0, { name });
locked.tryWrite();
const exhausted = new Semaphore(1, { name });
exhausted.tryAcquire();
const cell = new OnceCell<unknown>({ name });

test.each<[phrase: string, wait: () => IntoFuture<unknown>]>([
  ['recv on channel "jobs"', () => mpsc(1, { name }).receiver.recv()],
  ['recv on channel "jobs"', () => unboundedMpsc({ name }).receiver.recvMany(2)],
  ['send on channel "jobs"', () => full.sender.send(2)],
  ['recv on channel "jobs"', () => mpmc(1, { name }).receiver.recv()],
  ['reserve on channel "jobs"', () => full.sender.reserve()],
  ['the receiver of channel "jobs" to close', () => full.sender.closed()],
  ['recv on oneshot "jobs"', () => oneshot({ name }).receiver],
  ['the receiver of oneshot "jobs" to end', () => oneshot({ name }).sender.closed()],
  ['recv on broadcast "jobs"', () => broadcast(1, { name }).receiver.recv()],
  ['watch "jobs"', () => watch(0, { name }).receiver.changed()],
  ['watch "jobs"', () => watch(0, { name }).receiver.waitFor((value) => value > 0)],
  ['permits of "jobs", held by code outside a task', () => exhausted.acquire()],
  ['read "jobs", held by code outside a task', () => locked.read()],
  ['write "jobs", held by code outside a task', () => locked.write()],
  ['notification "jobs"', () => new Notify({ name }).notified()],
  ['barrier "jobs"', () => new Barrier(2, { name }).wait()],
  ['lock "jobs", held by task initializer', () => cell.getOrInit(() => mpsc(1).receiver.recv())],
])("a wait that cannot end throws a DeadlockError that names %s", (phrase, wait) => {
  using runtime = new Runtime();
  runtime.spawn(
    cell.getOrInit(() => mpsc(1).receiver.recv()),
    { name: "initializer" },
  );
  expect(() => runtime.blockOn(wait())).toThrow(phrase);
});
