// Random async functions, compared with a small model of the rule of cancellation.
//
// One interpreter runs a program twice. In the first world, the functions await futures of a runtime, which finds
// the owner of an await by its async context. In the second, they await plain promises, and each call passes its
// owner on by hand. The test ends leaves and aborts requests one at a time. After each event, both worlds must
// have logged the same and must wait for the same leaves.

import { drainMicrotasks } from "bun:jsc";
import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { AbortError, type Coroutine, Runtime, race, TimeoutError, timeout } from "../src/index.ts";
import { Counting } from "./support/counting.ts";
import { untilIdle } from "./support/idle.ts";
import { JobQueue } from "./support/job-queue.ts";
import { captureConsoleError } from "./support/output.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const RUNS = 4000;

/** A statement of a random function. The interpreter gives each a number. */
type Statement =
  | { kind: "leaf"; fails: boolean }
  /** Awaits a promise that only the test settles. */
  | { kind: "foreign" }
  /** `finally` and `catch` run `after`; `call` and `helper` call an async function; only `call` awaits it. */
  | { kind: "finally" | "catch"; body: Statement[]; after: Statement[] }
  | { kind: "call" | "helper" | "spawn" | "job"; body: Statement[] }
  /** Gives a function as work, with a leaf as its clock. */
  | { kind: "timeout"; body: Statement[] }
  /** Awaits a promise that the first caller creates. */
  | { kind: "shared"; key: number };

interface Program {
  readonly requests: Statement[][];
  readonly shared: Statement[][];
}

const leaf = fc.record({ kind: fc.constant("leaf" as const), fails: fc.boolean() });
/** Code that is cancelled in one leaf and then awaits another. */
const cleaning = fc.record({
  kind: fc.constantFrom("finally" as const, "catch" as const),
  body: leaf.map((one): Statement[] => [one]),
  after: leaf.map((one): Statement[] => [one]),
});

const { body } = fc.letrec<{ body: Statement[] }>((tie) => ({
  body: fc.array(
    fc.oneof(
      { depthSize: "medium", maxDepth: 5, withCrossShrink: true },
      { weight: 4, arbitrary: leaf },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("foreign" as const) }) },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constant("shared" as const), key: fc.nat(1) }),
      },
      {
        weight: 2,
        arbitrary: fc.record({
          kind: fc.constantFrom("finally" as const, "catch" as const),
          body: tie("body"),
          after: tie("body"),
        }),
      },
      {
        weight: 2,
        arbitrary: fc.record({
          kind: fc.constant("helper" as const),
          body: cleaning.map((one) => [one]),
        }),
      },
      {
        weight: 5,
        arbitrary: fc.record({
          kind: fc.constantFrom(
            "call" as const,
            "helper" as const,
            "spawn" as const,
            "job" as const,
            "timeout" as const,
          ),
          body: tie("body"),
        }),
      },
    ),
    { maxLength: 4, depthIdentifier: "body" },
  ) as fc.Arbitrary<Statement[]>,
}));
/**
 * Removes what could wait for itself: a job in a job, and a shared promise or a job in a shared promise. Removes
 * both from spawned tasks too, because when those start is not part of the rule.
 */
function plain(list: Statement[], place: "request" | "job" | "inner" = "request"): Statement[] {
  const isAllowed = ({ kind }: Statement): boolean => {
    if (kind === "job") return place === "request";
    return kind !== "shared" || place !== "inner";
  };
  return list.filter(isAllowed).map((one) => {
    const isInner = one.kind === "spawn" || place === "inner";
    const inner = isInner ? "inner" : one.kind === "job" ? "job" : place;
    if ("after" in one) {
      return { ...one, body: plain(one.body, inner), after: plain(one.after, inner) };
    }
    return "body" in one ? { ...one, body: plain(one.body, inner) } : { ...one };
  });
}
const program: fc.Arbitrary<Program> = fc.record({
  requests: fc.array(
    body.map((list) => plain(list)),
    { minLength: 1, maxLength: 3 },
  ),
  shared: fc.array(
    body.map((list) => plain(list, "inner")),
    { minLength: 2, maxLength: 2 },
  ),
});

/** Numbers the statements of a program, for messages and to find leaves. */
function numbersOf({ requests, shared }: Program): Map<Statement, number> {
  const numbers = new Map<Statement, number>();
  const visit = (list: Statement[]): void => {
    for (const one of list) {
      numbers.set(one, numbers.size);
      if ("body" in one) visit(one.body);
      if ("after" in one) visit(one.after);
    }
  };
  for (const list of [...requests, ...shared]) visit(list);
  return numbers;
}

