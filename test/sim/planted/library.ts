// Bugs planted in the library itself, by replaced methods, each with a scenario that depends on the broken rule. `plant`
// returns a function that restores the method.

import { WaitQueue } from "../../../src/core/wait-queue.ts";
import type { Context } from "../../../src/index.ts";
import {
  type Coroutine,
  Leaf,
  Mutex,
  Notify,
  Pending,
  type Poll,
  pipe,
  race,
  sleep,
  spawn,
  TcpListener,
  TcpStream,
  TimeoutError,
  timeout,
  yieldNow,
} from "../../../src/index.ts";
import { Source, STICKY } from "../../../src/io/source.ts";
import { Reactor } from "../../../src/reactor/reactor.ts";
import { Timers } from "../../../src/reactor/timers.ts";
import { Task } from "../../../src/runtime/task.ts";
import type { World } from "../../../src/sim/index.ts";
import { Acquire } from "../../../src/sync/permits.ts";
import { EpollEvents } from "../../../src/sys/index.ts";

export interface PlantedInLibrary {
  readonly name: string;
  /** Plants the bug; with false, only what the scenario needs besides it. */
  plant(isPlanted: boolean): () => void;
  scenario(world: World): Coroutine<void>;
}

type Methods = Record<string, (...args: never[]) => unknown>;

/** Replaces a method. Returns a function that restores it. */
function replace(
  prototype: object,
  name: string,
  change: (original: (...args: unknown[]) => unknown) => (this: never, ...args: never[]) => unknown,
): () => void {
  const methods = prototype as Methods;
  const original = methods[name]!;
  methods[name] = change(original as never) as never;
  return () => {
    methods[name] = original;
  };
}

const onlyIf =
  (plant: () => () => void) =>
  (isPlanted: boolean): (() => void) =>
    isPlanted ? plant() : () => {};

const RUNNING = 2;

/** Wakes its task from inside the poll, as an event that arrives during the poll does. */
class WokenDuringPoll extends Leaf<void> {
  readonly #world: World;
  #hasWaited = false;

  constructor(world: World) {
    super();
    this.#world = world;
  }

