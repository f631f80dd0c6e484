// Each primitive beside a model of it, under random waits, polls, drops and closes: nothing lost, nothing
// doubled, order kept, first come first served, and who can go on has been woken.

import { expect, setDefaultTimeout, test } from "bun:test";
import {
  Barrier,
  type BroadcastReceiver,
  type BroadcastSender,
  broadcast,
  type Future,
  LaggedError,
  Mutex,
  mpsc,
  Notify,
  OnceCell,
  type OneshotReceiver,
  type OneshotSender,
  oneshot,
  type Receiver,
  RwLock,
  Semaphore,
  type Sender,
  type UnboundedSender,
  unboundedMpsc,
  type WatchReceiver,
  type WatchSender,
  watch,
} from "../../src/index.ts";
import { Counting } from "../support/counting.ts";
import { checkModel, type Entry, Model, type Outcome, outcomeOf } from "../support/model.ts";

setDefaultTimeout(60_000); // a slow machine is no failure

const at = <T>(list: T[], which: number): T | undefined => list[which % list.length];
const END = { value: { done: true } };
const item = (value: unknown): Outcome => ({ value: { done: false, value } });
const CLOSED = { error: "ChannelClosedError" };

// Semaphore, Mutex, RwLock: permits in a queue.

interface Need {
  readonly need: number;
  isGranted: boolean;
}

interface Held {
  release(): void;
  [Symbol.dispose](): void;
}

/** A queue of who waits for how much; the head is granted as soon as there is enough. */
class Queue {
  available: number;
  readonly waiting: Need[] = [];

  constructor(available: number) {
    this.available = available;
  }

  take(need: number): boolean {
    if (this.waiting.length > 0 || need > this.available) return false;
    this.available -= need;
    return true;
  }

  /** For one that was not granted: whether it has its permits now. */
  enter(state: Need): boolean {
    if (this.waiting.includes(state)) return false;
    if (this.take(state.need)) return true;
    this.waiting.push(state);
    return false;
  }

  leave(state: Need): void {
    if (state.isGranted) this.available += state.need;
    else if (this.waiting.includes(state)) this.waiting.splice(this.waiting.indexOf(state), 1);
    this.grant();
  }