/** An async function with its owner as the argument. Only the model reads it. */
type Body = (owner: Owner) => Promise<void>;

/** What the statements do. */
interface World {
  leaf(owner: Owner, id: number, fails: boolean): PromiseLike<void>;
  foreign(id: number): Promise<void>;
  timeout(owner: Owner, work: Body, clock: number): PromiseLike<void>;
  spawn(owner: Owner, work: Body): PromiseLike<void>;
  job(owner: Owner, job: Body): Promise<void>;
  /** The leaves, clocks and foreign promises that are awaited now. */
  readonly open: Map<number, () => void>;
}

/** Runs the functions of a program in one world. */
class Interpreter {
  /** Per function that somebody starts without awaiting it, what it and the functions it awaits did. */
  readonly logs: Map<string, string[]> = new Map();
  /** The statements that came to a shared promise or to the queue, and the jobs that ended: their order matters. */
  readonly arrivals: string[] = [];
  readonly #program: Program;
  readonly #numbers: Map<Statement, number>;
  readonly #world: World;
  readonly #cache: Map<number, Promise<void>> = new Map();

  constructor(program: Program, numbers: Map<Statement, number>, world: World) {
    this.#program = program;
    this.#numbers = numbers;
    this.#world = world;
  }

  /** Runs one function. `thread` names the log it writes to. */
  async run(list: Statement[], owner: Owner, thread: string): Promise<void> {
    for (const one of list) await this.#perform(one, owner, thread);
  }

  async #perform(one: Statement, owner: Owner, thread: string): Promise<void> {
    const id = this.#numbers.get(one)!; // numbersOf visits all
    const world = this.#world;
    const inThread = (name: string): Body => {
      const { body } = one as { body: Statement[] };
      return (inner) => this.#logged(`${one.kind} ${id}`, name, this.run(body, inner, name));
    };
    switch (one.kind) {
      case "leaf":
        return await this.#logged(`leaf ${id}`, thread, world.leaf(owner, id, one.fails));
      case "foreign":
        return await this.#logged(`foreign ${id}`, thread, world.foreign(id));
      case "shared": {
        const { key } = one;
        this.arrivals.push(`${key} ${id}`);
        const name = `shared ${key}`;
        if (!this.#cache.has(key))
          this.#cache.set(key, this.run(this.#program.shared[key]!, owner, name));
        return await this.#logged(`shared ${id}`, thread, this.#cache.get(key)!);
      }
      case "finally":
        try {
          await this.run(one.body, owner, thread);
        } finally {
          this.#log(thread, `finally ${id}`);
          await this.run(one.after, owner, thread);
          this.#log(thread, `clean ${id}`);
        }
        return;
      case "catch":
        try {
          await this.run(one.body, owner, thread);
        } catch (error) {
          this.#log(thread, `catch ${id} ${(error as Error).name}`);
          await this.run(one.after, owner, thread);
        }
        return;
      case "call":
        return await inThread(thread)(owner);
      case "helper":
        void inThread(`helper ${id}`)(owner).catch(() => {}); // the log has its error
        return;
      case "spawn":
        return await this.#logged(`handle ${id}`, thread, world.spawn(owner, inThread(`${id}`)));
      case "job":
        this.arrivals.push(`queue ${id}`);
        return await this.#logged(`added ${id}`, thread, world.job(owner, inThread(`${id}`)));
      case "timeout": {
        const work = world.timeout(owner, inThread(`${id}`), id);
        return await this.#logged(`timeout ${id}`, thread, work);
      }
    }
  }

  async #logged(what: string, thread: string, work: PromiseLike<void>): Promise<void> {
    try {
      await work;
      this.#log(thread, `${what} done`);
    } catch (error) {
      this.#log(thread, `${what} ${(error as Error).name}`);
      throw error;
    }
  }

  #log(thread: string, line: string): void {
    if (line.startsWith("job ")) this.arrivals.push(line);
    const log = this.logs.get(thread);
    if (log === undefined) this.logs.set(thread, [line]);
    else log.push(line);
  }
}