  protected override attempt(cx: Context): Poll<void> {
    if (this.#hasWaited) return;
    this.#hasWaited = true;
    const isEarly = this.#world.pick(16) === 1;
    const waker = cx.waker.clone();
    if (isEarly) waker.wake();
    else
      spawn(function* () {
        waker.wake();
      });
    return Pending;
  }

  override describe(): string {
    return "an event";
  }
}

const wakeDuringPoll: PlantedInLibrary = {
  name: "a wake lost during a poll",
  plant: onlyIf(() =>
    replace(
      Task.prototype,
      "schedule",
      (schedule) =>
        function (this: { state: number }) {
          if (this.state !== RUNNING) schedule.call(this);
        } as never,
    ),
  ),
  *scenario(world) {
    yield* new WokenDuringPoll(world);
  },
};

/** Data and the end of the stream may arrive as one edge. */
const stickyHangup: PlantedInLibrary = {
  name: "sticky RDHUP forgotten",
  plant: onlyIf(() =>
    replace(
      Source.prototype,
      "onEvents",
      (onEvents) =>
        function (this: { ready: number }, events: number) {
          onEvents.call(this, events);
          this.ready &= ~STICKY;
        } as never,
    ),
  ),
  *scenario(world) {
    world.host("server", function* () {
      using listener = TcpListener.bind("0.0.0.0:7000");
      using stream = yield* listener.accept();
      yield* stream.writeAll("all there is");
      stream.shutdown();
      yield* sleep(1000);
    });
    yield* sleep(10);
    yield* world.host("client", function* () {
      using stream = yield* TcpStream.connect("server:7000");
      const read = function* (): Coroutine<void> {
        while ((yield* stream.readChunk()) !== null);
      };
      yield* timeout(500, read);
    });
  },
};

/**
 * Dispatches the events of a round one round late: code that runs in between may close an fd and register another in its
 * slot. Without the check of generations the new owner then gets the event of the old one.
 */
function dispatchLate(): () => void {
  return replace(
    Reactor.prototype,
    "turn",
    () =>
      function (this: {
        sys: { epollWait(fd: number, events: EpollEvents, timeoutMs: number): number };
        epollFd: number;
        timers: Timers;
        late?: { events: EpollEvents; count: number };
        sinks: ({ onEvents(events: number): void } | null)[];
        generationOf(slot: number): number;
      }) {
        this.timers.prepare(false);
        const { late } = this;
        const events = new EpollEvents(64);
        const count = this.sys.epollWait(this.epollFd, events, 0);
        this.late = { events, count };
        for (let index = 0; index < (late?.count ?? 0); index++) {
          const slot = late!.events.slot(index);
          if (this.generationOf(slot) !== late!.events.generation(index)) continue;
          this.sinks[slot]?.onEvents(late!.events.events(index));
        }
        this.timers.expire();
        return count;
      } as never,
  );
}

const generation: PlantedInLibrary = {
  name: "a generation not checked",
  plant(isPlanted) {
    const restores = [dispatchLate()];
    if (isPlanted)
      restores.push(replace(Reactor.prototype, "generationOf", () => (() => 0) as never));
    return () => {
      for (const restore of restores) restore();
    };
  },
  *scenario(world) {
    const yields = function* (count: number): Coroutine<void> {
      for (; count > 0; count--) yield* yieldNow();
    };
    const busy = spawn(yields(1000)); // rounds go on
    const first = pipe();
    const waiting = spawn(first.reader.readable());
    yield* yields(200);
    yield* first.writer.write(new Uint8Array(1)); // an event for the slot of `first`
    yield* yields(world.pick(100));
    waiting.abort();
    first.reader.close();
    first.writer.close();
    const second = pipe(); // in the same slot
    const isReadable = yield* race(
      function* () {
        yield* second.reader.readable();
        return true;
      },
      function* () {
        yield* busy;
        return false;
      },
    );
    second.reader.close();
    second.writer.close();
    if (isReadable) throw new Error("an empty pipe is readable");
  },
};

const staleWaiter: PlantedInLibrary = {
  name: "a waiter left after a drop",
  plant: onlyIf(() => replace(WaitQueue.prototype, "leave", () => (() => {}) as never)),
  *scenario(world) {
    const changed = new Notify();
    const impatient = spawn(function* () {
      try {
        yield* timeout(world.pick(4), changed.notified());
        changed.notifyOne(); // it was meant for the other
      } catch (error) {
        if (!(error instanceof TimeoutError)) throw error;
      }
    });
    const patient = spawn(changed.notified());
    yield* sleep(2);
    changed.notifyOne();
    yield* timeout(1000, patient);
    yield* impatient;
  },
};

const lostPermit: PlantedInLibrary = {
  name: "a permit lost on cancel",
  plant: onlyIf(() =>
    replace(
      Acquire.prototype,
      "release",
      (release) =>
        function (this: { isGranted: boolean }) {
          if (!this.isGranted) release.call(this);
        } as never,
    ),
  ),
  *scenario() {
    const lock = new Mutex(0);
    const use = function* (): Coroutine<void> {
      using _ = yield* lock.lock();
      yield* yieldNow();
    };
    const holder = spawn(use);
    const waiter = spawn(use);
    const canceller = spawn(function* () {
      yield* yieldNow();
      yield* yieldNow();
      waiter.abort();
    });
    yield* holder;
    yield* canceller;
    yield* timeout(1000, use);
  },
};

const timerNotRearmed: PlantedInLibrary = {
  name: "a timer not rearmed",
  plant: onlyIf(() =>
    replace(
      Timers.prototype,
      "prepare",
      (prepare) =>
        function (this: { armedMs: number }, canSleep: boolean) {
          const isArmed = this.armedMs !== Number.POSITIVE_INFINITY;
          return isArmed ? (canSleep ? -1 : 0) : prepare.call(this, canSleep);
        } as never,
    ),
  ),
  *scenario(world) {
    const long = spawn(() => sleep(1000));
    const short = spawn(function* () {
      for (let turns = world.pick(3); turns > 0; turns--) yield* yieldNow();
      yield* sleep(10);
      return world.now();
    });
    const elapsedMs = yield* short;
    long.abort();
    if (elapsedMs > 500) throw new Error(`a sleep of 10 ms took ${elapsedMs}`);
  },
};

export const plantedInLibrary: readonly PlantedInLibrary[] = [
  wakeDuringPoll,
  stickyHangup,
  generation,
  staleWaiter,
  lostPermit,
  timerNotRearmed,
];
