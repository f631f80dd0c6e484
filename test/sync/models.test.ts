// Compares each primitive with a model under random waits, polls, drops and closes. Nothing is lost or duplicated,
// order is kept, waiters are served first come, first served, and every future that can complete has been woken.

import { expect, setDefaultTimeout, test } from "bun:test";
import {
  Barrier,
  type BroadcastReceiver,
  type BroadcastSender,
  broadcast,
  type Future,
  LaggedError,
  MpmcReceiver,
  Mutex,
  mpmc,
  mpsc,
  type Notified,
  Notify,
  OnceCell,
  type OneshotReceiver,
  type OneshotSender,
  oneshot,
  type Permit,
  Receiver,
  RwLock,
  Semaphore,
  type Sender,
  SendPermit,
  type UnboundedSender,
  unboundedMpmc,
  unboundedMpsc,
  type WatchReceiver,
  type WatchSender,
  type WriteGuard,
  watch,
} from "../../src/index.ts";
import { Counting } from "../support/counting.ts";
import { checkModel, type Entry, Model, type Outcome, outcomeOf } from "../support/model.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const at = <T>(list: T[], which: number): T | undefined => list[which % list.length];
const END = { value: { done: true } };
const item = (value: unknown): Outcome => ({ value: { done: false, value } });
const CLOSED = { error: "ChannelClosedError" };
const SEMAPHORE_CLOSED = { error: "SemaphoreClosedError" };

// Semaphore, Mutex and RwLock: a queue for permits.

interface Need {
  readonly need: number;
  isGranted: boolean;
}

interface Held {
  release(): void;
  [Symbol.dispose](): void;
}

/** The model of Permits. The head of the queue is granted as soon as enough permits are available. */
class PermitsModel {
  available: number;
  readonly waiting: Need[] = [];

  constructor(available: number) {
    this.available = available;
  }

  tryAcquire(need: number): boolean {
    if (this.waiting.length > 0 || need > this.available) return false;
    this.available -= need;
    return true;
  }

  /** Polls a wait that is not granted. Returns whether it acquires its permits now. */
  poll(state: Need): boolean {
    if (this.waiting.includes(state)) return false;
    if (this.tryAcquire(state.need)) return true;
    this.waiting.push(state);
    return false;
  }

  drop(state: Need): void {
    if (state.isGranted) this.available += state.need;
    else if (this.waiting.includes(state)) this.waiting.splice(this.waiting.indexOf(state), 1);
    this.grant();
  }

  release(count: number): void {
    this.available += count;
    this.grant();
  }

  /** Removes the waits for which `isRefused` returns true. */
  evict(isRefused: (state: Need) => boolean = () => true): void {
    const rest = this.waiting.filter((state) => !isRefused(state));
    this.waiting.splice(0, this.waiting.length, ...rest);
    this.grant();
  }

  grant(): void {
    for (
      let [first] = this.waiting;
      first && first.need <= this.available;
      [first] = this.waiting
    ) {
      this.available -= first.need;
      first.isGranted = true;
      this.waiting.shift();
    }
  }
}

/** The interface through which the model drives a Semaphore, Mutex or RwLock. */
interface Lock {
  readonly total: number;
  /** How many permits an acquire may need. */
  readonly needs: number[];
  acquire(need: number): Future<Held>;
  tryAcquire(need: number): Held | null;
  available?(): number;
  // A semaphore's.
  addPermits?(count: number): void;
  forget?(permit: Held): void;
  close?(): void;
  // An RwLock's.
  downgrade?(guard: Held): Held;
}

class LockModel extends Model<Need> {
  readonly lock: Lock;
  readonly permits: PermitsModel;
  readonly held: { guard: Held; need: number }[] = [];
  /** How many permits there are: available, granted and held. */
  total: number;
  isClosed = false;
  /** The guard that the latest poll returned. */
  #acquired: Held | null = null;

  constructor(lock: Lock) {
    super();
    this.lock = lock;
    this.total = lock.total;
    this.permits = new PermitsModel(lock.total);
  }

  acquire(which: number): void {
    const need = at(this.lock.needs, which) as number;
    this.begin(this.lock.acquire(need), { need, isGranted: false });
  }

