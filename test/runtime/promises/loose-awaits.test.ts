// Awaits of code that no runtime was given. They settle after the turn of the ambient runtime that has completed their
// futures, because the code that continues may call `blockOn`.

import { expect, test } from "bun:test";
import {
  type Context,
  Leaf,
  Pending,
  Runtime,
  sleep,
  spawn,
  type Waker,
} from "../../../src/index.ts";

/** Opens its doors: all in one turn, in the order in which they began to wait. */
class Gate {
  isOpen = false;
  readonly wakers: Waker[] = [];

  open(): void {
    this.isOpen = true;
    for (const waker of this.wakers.splice(0)) waker.wake();
  }
}

/** Waits until its gate is open. Then it returns `value`, or throws it if it is an Error. */
class Door<T> extends Leaf<T> {
  readonly gate: Gate;
  readonly value: T;
  polls = 0;

  constructor(gate: Gate, value: T) {
    super();
    this.gate = gate;
    this.value = value;
  }

  protected override attempt(cx: Context): T | Pending {
    this.polls++;
    if (!this.gate.isOpen) {
      this.gate.wakers.push(cx.waker.clone());
      return Pending;
    }
    if (this.value instanceof Error) throw this.value;
    return this.value;
  }

  override describe(): string {
    return "a door";
  }
}

/** Opens `gate` in a turn of the ambient runtime. */
async function openInTurn(gate: Gate): Promise<void> {
  await spawn(function* () {
    gate.open();
  });
}

test("awaits that complete in one turn continue in the order of their completion", async () => {
  const gate = new Gate();
  const order: number[] = [];
  const waits = Array.from({ length: 5 }, async (_, index) => {
    order.push(await new Door(gate, index));
  });
  await null; // now the engine has called the `then` of each
  const handled = new Door(gate, 5).then((value) => order.push(value));
  await openInTurn(gate);
  await Promise.all([...waits, handled]);
  expect(order).toEqual([0, 1, 2, 3, 4, 5]);
});

test("code that continues after a turn may call blockOn, also of the runtime of that turn", async () => {
  const gate = new Gate();
  const results: unknown[] = [];
  const own = async () => {
    await new Door(gate, 0);
    const runtime = Runtime.ambient();
    results.push(runtime.blockOn(async () => (await sleep(1)) ?? "own"));
  };
  const nested = async () => {
    await new Door(gate, 0);
    using runtime = new Runtime();
    results.push(runtime.blockOn(async () => (await sleep(1)) ?? "nested"));
  };
  const other = async () => {
    results.push(await new Door(gate, "other"));
  };
  const all = Promise.all([own(), nested(), other()]);
  await openInTurn(gate);
  await all;
  expect(results.sort()).toEqual(["nested", "other", "own"]);
});

test("a handler that throws, and a future that fails, leave the other awaits of the turn alone", async () => {
  const gate = new Gate();
  const failure = new Error("mine");
  const outcomes = Promise.allSettled([
    (async () => await new Door(gate, 1))(),
    // The loop calls this one directly: it has the source text of an engine's function.
    new Door(gate, 2).then(
      ((): never => {
        throw failure;
      }).bind(null),
    ),
    (async () => await new Door(gate, failure))(),
    new Door(gate, 3).then((): never => {
      throw failure;
    }),
    (async () => await new Door(gate, 4))(),
  ]);
  await openInTurn(gate);
  expect(
    (await outcomes).map((one) => (one.status === "fulfilled" ? one.value : one.reason)),
  ).toEqual([1, failure, failure, failure, 4]);
});

test("a disposal while awaits wait for the end of the turn settles each of them once", async () => {
  const gate = new Gate();
  const values: unknown[] = [];
  const first = new Door(gate, 1).then(
    (() => {
      Runtime.ambient()[Symbol.dispose](); // called by the loop, before the others have settled
    }).bind(null),
  );
  const others = [2, 3].map(async (value) => {
    values.push(await new Door(gate, value));
  });
  const failed = (async () => await new Door(gate, new Error("mine")))();
  await openInTurn(gate);
  await Promise.all([first, ...others]);
  expect(values).toEqual([2, 3]);
  expect(await failed.then(null, (error: Error) => error.message)).toBe("mine");
  expect(await sleep(1)).toBeUndefined(); // on another ambient runtime
});

test("an await that is woken in its own last poll settles once, and that wake polls nothing else", async () => {
  const gate = new Gate();
  class Restless extends Door<number> {
    protected override attempt(cx: Context): number | Pending {
      if (this.gate.isOpen) cx.waker.wakeByRef();
      return super.attempt(cx);
    }
  }
  const restless = new Restless(gate, 1);
  let settled = 0;
  const wait = (async () => {
    await restless;
    settled++;
  })();
  await openInTurn(gate);
  await wait;
  await sleep(1);
  expect([restless.polls, settled]).toEqual([2, 1]);
});

test("a waker of an ended await wakes no later one", async () => {
  const gate = new Gate();
  let stale: Waker | undefined;
  class Leaking extends Door<number> {
    protected override attempt(cx: Context): number | Pending {
      stale ??= cx.waker.clone();
      return super.attempt(cx);
    }
  }
  const first = (async () => await new Leaking(gate, 1))();
  await openInTurn(gate);
  await first;
  const later = new Gate();
  const second = new Door(later, 2);
  const wait = (async () => await second)();
  await sleep(0);
  stale!.wake();
  await sleep(1);
  expect(second.polls).toBe(1);
  await openInTurn(later);
  expect(await wait).toBe(2);
});

test("more awaits than are kept for reuse each get their own value, round after round", async () => {
  const runtime = Runtime.ambient();
  for (let round = 0; round < 3; round++) {
    const gate = new Gate();
    const values = Array.from({ length: 1000 }, async (_, index) => await new Door(gate, index));
    await sleep(0);
    expect(runtime.tasks().filter(({ waitsOn }) => waitsOn === "a door").length).toBe(1000);
    await openInTurn(gate);
    expect(await Promise.all(values)).toEqual(Array.from({ length: 1000 }, (_, index) => index));
  }
  expect(runtime.tasks()).toEqual([]);
});

test("awaits are listed in the order in which they began, also when they were reused", async () => {
  const runtime = Runtime.ambient();
  const gates = [new Gate(), new Gate(), new Gate()];
  const waits = gates.map(async (gate) => await new Door(gate, 1));
  await openInTurn(gates[0]!);
  await openInTurn(gates[1]!);
  gates.push(new Gate(), new Gate());
  waits.push(...gates.slice(3).map(async (gate) => await new Door(gate, 1)));
  await null;
  await null;
  const ids = runtime.tasks().map(({ id }) => id);
  expect(ids.length).toBe(3);
  expect(ids).toEqual(ids.toSorted((a, b) => a - b));
  for (const gate of gates) await openInTurn(gate);
  await Promise.all(waits);
});