/** The first world: futures of a runtime. Owners are found by async context. */
class RealWorld implements World {
  readonly leaves: Map<number, Counting<void>> = new Map();
  readonly #foreign: Map<number, () => void> = new Map();
  readonly #queue = new JobQueue();
  readonly #runtime: Runtime;

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  get open(): Map<number, () => void> {
    const open = new Map(this.#foreign);
    for (const [id, leaf] of this.leaves) {
      if (leaf.waker !== null) open.set(id, () => leaf.complete());
    }
    return open;
  }

  leaf(_owner: Owner, id: number, fails: boolean): Counting<void> {
    const leaf = new Counting<void>();
    if (fails) leaf.complete = () => leaf.fail(new Error("leaf"));
    this.leaves.set(id, leaf);
    return leaf;
  }

  foreign(id: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#foreign.set(id, () => {
      this.#foreign.delete(id);
      resolve();
    });
    return promise;
  }

  timeout(owner: Owner, work: Body, clock: number): PromiseLike<void> {
    const leaf = this.leaf(owner, clock, false);
    const late = function* (): Coroutine<never> {
      yield* leaf;
      throw new TimeoutError("late");
    };
    return timeout(
      1e9,
      race(() => work(owner), late),
    );
  }

  spawn(owner: Owner, work: Body): PromiseLike<void> {
    return this.#runtime.spawn(() => work(owner)); // `spawn` of code of nobody is the ambient runtime's
  }

  job(owner: Owner, job: Body): Promise<void> {
    return this.#queue.add(() => job(owner));
  }
}

/** An await that can be cancelled. `abort` returns the promise of its end. */
interface Entry {
  abort(): Promise<void>;
}

/** The model of a function that was given as work. */
class Owner {
  /** What it and the code in its context await now. */
  readonly awaits: Set<Entry> = new Set();
  /** Ended or abandoned: later awaits of its code belong to nobody. */
  isOver = false;
  readonly promise: Promise<void>;
  /** Resolves when its cancellation is over. */
  #cancelled: Promise<void> | null = null;
  #isSettled = false;

  constructor(work: Body) {
    this.promise = work(this);
    const onSettled = (): void => {
      this.#isSettled = true;
      if (this.#cancelled === null) this.isOver = true;
    };
    this.promise.then(onSettled, onSettled);
  }

  cancel(): Promise<void> {
    if (this.#cancelled !== null) return this.#cancelled;
    drainMicrotasks(); // code that was resumed reaches its next await
    if (this.#isSettled) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#cancelled = promise;
    this.#deliver().then(resolve);
    return promise;
  }

  async #deliver(): Promise<void> {
    const all = [...this.awaits].map((entry) => entry.abort());
    if (all.length > 0) await Promise.allSettled([this.promise, ...all]);
    this.isOver = true;
  }
}

interface Settle {
  resolve(): void;
  reject(error: unknown): void;
}

/** The second world: plain promises, and owners by hand. */
class ModelWorld implements World {
  readonly open: Map<number, () => void> = new Map();
  readonly #jobs: ((owner: Owner) => Promise<void>)[] = [];
  #isBusy = false;

  /** A thenable that starts when it is awaited, as a future does. `start` returns what cancels it. */
  #lazy(owner: Owner, start: (settle: Settle) => () => Promise<void>): PromiseLike<void> {
    const then = (resolve: () => void, reject: (error: unknown) => void): void => {
      const end = (settle: () => void): void => {
        owner.awaits.delete(entry);
        settle();
      };
      const abort = start({
        resolve: () => end(resolve),
        reject: (error) => end(() => reject(error)),
      });
      const entry = { abort: () => abort().then(() => end(() => reject(new AbortError()))) };
      if (!owner.isOver) owner.awaits.add(entry);
    };
    return { then } as PromiseLike<void>;
  }

  leaf(owner: Owner, id: number, fails: boolean): PromiseLike<void> {
    return this.#lazy(owner, ({ resolve, reject }) => {
      this.open.set(id, () => {
        this.open.delete(id);
        if (fails) reject(new Error("leaf"));
        else resolve();
      });
      return async () => void this.open.delete(id);
    });
  }

  foreign(id: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.open.set(id, () => {
      this.open.delete(id);
      resolve();
    });
    return promise;
  }

  timeout(owner: Owner, work: Body, clock: number): PromiseLike<void> {
    return this.#lazy(owner, ({ resolve, reject }) => {
      let isDecided = false; // it is late, or is being cancelled
      let isCancelled = false;
      const inner = new Owner(work);
      this.open.set(clock, () => {
        isDecided = true;
        this.open.delete(clock);
        inner.cancel().then(() => {
          if (!isCancelled) reject(new TimeoutError("late"));
        });
      });
      const whenEnded = (settle: () => void): void => {
        if (isDecided) return;
        this.open.delete(clock);
        settle();
      };
      inner.promise.then(
        () => whenEnded(resolve),
        (error: unknown) => whenEnded(() => reject(error)),
      );
      return () => {
        isDecided = isCancelled = true;
        this.open.delete(clock);
        return inner.cancel();
      };
    });
  }

  spawn(owner: Owner, work: Body): PromiseLike<void> {
    const task = new Owner(work);
    return this.#lazy(owner, ({ resolve, reject }) => {
      task.promise.then(resolve, reject);
      return async () => {};
    });
  }

  job(owner: Owner, job: Body): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#jobs.push(async (runner) => {
        try {
          resolve(await job(runner));
        } catch (error) {
          reject(error);
        } finally {
          this.#isBusy = false;
          this.#next(runner);
        }
      });
      this.#next(owner);
    });
  }

  #next(owner: Owner): void {
    const job = this.#isBusy ? undefined : this.#jobs.shift();
    if (job === undefined) return;
    this.#isBusy = true;
    void job(owner);
  }
}