  override poll(which: number): void {
    const entry = at(this.entries, which);
    this.#acquired = null;
    super.poll(which);
    if (this.#acquired !== null && entry !== undefined) {
      this.held.push({ guard: this.#acquired, need: entry.state.need });
    }
  }

  override comparedPart(value: unknown): unknown {
    if (typeof value === "symbol") return value;
    this.#acquired = value as Held;
    return "held";
  }

  tryAcquire(which: number): void {
    const need = at(this.lock.needs, which) as number;
    if (this.isClosed) {
      expect(outcomeOf(() => this.lock.tryAcquire(need))).toEqual(SEMAPHORE_CLOSED);
      return;
    }
    const guard = this.lock.tryAcquire(need);
    expect(guard !== null).toBe(this.permits.tryAcquire(need));
    if (guard !== null) this.held.push({ guard, need });
  }

  addPermits(count: number): void {
    if (this.lock.addPermits === undefined) return;
    this.lock.addPermits(count);
    this.permits.release(count);
    this.total += count;
  }

  forget(which: number): void {
    const entry = at(this.held, which);
    if (entry === undefined || this.lock.forget === undefined) return;
    this.held.splice(this.held.indexOf(entry), 1);
    this.lock.forget(entry.guard);
    expect(() => entry.guard.release()).toThrow("forgotten");
    entry.guard[Symbol.dispose](); // has no effect
    this.total -= entry.need;
  }

  close(): void {
    if (this.lock.close === undefined) return;
    this.lock.close();
    this.isClosed = true;
    this.permits.evict();
  }

  downgrade(which: number): void {
    const entry = at(this.held, which);
    if (entry === undefined || this.lock.downgrade === undefined || entry.need === 1) return;
    const writing = entry.guard;
    entry.guard = this.lock.downgrade(writing);
    expect(() => writing.release()).toThrow("released");
    this.permits.release(entry.need - 1);
    entry.need = 1;
  }

  release(which: number): void {
    const entry = at(this.held, which);
    if (entry === undefined) return;
    this.held.splice(this.held.indexOf(entry), 1);
    entry.guard.release();
    expect(() => entry.guard.release()).toThrow("released");
    entry.guard[Symbol.dispose](); // idempotent
    this.permits.release(entry.need);
  }

  override expectPoll(state: Need): Outcome {
    if (state.isGranted) return { value: "held" };
    if (this.isClosed) return SEMAPHORE_CLOSED;
    return this.permits.poll(state) ? { value: "held" } : "pending";
  }

  override expectDrop(state: Need): void {
    this.permits.drop(state);
  }

  override isReady(state: Need): boolean {
    return state.isGranted || this.isClosed;
  }

  override check(): void {
    if (this.lock.available) expect(this.lock.available()).toBe(this.permits.available);
  }

  override checkEnd(): void {
    while (this.held.length > 0) this.release(0);
    expect(this.permits.available, "no permit is lost").toBe(this.total);
    if (this.isClosed || this.total < this.lock.total) return;
    expect(this.lock.tryAcquire(Math.max(...this.lock.needs)), "no permit is lost").not.toBeNull();
  }
}

const locks: Record<string, () => Lock> = {
  Semaphore: () => {
    const semaphore = new Semaphore(3);
    return {
      total: 3,
      needs: [1, 2, 3],
      acquire: (need) => semaphore.acquire(need),
      tryAcquire: (need) => semaphore.tryAcquire(need),
      available: () => semaphore.available,
      addPermits: (count) => semaphore.addPermits(count),
      forget: (permit) => (permit as Permit).forget(),
      close: () => semaphore.close(),
    };
  },
  Mutex: () => {
    const mutex = new Mutex(0);
    return {
      total: 1,
      needs: [1],
      acquire: () => mutex.lock(),
      tryAcquire: () => mutex.tryLock(),
      available: () => (mutex.isLocked ? 0 : 1),
    };
  },
  // A writer needs all permits; 1,000 are more than the readers of any run.
  RwLock: () => {
    const lock = new RwLock(0);
    return {
      total: 1000,
      needs: [1, 1, 1000],
      acquire: (need) => (need === 1 ? lock.read() : lock.write()) as Future<Held>,
      tryAcquire: (need) => (need === 1 ? lock.tryRead() : lock.tryWrite()),
      downgrade: (guard) => (guard as WriteGuard<number>).downgrade(),
    };
  },
};

test.each(Object.keys(locks))("%s behaves like its model", (name) => {
  checkModel(() => new LockModel((locks[name] as () => Lock)()), {
    acquire: (model, n) => model.acquire(n),
    tryAcquire: (model, n) => model.tryAcquire(n),
    release: (model, n) => model.release(n),
    "release again": (model, n) => model.release(n),
    addPermits: (model, n) => model.addPermits(1 + (n % 3)),
    forget: (model, n) => model.forget(n),
    downgrade: (model, n) => model.downgrade(n),
    close: (model, n) => n === 0 && model.close(), // rarely, because a closed semaphore does little
  });
});

// mpsc and mpmc, bounded and unbounded.

interface End {
  isClosed: boolean;
}

type Side =
  | (Need & { kind: "send" | "reserve"; value: number; sender: End })
  | (Need & { kind: "recv"; limit: number; receiver: End; isWaiting: boolean })
  | { kind: "closed" };

type RealReceiver = Receiver<number> | MpmcReceiver<number>;

class ChannelModel extends Model<Side> {
  readonly room: PermitsModel;
  /** The messages that no receive was granted. */
  readonly messages: PermitsModel = new PermitsModel(0);
  readonly items: number[] = [];
  readonly senders: { real: Sender<number> | UnboundedSender<number>; model: End }[];
  readonly receivers: { real: RealReceiver; model: End }[];
  readonly permits: { permit: SendPermit<number>; sender: End; isUsed: boolean }[] = [];
  readonly capacity: number | null;
  sent = 0;
  /** The permit that the latest poll returned. */
  #reserved: SendPermit<number> | null = null;

  constructor(kind: "mpsc" | "mpmc", capacity: number | null) {
    super();
    this.capacity = capacity;
    const bounded = kind === "mpsc" ? mpsc : mpmc;
    const unbounded = kind === "mpsc" ? unboundedMpsc : unboundedMpmc;
    const { sender, receiver } =
      capacity === null ? unbounded<number>() : bounded<number>(capacity);
    this.room = new PermitsModel(capacity ?? Number.POSITIVE_INFINITY);
    this.senders = [{ real: sender, model: { isClosed: false } }];
    this.receivers = [{ real: receiver, model: { isClosed: false } }];
  }

  get hasReceiver(): boolean {
    return this.receivers.some(({ model }) => !model.isClosed);
  }

  get isOver(): boolean {
    const hasSender = this.senders.some(({ model }) => !model.isClosed);
    return this.items.length === 0 && !(hasSender && this.hasReceiver);
  }

  #isOverFor(receiver: End): boolean {
    return this.isOver || (receiver.isClosed && this.hasReceiver);
  }

  #canSend(sender: End): boolean {
    return !sender.isClosed && this.hasReceiver;
  }

