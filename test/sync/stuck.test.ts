// Who waits for what can never come is told so, in words that name it.

import { expect, test } from "bun:test";
import {
  Barrier,
  broadcast,
  type IntoFuture,
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
const taken = new Semaphore(1, { name });
taken.tryAcquire();
const cell = new OnceCell<unknown>({ name });

test.each<[words: string, wait: () => IntoFuture<unknown>]>([
  ['recv on channel "jobs"', () => mpsc(1, { name }).receiver.recv()],
  ['recv on channel "jobs"', () => unboundedMpsc({ name }).receiver.recvMany(2)],
  ['send on channel "jobs"', () => full.sender.send(2)],
  ['recv on oneshot "jobs"', () => oneshot({ name }).receiver],
  ['the receiver of oneshot "jobs" to end', () => oneshot({ name }).sender.closed()],
  ['recv on broadcast "jobs"', () => broadcast(1, { name }).receiver.recv()],
  ['watch "jobs"', () => watch(0, { name }).receiver.changed()],
  ['watch "jobs"', () => watch(0, { name }).receiver.waitFor((value) => value > 0)],
  ['permits of "jobs"', () => taken.acquire()],
  ['read "jobs"', () => locked.read()],
  ['write "jobs"', () => locked.write()],
  ['notification "jobs"', () => new Notify({ name }).notified()],
  ['barrier "jobs"', () => new Barrier(2, { name }).wait()],
  ['lock "jobs", held by task maker', () => cell.getOrInit(() => mpsc(1).receiver.recv())],
])("who waits for ever is stuck on %s", (words, wait) => {
  using runtime = new Runtime();
  runtime.spawn(
    cell.getOrInit(() => mpsc(1).receiver.recv()),
    { name: "maker" },
  );
  expect(() => runtime.blockOn(wait())).toThrow(words);
});
