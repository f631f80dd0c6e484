// describe(): how error messages show values.

import { expect, test } from "bun:test";
import { describe } from "../../src/base/describe.ts";
import { Runtime } from "../../src/index.ts";

class Named {}
class Odd {
  static readonly name: symbol = Symbol("odd");
  readonly number = 1;
}

test.each<[unknown, string]>([
  ["text", '"text"'],
  [5n, "5n"],
  [Number.NaN, "NaN"],
  [undefined, "undefined"],
  [Symbol("one"), "Symbol(one)"],
  [Named, "function Named"],
  [() => {}, "function (anonymous)"],
  [Odd, "function (anonymous)"],
  [new Named(), "an instance of Named"],
  [new Odd(), "an instance of Object"],
  [Object.create(null), "an instance of Object"],
  [{ constructor: null }, "an instance of Object"],
  [(function* () {})(), "an instance of Generator"],
  [(async function* () {})(), "an instance of AsyncGenerator"],
])("describe(%p) returns a phrase and does not throw", (value, phrase) => {
  expect(describe(value)).toBe(phrase);
});

test("blockOn of an async generator throws an error that calls it an AsyncGenerator", () => {
  using runtime = new Runtime();
  const work = async function* () {} as unknown as () => Promise<void>;
  expect(() => runtime.blockOn(work)).toThrow("got an instance of AsyncGenerator");
});