  #push(value: number): Outcome {
    this.items.push(value);
    this.messages.release(1);
    return { value: undefined };
  }

  #take(): number {
    const value = this.items.shift() as number;
    this.room.release(1);
    if (this.isOver) this.messages.waiting.splice(0);
    return value;
  }

  send(which: number): void {
    const { real, model } = at(this.senders, which) as (typeof this.senders)[0];
    const value = this.sent++;
    if ("trySend" in real) {
      const state = { kind: "send" as const, need: 1, isGranted: false, value, sender: model };
      this.begin(real.send(value), state);
    } else {
      const isOpen = this.#canSend(model);
      const outcome = outcomeOf(() => real.send(value));
      expect(outcome).toEqual(isOpen ? this.#push(value) : CLOSED);
    }
  }

  reserve(which: number): void {
    const { real, model } = at(this.senders, which) as (typeof this.senders)[0];
    if (!("reserve" in real)) return;
    const state = { kind: "reserve" as const, need: 1, isGranted: false, value: 0, sender: model };
    this.begin(real.reserve(), state);
  }

  override poll(which: number): void {
    const entry = at(this.entries, which);
    this.#reserved = null;
    super.poll(which);
    if (this.#reserved === null || entry?.state.kind !== "reserve") return;
    this.permits.push({ permit: this.#reserved, sender: entry.state.sender, isUsed: false });
  }

  override comparedPart(value: unknown): unknown {
    if (!(value instanceof SendPermit)) return value;
    this.#reserved = value;
    return "permit";
  }

  usePermit(which: number): void {
    const held = at(this.permits, which);
    if (held === undefined) return;
    const value = this.sent++;
    let expected: Outcome = { error: "Error" };
    if (!held.isUsed) {
      held.isUsed = true;
      if (this.#canSend(held.sender)) expected = this.#push(value);
      else {
        this.room.release(1);
        expected = CLOSED;
      }
    }
    expect(outcomeOf(() => held.permit.send(value))).toEqual(expected);
  }

  disposePermit(which: number): void {
    const held = at(this.permits, which);
    if (held === undefined) return;
    held.permit[Symbol.dispose]();
    if (!held.isUsed) this.room.release(1);
    held.isUsed = true;
  }

  trySend(which: number): void {
    const { real, model } = at(this.senders, which) as (typeof this.senders)[0];
    if (!("trySend" in real)) return;
    const value = this.sent++;
    let expected: Outcome = CLOSED;
    if (this.#canSend(model)) {
      expected = { value: this.room.tryAcquire(1) };
      if (expected.value) this.#push(value);
    }
    expect(outcomeOf(() => real.trySend(value))).toEqual(expected);
  }

  clone(which: number): void {
    const { real, model } = at(this.senders, which) as (typeof this.senders)[0];
    if (model.isClosed) expect(outcomeOf(() => real.clone())).toEqual(CLOSED);
    else this.senders.push({ real: real.clone(), model: { isClosed: false } });
  }

  closeSender(which: number): void {
    const { real, model } = at(this.senders, which) as (typeof this.senders)[0];
    model.isClosed = true;
    real.close();
    this.room.evict((state) => (state as { sender?: End }).sender === model);
    if (this.isOver) this.messages.evict();
  }

  waitForClose(which: number): void {
    const { real } = at(this.senders, which) as (typeof this.senders)[0];
    this.begin(real.closed(), { kind: "closed" });
  }

  recv(which: number): void {
    const { real, model } = at(this.receivers, which) as (typeof this.receivers)[0];
    const limit = which % 4;
    this.begin(limit === 0 ? real.recv() : real.recvMany(limit), {
      ...{ kind: "recv", need: 1, isGranted: false },
      ...{ limit, receiver: model, isWaiting: false },
    });
  }

  tryRecv(which: number): void {
    const { real, model } = at(this.receivers, which) as (typeof this.receivers)[0];
    let expected: Outcome = { value: "none" };
    if (this.#isOverFor(model)) expected = END;
    else if (this.messages.tryAcquire(1)) expected = item(this.#take());
    expect(outcomeOf(() => real.tryRecv() ?? "none")).toEqual(expected);
  }

  cloneReceiver(which: number): void {
    const { real } = at(this.receivers, which) as (typeof this.receivers)[0];
    if (!(real instanceof MpmcReceiver)) return;
    this.receivers.push({ real: real.clone(), model: { isClosed: !this.hasReceiver } });
  }

  closeReceiver(which: number): void {
    const { real, model } = at(this.receivers, which) as (typeof this.receivers)[0];
    real.close();
    const wasClosed = model.isClosed;
    model.isClosed = true;
    if (wasClosed) return;
    if (this.hasReceiver) {
      this.messages.evict((state) => (state as { receiver?: End }).receiver === model);
      return;
    }
    this.room.evict();
    if (this.isOver) this.messages.evict();
  }

  override expectPoll(state: Side): Outcome {
    if (state.kind === "closed") return this.hasReceiver ? "pending" : { value: undefined };
    if (state.kind === "recv") return this.#expectReceive(state);
    if (!state.isGranted) {
      if (!this.#canSend(state.sender)) {
        this.room.drop(state);
        return CLOSED;
      }
      if (!this.room.poll(state)) return "pending";
    }
    if (!this.#canSend(state.sender)) {
      this.room.release(1);
      return CLOSED;
    }
    return state.kind === "send" ? this.#push(state.value) : { value: "permit" };
  }

  #expectReceive(state: Side & { kind: "recv" }): Outcome {
    const isBusy = this.entries.some(
      ({ state: other }) =>
        other !== state &&
        other.kind === "recv" &&
        other.receiver === state.receiver &&
        other.isWaiting,
    );
    if (isBusy && this.receivers[0]?.real instanceof Receiver) return { error: "Error" };
    if (this.#isOverFor(state.receiver)) {
      this.messages.drop(state); // passes on what it was granted before its receiver was closed
      return state.limit === 0 ? END : { value: [] };
    }
    if (!state.isGranted && !this.messages.poll(state)) {
      state.isWaiting = true;
      return "pending";
    }
    const values = [this.#take()];
    if (state.limit === 0) return item(values[0]);
    while (values.length < state.limit && this.messages.tryAcquire(1)) values.push(this.#take());
    return { value: values };
  }

  override expectDrop(state: Side): void {
    if (state.kind === "recv") this.messages.drop(state);
    else if (state.kind !== "closed") this.room.drop(state);
  }

  override isReady(state: Side): boolean {
    if (state.kind === "closed") return !this.hasReceiver;
    if (state.kind === "recv") return state.isGranted || this.#isOverFor(state.receiver);
    return state.isGranted || !this.#canSend(state.sender);
  }

  override check(): void {
    for (const { real } of this.receivers) expect(real.size).toBe(this.items.length);
    for (const { real } of this.senders) {
      expect(real.isClosed).toBe(!this.hasReceiver);
      if (!("capacity" in real)) continue;
      expect(real.capacity).toBe(this.room.available);
      expect(real.maxCapacity).toBe(this.capacity as number);
    }
  }

  override checkEnd(): void {
    for (let which = 0; which < this.permits.length; which++) this.disposePermit(which);
    const open = this.receivers.findIndex(({ model }) => !model.isClosed);
    const receiver = Math.max(0, open);
    while (this.items.length > 0) this.tryRecv(receiver);
    expect(this.room.available).toBe(this.capacity ?? Number.POSITIVE_INFINITY);
    for (let which = 0; which < this.senders.length; which++) this.closeSender(which);
    this.tryRecv(receiver);
  }
}

test.each<["mpsc" | "mpmc", number | null]>([
  ["mpsc", 1],
  ["mpsc", 3],
  ["mpsc", null],
  ["mpmc", 1],
  ["mpmc", 3],
  ["mpmc", null],
])("an %s of capacity %p behaves like its model", (kind, capacity) => {
  checkModel(() => new ChannelModel(kind, capacity), {
    send: (model, n) => model.send(n),
    "send again": (model, n) => model.send(n),
    trySend: (model, n) => model.trySend(n),
    reserve: (model, n) => model.reserve(n),
    usePermit: (model, n) => model.usePermit(n),
    disposePermit: (model, n) => model.disposePermit(n),
    clone: (model, n) => model.clone(n),
    closeSender: (model, n) => model.closeSender(n),
    waitForClose: (model, n) => model.waitForClose(n),
    recv: (model, n) => model.recv(n),
    "recv again": (model, n) => model.recv(n),
    tryRecv: (model, n) => model.tryRecv(n),
    cloneReceiver: (model, n) => model.cloneReceiver(n),
    // Rarely, because a closed channel does little.
    closeReceiver: (model, n) => n < 2 + model.receivers.length && model.closeReceiver(n),
  });
});

// oneshot.

class OneshotModel extends Model<"value" | "closed"> {
  readonly sender: OneshotSender<number>;
  readonly receiver: OneshotReceiver<number>;
  sent: number | null = null;
  isSenderGone = false;
  isReceiverGone = false;

  constructor() {
    super();
    ({ sender: this.sender, receiver: this.receiver } = oneshot<number>());
    this.begin(this.receiver, "value", false);
  }

  send(value: number): void {
    let expected: Outcome = { value: undefined };
    if (this.isSenderGone) expected = CLOSED;
    else if (this.isReceiverGone) expected = CLOSED;
    else {
      this.sent = value;
      this.isSenderGone = true;
    }
    expect(outcomeOf(() => this.sender.send(value))).toEqual(expected);
  }

  dispose(): void {
    this.isSenderGone = true;
    this.sender[Symbol.dispose]();
  }

  override expectPoll(state: "value" | "closed"): Outcome {
    if (state === "closed") return this.isReceiverGone ? { value: undefined } : "pending";
    if (!this.isSenderGone) return "pending";
    this.isReceiverGone = true;
    return this.sent === null ? CLOSED : { value: this.sent };
  }

  override expectDrop(state: "value" | "closed"): void {
    if (state === "value") this.isReceiverGone = true;
  }

  override isReady(state: "value" | "closed"): boolean {
    return state === "value" ? this.isSenderGone : this.isReceiverGone;
  }
}

test("oneshot behaves like its model", () => {
  checkModel(() => new OneshotModel(), {
    send: (model, n) => model.send(n),
    dispose: (model) => model.dispose(),
    closed: (model) => model.begin(model.sender.closed(), "closed"),
  });
});

// broadcast.

/** A receiver and the number of the next message it receives. */
interface Cursor {
  readonly real: BroadcastReceiver<number>;
  next: number;
  isClosed: boolean;
}

class BroadcastModel extends Model<{ cursor: Cursor; isWaiting: boolean }> {
  readonly capacity: number;
  readonly sender: BroadcastSender<number>;
  readonly cursors: Cursor[] = [];
  sent = 0;
  isClosed = false;

  constructor(capacity: number) {
    super();
    this.capacity = capacity;
    const { sender, receiver } = broadcast<number>(capacity);
    this.sender = sender;
    this.cursors.push({ real: receiver, next: 0, isClosed: false });
  }

  send(): void {
    const value = this.sent;
    const count = this.cursors.filter((cursor) => !cursor.isClosed).length;
    if (!this.isClosed) this.sent++; // the value of message number n is n
    expect(outcomeOf(() => this.sender.send(value))).toEqual(
      this.isClosed ? CLOSED : { value: count },
    );
  }

  subscribe(): void {
    this.cursors.push({ real: this.sender.subscribe(), next: this.sent, isClosed: false });
  }

  recv(which: number): void {
    const cursor = at(this.cursors, which) as Cursor;
    this.begin(cursor.real.recv(), { cursor, isWaiting: false });
  }

  tryRecv(which: number): void {
    const cursor = at(this.cursors, which) as Cursor;
    const before = this.sent - this.capacity - cursor.next;
    const expected = this.#receive(cursor);
    let missed = 0;
    const outcome = outcomeOf(() => {
      try {
        return cursor.real.tryRecv() ?? "none";
      } catch (error) {
        if (error instanceof LaggedError) missed = error.missed;
        throw error;
      }
    });
    expect(outcome).toEqual(expected === "pending" ? { value: "none" } : expected);
    if (!cursor.isClosed) expect(missed).toBe(Math.max(0, before));
  }

  closeReceiver(which: number): void {
    const cursor = at(this.cursors, which) as Cursor;
    cursor.isClosed = true;
    cursor.real.close();
  }

  close(): void {
    this.isClosed = true;
    this.sender.close();
  }

  #receive(cursor: Cursor): Outcome {
    if (cursor.isClosed) return END;
    if (cursor.next < this.sent - this.capacity) {
      cursor.next = this.sent - this.capacity;
      return { error: "LaggedError" };
    }
    if (cursor.next < this.sent) return item(cursor.next++);
    return this.isClosed ? END : "pending";
  }

  override expectPoll(state: { cursor: Cursor; isWaiting: boolean }): Outcome {
    const isRefused = this.entries.some(
      (entry) =>
        entry.state !== state && entry.state.cursor === state.cursor && entry.state.isWaiting,
    );
    if (isRefused) return { error: "Error" };
    const outcome = this.#receive(state.cursor);
    state.isWaiting = outcome === "pending";
    return outcome;
  }

  override expectDrop(): void {}

  override isReady({ cursor, isWaiting }: { cursor: Cursor; isWaiting: boolean }): boolean {
    return isWaiting && (cursor.isClosed || this.isClosed || cursor.next < this.sent);
  }
}

test.each([[1], [3]])("a broadcast of capacity %p behaves like its model", (capacity) => {
  checkModel(() => new BroadcastModel(capacity), {
    send: (model) => model.send(),
    "send again": (model) => model.send(),
    recv: (model, n) => model.recv(n),
    "recv again": (model, n) => model.recv(n),
    tryRecv: (model, n) => model.tryRecv(n),
    subscribe: (model) => model.subscribe(),
    closeReceiver: (model, n) => model.closeReceiver(n),
    close: (model, n) => n === 0 && model.close(),
  });
});

// watch.

interface Watcher {
  readonly real: WatchReceiver<number>;
  /** The version that counts as seen. */
  seen: number;
}

/** A `changed`, or a `waitFor` with `divisor`. `from` is the version seen at its first poll. */
type Watching = { watcher: Watcher; from: number | null; divisor: number | null };

class WatchModel extends Model<Watching> {
  readonly sender: WatchSender<number>;
  readonly watchers: Watcher[] = [];
  /** The latest value, which is also its version. */
  version = 0;
  isClosed = false;

  constructor() {
    super();
    const { sender, receiver } = watch(0);
    this.sender = sender;
    this.watchers.push({ real: receiver, seen: 0 });
  }

  send(): void {
    if (!this.isClosed) this.version++;
    expect(outcomeOf(() => this.sender.send(this.version))).toEqual(
      this.isClosed ? CLOSED : { value: undefined },
    );
  }

  /** Sends through a function that returns a value `by` higher; by 0, `sendIfChanged` sends nothing. */
  modify(by: 0 | 1): void {
    const modified = (): number => this.version + by;
    if (this.isClosed) {
      expect(outcomeOf(() => this.sender.sendModify(modified))).toEqual(CLOSED);
      expect(outcomeOf(() => this.sender.sendIfChanged(modified))).toEqual(CLOSED);
      return;
    }
    expect(this.sender.sendIfChanged(modified)).toBe(by === 1);
    if (by === 0) return;
    this.version++;
    this.sender.sendModify((value) => value + 1);
    this.version++;
  }

  subscribe(): void {
    this.watchers.push({ real: this.sender.subscribe(), seen: this.version });
  }

  changed(which: number): void {
    const watcher = at(this.watchers, which) as Watcher;
    this.begin(watcher.real.changed(), { watcher, from: null, divisor: null });
  }

  waitFor(divisor: number): void {
    const watcher = at(this.watchers, divisor) as Watcher;
    const future = watcher.real.waitFor((value) => value % divisor === 0);
    this.begin(future, { watcher, from: null, divisor });
  }

  readValue(which: number): void {
    const watcher = at(this.watchers, which) as Watcher;
    expect(watcher.real.value).toBe(this.version);
    if (which % 2 === 0) return;
    expect(watcher.real.markSeen()).toBe(this.version);
    watcher.seen = this.version;
  }

  close(): void {
    this.isClosed = true;
    this.sender.close();
  }

  override expectPoll(state: Watching): Outcome {
    state.from ??= state.watcher.seen;
    if (!this.#holds(state)) return this.isClosed ? CLOSED : "pending";
    state.watcher.seen = this.version;
    return { value: state.divisor === null ? undefined : this.version };
  }

  override expectDrop(): void {}

  override isReady(state: Watching): boolean {
    return this.#holds(state) || this.isClosed;
  }

  #holds({ from, divisor }: Watching): boolean {
    return divisor === null ? from !== this.version : this.version % divisor === 0;
  }
}

test("watch behaves like its model", () => {
  checkModel(() => new WatchModel(), {
    send: (model) => model.send(),
    "send again": (model) => model.send(),
    modify: (model, n) => model.modify(n % 2 === 0 ? 0 : 1),
    subscribe: (model) => model.subscribe(),
    changed: (model, n) => model.changed(n),
    waitFor: (model, n) => model.waitFor(2 + (n % 3)),
    readValue: (model, n) => model.readValue(n),
    close: (model, n) => n === 0 && model.close(),
  });
});

// Notify.

interface Notice {
  /** The number of `notifyAll` calls before this future was created. */
  readonly notifyAllCount: number;
  notifiedBy: "one" | "all" | null;
}

class NotifyModel extends Model<Notice> {
  readonly notify: Notify = new Notify();
  readonly waiting: Notice[] = [];
  isStored = false;
  notifyAllCount = 0;

  notified(isPolled: boolean): void {
    const state = { notifyAllCount: this.notifyAllCount, notifiedBy: null };
    this.begin(this.notify.notified(), state, isPolled);
  }

  notifyOne(): void {
    this.notify.notifyOne();
    this.#notifyOne();
  }

  notifyAll(): void {
    this.notify.notifyAll();
    this.notifyAllCount++;
    for (const state of this.waiting.splice(0)) state.notifiedBy = "all";
  }

  /** Enables a wait, polled or not. */
  enable(which: number): void {
    const entry = at(this.entries, which);
    if (entry === undefined) return;
    const { state } = entry;
    let isNotified = state.notifiedBy !== null || state.notifyAllCount !== this.notifyAllCount;
    if (!isNotified && this.isStored) {
      this.isStored = false;
      state.notifiedBy = "one";
      isNotified = true;
    }
    if (!isNotified && !this.waiting.includes(state)) this.waiting.push(state);
    expect((entry.future as Notified).enable()).toBe(isNotified);
  }

  #notifyOne(): void {
    const first = this.waiting.shift();
    if (first === undefined) this.isStored = true;
    else first.notifiedBy = "one";
  }

  override expectPoll(state: Notice): Outcome {
    if (state.notifiedBy !== null || state.notifyAllCount !== this.notifyAllCount) {
      return { value: undefined };
    }
    if (this.isStored) {
      this.isStored = false;
      return { value: undefined };
    }
    if (!this.waiting.includes(state)) this.waiting.push(state);
    return "pending";
  }

  override expectDrop(state: Notice): void {
    if (this.waiting.includes(state)) this.waiting.splice(this.waiting.indexOf(state), 1);
    if (state.notifiedBy === "one") this.#notifyOne();
  }

  override isReady(state: Notice): boolean {
    return state.notifiedBy !== null;
  }

  override checkEnd(): void {
    const wasStored = this.isStored;
    this.notified(true);
    expect(this.entries.length).toBe(wasStored ? 0 : 1);
  }
}

test("Notify behaves like its model", () => {
  checkModel(() => new NotifyModel(), {
    notified: (model) => model.notified(true),
    "notified, not polled": (model) => model.notified(false),
    enable: (model, n) => model.enable(n),
    notifyOne: (model) => model.notifyOne(),
    notifyAll: (model) => model.notifyAll(),
  });
});

// Barrier.

interface Arrival {
  /** Whether this wait was the last to arrive; null until the barrier opens for it. */
  isLast: boolean | null;
  hasArrived: boolean;
}

class BarrierModel extends Model<Arrival> {
  readonly barrier: Barrier = new Barrier(3);
  readonly waiting: Arrival[] = [];

  override expectPoll(state: Arrival): Outcome {
    if (!state.hasArrived) {
      state.hasArrived = true;
      this.waiting.push(state);
      if (this.waiting.length === 3) {
        for (const arrival of this.waiting.splice(0)) arrival.isLast = arrival === state;
      }
    }
    return state.isLast === null ? "pending" : { value: state.isLast };
  }

  override expectDrop(state: Arrival): void {
    if (this.waiting.includes(state)) this.waiting.splice(this.waiting.indexOf(state), 1);
  }

  override isReady(state: Arrival): boolean {
    return state.isLast !== null;
  }
}

test("Barrier behaves like its model", () => {
  const wait = (model: BarrierModel, isPolled: boolean): void =>
    model.begin(model.barrier.wait(), { isLast: null, hasArrived: false }, isPolled);
  checkModel(() => new BarrierModel(), {
    wait: (model) => wait(model, true),
    "wait, not polled": (model) => wait(model, false),
  });
});

// OnceCell.

interface Getting extends Need {
  readonly init: Counting<number>;
  isInitializing: boolean;
  /** How `init` ended. */
  result: { value: number } | { error: string } | null;
}

class OnceCellModel extends Model<Getting> {
  override readonly chargesBudget = false; // reading an initialized value charges no coop budget
  readonly cell: OnceCell<number> = new OnceCell();
  readonly permits: PermitsModel = new PermitsModel(1);
  value: number | null = null;
  calls = 0;
  expectedCalls = 0;

  get(): void {
    const init = new Counting<number>();
    const initialize = (): Future<number> => {
      this.calls++;
      return init;
    };
    const state = { need: 1, isGranted: false, init, isInitializing: false, result: null };
    this.begin(this.cell.getOrInit(initialize), state);
  }

  /** Ends the running `init`: throws if `value` is 0, else returns `value`. */
  endInit(value: number): void {
    const getting = this.entries.find(
      ({ state }) => state.isInitializing && state.result === null,
    )?.state;
    if (getting === undefined) return;
    getting.result = value === 0 ? { error: "RangeError" } : { value };
    if (value === 0) getting.init.fail(new RangeError());
    else getting.init.complete(value);
  }

  override expectPoll(state: Getting, { wasPolled }: Entry<Getting>): Outcome {
    if (!wasPolled && this.value !== null) return { value: this.value };
    if (!state.isInitializing) {
      if (!state.isGranted && !this.permits.poll(state)) return "pending";
      state.isGranted = true;
      if (this.value === null) {
        state.isInitializing = true;
        this.expectedCalls++;
      }
    }
    if (state.isInitializing && state.result === null) return "pending";
    if (state.result !== null && "value" in state.result) this.value = state.result.value;
    this.permits.drop(state);
    return state.result ?? { value: this.value };
  }

  override expectDrop(state: Getting): void {
    this.permits.drop(state);
  }

  override isReady(state: Getting): boolean {
    return state.isInitializing ? state.result !== null : state.isGranted;
  }

  override check(): void {
    expect(this.cell.get()).toBe(this.value ?? undefined);
    expect(this.calls).toBe(this.expectedCalls);
  }
}

test("OnceCell behaves like its model", () => {
  checkModel(() => new OnceCellModel(), {
    get: (model) => model.get(),
    "get again": (model) => model.get(),
    endInit: (model, n) => model.endInit(n % 2),
  });
});
