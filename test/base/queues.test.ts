// Ring, Queue and List, each compared with an array.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { type Linked, List } from "../../src/base/list.ts";
import { Queue, type Queued } from "../../src/base/queue.ts";
import { Ring } from "../../src/base/ring.ts";

test("property: a ring returns items in the same order as an array, also after it has grown and wrapped around", () => {
  // Enough pushes, shifts and unshifts to exceed the initial capacity several times.
  const runs = fc.array(fc.tuple(fc.nat(150), fc.nat(150), fc.nat(20)), { maxLength: 10 });
  fc.assert(
    fc.property(runs, (list) => {
      const ring = new Ring<number>();
      const model: number[] = [];
      let next = 0;
      for (const [pushes, shifts, unshifts] of list) {
        for (let count = 0; count < pushes; count++) {
          ring.push(next);
          model.push(next++);
        }
        for (let count = 0; count < shifts; count++) expect(ring.shift()).toBe(model.shift());
        for (let count = 0; count < unshifts; count++) {
          ring.unshift(next);
          model.unshift(next++);
        }
        expect(ring.length).toBe(model.length);
      }
    }),
  );
});

test("a ring that has shrunk after a burst keeps working", () => {
  const ring = new Ring<number>();
  for (const size of [5000, 3, 2000, 1500]) {
    for (let count = 0; count < 700; count++) {
      ring.push(count);
      ring.shift(); // moves the head away from the first slot
    }
    for (let count = 0; count < size; count++) ring.push(count);
    for (let count = 0; count < size; count++) expect(ring.shift()).toBe(count);
    expect(ring.shift()).toBeUndefined();
  }
});

class Numbered implements Queued<Numbered> {
  next: Numbered | null = null;
  readonly number: number;
  constructor(number: number) {
    this.number = number;
  }
}

test("property: a queue returns nodes in the same order as an array, and `next` is set exactly while a node is queued", () => {
  const steps = fc.array(
    fc.tuple(fc.constantFrom("push", "shift", "append", "sort", "clear"), fc.boolean()),
  );
  const byNumber = (a: Numbered, b: Numbered) => a.number - b.number;
  fc.assert(
    fc.property(steps, fc.array(fc.nat(9), { minLength: 8, maxLength: 8 }), (list, numbers) => {
      const nodes = numbers.map((number) => new Numbered(number));
      const queues = [new Queue<Numbered>(), new Queue<Numbered>()] as const;
      const models: [Numbered[], Numbered[]] = [[], []];
      for (const [what, isSecond] of list) {
        const at = isSecond ? 1 : 0;
        const other = isSecond ? 0 : 1;
        const queue = queues[at];
        const model = models[at];
        const free = nodes.find((node) => node.next === null);
        if (what === "push" && free !== undefined) {
          queue.push(free);
          model.push(free);
        } else if (what === "shift") expect(queue.shift()).toBe(model.shift() ?? null);
        else if (what === "append") {
          queue.append(queues[other]);
          model.push(...models[other].splice(0));
        } else if (what === "sort") {
          queue.sort(byNumber);
          model.sort(byNumber); // also a stable sort
        } else if (what === "clear") {
          queue.clear();
          model.length = 0;
        }
        expect(queues.map(({ isEmpty }) => isEmpty)).toEqual(models.map((one) => one.length === 0));
        const queued = nodes.filter((node) => node.next !== null);
        expect(new Set(queued)).toEqual(new Set(models.flat()));
      }
      for (const at of [0, 1] as const) {
        for (const node of models[at]) expect(queues[at].shift()).toBe(node);
        expect(queues[at].shift()).toBeNull();
      }
    }),
  );
});

class Node implements Linked<Node> {
  before: Node | null = null;
  after: Node | null = null;
  list: object | null = null;
}

test("property: a list removes a node from any position, and ignores removed nodes and nodes of other lists", () => {
  const steps = fc.array(fc.tuple(fc.constantFrom("push", "remove", "shift"), fc.nat(20)));
  fc.assert(
    fc.property(steps, (list) => {
      const [real, other] = [new List<Node>(), new List<Node>()];
      const stranger = new Node();
      other.push(stranger);
      const model: Node[] = [];
      for (const [what, which] of list) {
        if (what === "push") {
          const node = new Node();
          real.push(node);
          model.push(node);
        } else if (what === "shift") expect(real.shift()).toBe(model.shift() ?? null);
        else {
          const [node] = model.splice(which % (model.length || 1), 1);
          if (node !== undefined) real.remove(node);
          if (node !== undefined) real.remove(node);
          real.remove(stranger);
        }
        expect([...real]).toEqual(model);
        expect([real.size, real.head, real.tail]).toEqual([
          model.length,
          model[0] ?? null,
          model.at(-1) ?? null,
        ]);
      }
      expect([other.size, other.head]).toEqual([1, stranger]);
    }),
  );
});

test("a loop over a list may remove the visited node", () => {
  const list = new List<Node>();
  const nodes = [new Node(), new Node(), new Node()];
  for (const node of nodes) list.push(node);
  const seen: Node[] = [];
  for (const node of list) {
    seen.push(node);
    list.remove(node);
  }
  expect(seen).toEqual(nodes);
  expect(list.size).toBe(0);
});