  give(count: number): void {
    this.available += count;
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

interface Lock {
  readonly total: number;
  readonly needs: number[];
  acquire(need: number): Future<Held>;
  tryAcquire(need: number): Held | null;
  available?(): number;
}

class LockModel extends Model<Need> {
  readonly lock: Lock;
  readonly queue: Queue;
  readonly held: { guard: Held; need: number }[] = [];
  #got: Held | null = null;

  constructor(lock: Lock) {
    super();
    this.lock = lock;
    this.queue = new Queue(lock.total);
  }

  acquire(which: number): void {
    const need = at(this.lock.needs, which) as number;
    this.begin(this.lock.acquire(need), { need, isGranted: false });
  }

  override poll(which: number): void {
    const entry = at(this.entries, which);
    this.#got = null;
    super.poll(which);
    if (this.#got !== null && entry !== undefined) {
      this.held.push({ guard: this.#got, need: entry.state.need });
    }
  }

  override seen(value: unknown): unknown {
    if (typeof value === "symbol") return value;
    this.#got = value as Held;
    return "held";
  }

  tryAcquire(which: number): void {
    const need = at(this.lock.needs, which) as number;
    const guard = this.lock.tryAcquire(need);
    expect(guard !== null).toBe(this.queue.take(need));
    if (guard !== null) this.held.push({ guard, need });
  }

  release(which: number): void {
    const one = at(this.held, which);
    if (one === undefined) return;
    this.held.splice(this.held.indexOf(one), 1);
    one.guard.release();
    expect(() => one.guard.release()).toThrow("released");
    one.guard[Symbol.dispose](); // changes nothing
    this.queue.give(one.need);
  }

  override expectPoll(state: Need): Outcome {
    return state.isGranted || this.queue.enter(state) ? { value: "held" } : "pending";
  }

  override expectDrop(state: Need): void {
    this.queue.leave(state);
  }

  override isReady(state: Need): boolean {
    return state.isGranted;
  }

  override check(): void {
    if (this.lock.available) expect(this.lock.available()).toBe(this.queue.available);
  }

  override checkEnd(): void {
    while (this.held.length > 0) this.release(0);
    expect(this.lock.tryAcquire(Math.max(...this.lock.needs)), "nothing is lost").not.toBeNull();
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
  // A writer needs as much as there may be readers: more than any run makes.
  RwLock: () => {
    const lock = new RwLock(0);
    return {
      total: 1000,
      needs: [1, 1, 1000],
      acquire: (need) => (need === 1 ? lock.read() : lock.write()) as Future<Held>,
      tryAcquire: (need) => (need === 1 ? lock.tryRead() : lock.tryWrite()),
    };
  },
};

test.each(Object.keys(locks))("%s", (name) => {
  checkModel(() => new LockModel((locks[name] as () => Lock)()), {
    acquire: (model, n) => model.acquire(n),
    tryAcquire: (model, n) => model.tryAcquire(n),
    release: (model, n) => model.release(n),
    "release, too": (model, n) => model.release(n),
  });
});

// mpsc and unboundedMpsc.

type Side =
  | (Need & { kind: "send"; value: number; sender: { isClosed: boolean } })
  | { kind: "recv"; limit: number; isWaiting: boolean };

class MpscModel extends Model<Side> {
  readonly queue: Queue;
  readonly items: number[] = [];
  readonly senders: {
    real: Sender<number> | UnboundedSender<number>;
    model: { isClosed: boolean };
  }[];
  readonly receiver: Receiver<number>;
  isClosed = false;
  sent = 0;

  constructor(capacity: number | null) {
    super();
    const { sender, receiver } =
      capacity === null ? unboundedMpsc<number>() : mpsc<number>(capacity);
    this.queue = new Queue(capacity ?? Number.POSITIVE_INFINITY);
    this.senders = [{ real: sender, model: { isClosed: false } }];
    this.receiver = receiver;
  }

  get isEnded(): boolean {
    return this.isClosed || this.senders.every(({ model }) => model.isClosed);
  }

  #push(value: number): Outcome {
    if (this.isClosed) return CLOSED;
    this.items.push(value);
    return { value: undefined };
  }

  send(which: number): void {
    const { real, model } = at(this.senders, which) as (typeof this.senders)[0];
    const value = this.sent++;
    if (model.isClosed) expect(() => real.send(value)).toThrow("this sender of channel");
    else if ("trySend" in real) {
      const state = { kind: "send" as const, need: 1, isGranted: false, value, sender: model };
      this.begin(real.send(value), state);
    } else expect(outcomeOf(() => real.send(value))).toEqual(this.#push(value));
  }

  trySend(which: number): void {
    const { real, model } = at(this.senders, which) as (typeof this.senders)[0];
    if (!("trySend" in real)) return;
    const value = this.sent++;
    let expected: Outcome = { error: "Error" };
    if (!model.isClosed) {
      if (this.isClosed) expected = CLOSED;
      else if (this.queue.take(1)) {
        this.items.push(value);
        expected = { value: true };
      } else expected = { value: false };
    }
    expect(outcomeOf(() => real.trySend(value))).toEqual(expected);
  }

  clone(which: number): void {
    const { real, model } = at(this.senders, which) as (typeof this.senders)[0];
    if (model.isClosed) expect(() => real.clone()).toThrow("this sender of channel");
    else this.senders.push({ real: real.clone(), model: { isClosed: false } });
  }

  closeSender(which: number): void {
    const { real, model } = at(this.senders, which) as (typeof this.senders)[0];
    model.isClosed = true;
    real.close();
  }

  recv(limit: number): void {
    const future = limit === 0 ? this.receiver.recv() : this.receiver.recvMany(limit);
    this.begin(future, { kind: "recv", limit, isWaiting: false });
  }

  tryRecv(): void {
    const expected = this.#take(0);
    expect(outcomeOf(() => this.receiver.tryRecv() ?? "none")).toEqual(
      expected === "pending" ? { value: "none" } : expected,
    );
  }

  close(): void {
    this.isClosed = true;
    this.receiver.close();
  }

  #take(limit: number): Outcome {
    const taken = this.items.splice(0, Math.max(1, limit));
    for (const _ of taken) this.queue.give(1);
    if (taken.length === 0 && !this.isEnded) return "pending";
    if (limit > 0) return { value: taken };
    return taken.length > 0 ? item(taken[0]) : END;
  }

  override expectPoll(state: Side): Outcome {
    if (state.kind === "recv") {
      const others = this.entries.filter((entry) => entry.state !== state);
      if (others.some((entry) => entry.state.kind === "recv" && entry.state.isWaiting)) {
        return { error: "Error" };
      }
      const outcome = this.#take(state.limit);
      state.isWaiting = outcome === "pending";
      return outcome;
    }
    if (!state.isGranted) {
      if (this.isClosed) {
        this.queue.leave(state);
        return CLOSED;
      }
      if (!this.queue.enter(state)) return "pending";
    }
    if (!state.sender.isClosed) return this.#push(state.value);
    this.queue.give(1);
    return { error: "Error" };
  }

  override expectDrop(state: Side): void {
    if (state.kind === "send") this.queue.leave(state);
  }

  override isReady(state: Side): boolean {
    if (state.kind === "send") return state.isGranted || this.isClosed;
    return state.isWaiting && (this.items.length > 0 || this.isEnded);
  }

  override check(): void {
    expect(this.receiver.size).toBe(this.items.length);
    expect(this.senders[0]?.real.isClosed).toBe(this.isClosed);
  }

  override checkEnd(): void {
    while (this.items.length > 0) this.tryRecv();
    for (let which = 0; which < this.senders.length; which++) this.closeSender(which);
    this.tryRecv();
  }
}

test.each([[1], [3], [null]])("mpsc of capacity %p", (capacity) => {
  checkModel(() => new MpscModel(capacity), {
    send: (model, n) => model.send(n),
    "send, too": (model, n) => model.send(n),
    trySend: (model, n) => model.trySend(n),
    clone: (model, n) => model.clone(n),
    closeSender: (model, n) => model.closeSender(n),
    recv: (model, n) => model.recv(n % 4),
    tryRecv: (model) => model.tryRecv(),
    close: (model, n) => n === 0 && model.close(), // rarely: little happens after it
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
    if (this.isSenderGone) expected = { error: "Error" };
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

test("oneshot", () => {
  checkModel(() => new OneshotModel(), {
    send: (model, n) => model.send(n),
    dispose: (model) => model.dispose(),
    closed: (model) => model.begin(model.sender.closed(), "closed"),
  });
});

// broadcast.

interface Place {
  readonly real: BroadcastReceiver<number>;
  next: number;
  isClosed: boolean;
}

class BroadcastModel extends Model<{ place: Place; isWaiting: boolean }> {
  readonly capacity: number;
  readonly sender: BroadcastSender<number>;
  readonly places: Place[] = [];
  sent = 0;
  isClosed = false;

  constructor(capacity: number) {
    super();
    this.capacity = capacity;
    const { sender, receiver } = broadcast<number>(capacity);
    this.sender = sender;
    this.places.push({ real: receiver, next: 0, isClosed: false });
  }

  send(): void {
    const value = this.sent;
    const count = this.places.filter((place) => !place.isClosed).length;
    if (!this.isClosed) this.sent++; // message number n is n
    expect(outcomeOf(() => this.sender.send(value))).toEqual(
      this.isClosed ? CLOSED : { value: count },
    );
  }

  subscribe(): void {
    this.places.push({ real: this.sender.subscribe(), next: this.sent, isClosed: false });
  }

  recv(which: number): void {
    const place = at(this.places, which) as Place;
    this.begin(place.real.recv(), { place, isWaiting: false });
  }

  tryRecv(which: number): void {
    const place = at(this.places, which) as Place;
    const before = this.sent - this.capacity - place.next;
    const expected = this.#take(place);
    let missed = 0;
    const outcome = outcomeOf(() => {
      try {
        return place.real.tryRecv() ?? "none";
      } catch (error) {
        if (error instanceof LaggedError) missed = error.missed;
        throw error;
      }
    });
    expect(outcome).toEqual(expected === "pending" ? { value: "none" } : expected);
    if (!place.isClosed) expect(missed).toBe(Math.max(0, before));
  }

  closeReceiver(which: number): void {
    const place = at(this.places, which) as Place;
    place.isClosed = true;
    place.real.close();
  }

  close(): void {
    this.isClosed = true;
    this.sender.close();
  }

  #take(place: Place): Outcome {
    if (place.isClosed) return END;
    if (place.next < this.sent - this.capacity) {
      place.next = this.sent - this.capacity;
      return { error: "LaggedError" };
    }
    if (place.next < this.sent) return item(place.next++);
    return this.isClosed ? END : "pending";
  }

  override expectPoll(state: { place: Place; isWaiting: boolean }): Outcome {
    const isTaken = this.entries.some(
      (entry) =>
        entry.state !== state && entry.state.place === state.place && entry.state.isWaiting,
    );
    if (isTaken) return { error: "Error" };
    const outcome = this.#take(state.place);
    state.isWaiting = outcome === "pending";
    return outcome;
  }

  override expectDrop(): void {}

  override isReady({ place, isWaiting }: { place: Place; isWaiting: boolean }): boolean {
    return isWaiting && (place.isClosed || this.isClosed || place.next < this.sent);
  }
}

test.each([[1], [3]])("broadcast of capacity %p", (capacity) => {
  checkModel(() => new BroadcastModel(capacity), {
    send: (model) => model.send(),
    "send, too": (model) => model.send(),
    recv: (model, n) => model.recv(n),
    "recv, too": (model, n) => model.recv(n),
    tryRecv: (model, n) => model.tryRecv(n),
    subscribe: (model) => model.subscribe(),
    closeReceiver: (model, n) => model.closeReceiver(n),
    close: (model, n) => n === 0 && model.close(),
  });
});

// watch.

interface Watcher {
  readonly real: WatchReceiver<number>;
  seen: number;
}

type Watching = { watcher: Watcher; from: number | null; divisor: number | null };

class WatchModel extends Model<Watching> {
  readonly sender: WatchSender<number>;
  readonly watchers: Watcher[] = [];
  /** The value is its version. */
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

  borrow(which: number): void {
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

test("watch", () => {
  checkModel(() => new WatchModel(), {
    send: (model) => model.send(),
    "send, too": (model) => model.send(),
    subscribe: (model) => model.subscribe(),
    changed: (model, n) => model.changed(n),
    waitFor: (model, n) => model.waitFor(2 + (n % 3)),
    borrow: (model, n) => model.borrow(n),
    close: (model, n) => n === 0 && model.close(),
  });
});

// Notify.

interface Notice {
  /** How often all had been notified when it was made. */
  readonly rounds: number;
  got: "one" | "all" | null;
}

class NotifyModel extends Model<Notice> {
  readonly notify: Notify = new Notify();
  readonly waiting: Notice[] = [];
  isStored = false;
  rounds = 0;

  notified(isPolled: boolean): void {
    this.begin(this.notify.notified(), { rounds: this.rounds, got: null }, isPolled);
  }

  notifyOne(): void {
    this.notify.notifyOne();
    this.#one();
  }

  notifyAll(): void {
    this.notify.notifyAll();
    this.rounds++;
    for (const state of this.waiting.splice(0)) state.got = "all";
  }

  #one(): void {
    const first = this.waiting.shift();
    if (first === undefined) this.isStored = true;
    else first.got = "one";
  }

  override expectPoll(state: Notice): Outcome {
    if (state.got !== null || state.rounds !== this.rounds) return { value: undefined };
    if (this.isStored) {
      this.isStored = false;
      return { value: undefined };
    }
    if (!this.waiting.includes(state)) this.waiting.push(state);
    return "pending";
  }

  override expectDrop(state: Notice): void {
    if (this.waiting.includes(state)) this.waiting.splice(this.waiting.indexOf(state), 1);
    if (state.got === "one") this.#one();
  }

  override isReady(state: Notice): boolean {
    return state.got !== null;
  }

  override checkEnd(): void {
    const wasStored = this.isStored;
    this.notified(true);
    expect(this.entries.length).toBe(wasStored ? 0 : 1);
  }
}

test("Notify", () => {
  checkModel(() => new NotifyModel(), {
    notified: (model) => model.notified(true),
    "notified, not polled": (model) => model.notified(false),
    notifyOne: (model) => model.notifyOne(),
    notifyAll: (model) => model.notifyAll(),
  });
});

// Barrier.

interface Arrival {
  /** null: it has not come yet, or waits; else whether it was the last. */
  isLeader: boolean | null;
  hasCome: boolean;
}

class BarrierModel extends Model<Arrival> {
  readonly barrier: Barrier = new Barrier(3);
  readonly waiting: Arrival[] = [];

  override expectPoll(state: Arrival): Outcome {
    if (!state.hasCome) {
      state.hasCome = true;
      this.waiting.push(state);
      if (this.waiting.length === 3) {
        for (const one of this.waiting.splice(0)) one.isLeader = one === state;
      }
    }
    return state.isLeader === null ? "pending" : { value: state.isLeader };
  }

  override expectDrop(state: Arrival): void {
    if (this.waiting.includes(state)) this.waiting.splice(this.waiting.indexOf(state), 1);
  }

  override isReady(state: Arrival): boolean {
    return state.isLeader !== null;
  }
}

test("Barrier", () => {
  const wait = (model: BarrierModel, isPolled: boolean): void =>
    model.begin(model.barrier.wait(), { isLeader: null, hasCome: false }, isPolled);
  checkModel(() => new BarrierModel(), {
    wait: (model) => wait(model, true),
    "wait, not polled": (model) => wait(model, false),
  });
});

// OnceCell.

interface Getting extends Need {
  readonly init: Counting<number>;
  isMaking: boolean;
  made: { value: number } | { error: string } | null;
}

class OnceCellModel extends Model<Getting> {
  override readonly isPaid = false; // a value that is there is no operation
  readonly cell: OnceCell<number> = new OnceCell();
  readonly queue: Queue = new Queue(1);
  value: number | null = null;
  calls = 0;
  expectedCalls = 0;

  get(): void {
    const init = new Counting<number>();
    const make = (): Future<number> => {
      this.calls++;
      return init;
    };
    const state = { need: 1, isGranted: false, init, isMaking: false, made: null };
    this.begin(this.cell.getOrInit(make), state);
  }

  /** The one that makes it comes to an end. */
  end(value: number): void {
    const maker = this.entries.find(({ state }) => state.isMaking && state.made === null)?.state;
    if (maker === undefined) return;
    maker.made = value === 0 ? { error: "RangeError" } : { value };
    if (value === 0) maker.init.fail(new RangeError());
    else maker.init.complete(value);
  }

  override expectPoll(state: Getting, { wasPolled }: Entry<Getting>): Outcome {
    if (!wasPolled && this.value !== null) return { value: this.value };
    if (!state.isMaking) {
      if (!state.isGranted && !this.queue.enter(state)) return "pending";
      state.isGranted = true;
      if (this.value === null) {
        state.isMaking = true;
        this.expectedCalls++;
      }
    }
    if (state.isMaking && state.made === null) return "pending";
    if (state.made !== null && "value" in state.made) this.value = state.made.value;
    this.queue.leave(state);
    return state.made ?? { value: this.value };
  }

  override expectDrop(state: Getting): void {
    this.queue.leave(state);
  }

  override isReady(state: Getting): boolean {
    return state.isMaking ? state.made !== null : state.isGranted;
  }

  override check(): void {
    expect(this.cell.get()).toBe(this.value ?? undefined);
    expect(this.calls).toBe(this.expectedCalls);
  }
}

test("OnceCell", () => {
  checkModel(() => new OnceCellModel(), {
    get: (model) => model.get(),
    "get, too": (model) => model.get(),
    end: (model, n) => model.end(n % 2),
  });
});