const happening = fc.record({
  kind: fc.oneof(
    { weight: 4, arbitrary: fc.constant("end" as const) },
    { weight: 1, arbitrary: fc.constant("abort" as const) },
  ),
  pick: fc.nat(1000),
});

/** Performs one event, and runs the runtime until it is idle. */
function settle(runtime: Runtime, event: () => void = () => {}): void {
  runtime.blockOn(function* () {
    event(); // here, so that what it resumes awaits in this runtime
    yield* untilIdle();
  });
}

test("property: async functions are cancelled, clean up and go on as the model says, and leave nothing", () => {
  let compared = 0;
  using _print = captureConsoleError(); // errors of cancelled functions are reported
  fc.assert(
    fc.property(program, fc.array(happening, { maxLength: 15 }), (code, all) => {
      // Not `using`: after a failure, a dispose would wait for cleanup that nobody ends.
      const runtime = new Runtime({ onUncaught: () => {}, cancelGraceMs: 1e9 });
      const numbers = numbersOf(code);
      const real = new RealWorld(runtime);
      const model = new ModelWorld();
      const actual = new Interpreter(code, numbers, real);
      const expected = new Interpreter(code, numbers, model);
      const nobody = new Owner(async () => {});
      /** Returns false if the rest depends on the order of what one event resumed, which the rule leaves open. */
      const check = (event?: () => void): boolean => {
        settle(runtime, event);
        if (isReordered(actual.arrivals, expected.arrivals)) return false;
        expect(sorted(actual.logs)).toEqual(sorted(expected.logs));
        expect([...real.open.keys()].toSorted()).toEqual([...model.open.keys()].toSorted());
        return true;
      };
      const requests = code.requests.map((list, index) => {
        const handle = runtime.spawn(() => actual.run(list, nobody, `request ${index}`));
        const owner = new Owner((own) => expected.run(list, own, `request ${index}`));
        settle(runtime);
        return { handle, owner };
      });
      if (!check()) return;
      for (const { kind, pick } of all) {
        if (kind === "end") {
          const ids = [...model.open.keys()].toSorted();
          if (ids.length === 0) break;
          const id = ids[pick % ids.length]!;
          const isComparable = check(() => {
            real.open.get(id)!();
            model.open.get(id)!();
          });
          if (!isComparable) return;
        } else {
          const { handle, owner } = requests[pick % requests.length]!;
          handle.abort();
          owner.cancel();
          if (!check()) return;
        }
      }
      for (const { handle, owner } of requests) {
        handle.abort();
        owner.cancel();
        if (!check()) return;
      }
      while (model.open.size > 0) {
        const [id, end] = [...model.open][0]!;
        const isComparable = check(() => {
          real.open.get(id)!();
          end();
        });
        if (!isComparable) return;
      }
      for (const { handle } of requests) expect(handle.isFinished).toBe(true);
      for (const { polls, drops, waker } of real.leaves.values()) {
        expect(waker).toBeNull();
        expect(drops).toBeLessThanOrEqual(polls > 0 ? 1 : 2);
      }
      expect(runtime.tasks()).toEqual([]);
      expect(runtime.metrics()).toMatchObject({ timers: 0 });
      expect(runtime.foreignPromises).toBe(0);
      runtime[Symbol.dispose]();
      compared++;
    }),
    { numRuns: RUNS, includeErrorInReport: true },
  );
  expect(compared).toBeGreaterThan(0.99 * RUNS);
});

function sorted(logs: Map<string, string[]>): [string, string[]][] {
  return [...logs].toSorted(([a], [b]) => (a < b ? -1 : 1));
}

/** True if the first difference is one of order only. */
function isReordered(actual: readonly string[], expected: readonly string[]): boolean {
  const index = actual.findIndex((one, at) => one !== expected[at]);
  if (index < 0) return false;
  const [first, other] = [actual[index]!, expected[index]];
  return other !== undefined && expected.includes(first) && actual.includes(other);
}
