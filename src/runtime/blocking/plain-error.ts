// An error as plain data, for its way to another thread. Structured clone keeps the message and the stack
// of one, and little more (Bun 1.4.5): no cause, no code, no errors of an AggregateError, no SuppressedError.

interface Property {
  readonly key: string;
  readonly isEnumerable: boolean;
  readonly value: Packed;
}

type Packed =
  | { readonly error: PlainError }
  | { readonly list: readonly Packed[] }
  | { readonly value: unknown };

/** It may be in itself, as an error may be its own cause: structured clone keeps that. */
export interface PlainError {
  /** The built-in class it is of, or whose subclass it is of. */
  readonly type: string;
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly properties: Property[];
}

/**
 * The error, and those it has as properties, as plain data; a property that cannot be cloned is left out.
 * Stands alone: its source is also sent to the workers of the blocking pool.
 */
export function toPlain(error: Error): PlainError {
  const known = new Map<Error, PlainError>();
  const read = (from: Error, key: string): unknown => {
    try {
      return Reflect.get(from, key);
    } catch {
      return undefined; // a getter of anyone's
    }
  };
  const readText = (from: Error, key: string): string | undefined => {
    const value = read(from, key);
    return typeof value === "string" ? value : undefined;
  };
  const pack = (value: unknown): Packed | null => {
    if (value instanceof Error) return { error: packError(value) };
    try {
      structuredClone(value);
      return { value };
    } catch {
      return null;
    }
  };
  const packError = (from: Error): PlainError => {
    const before = known.get(from);
    if (before !== undefined) return before;
    const type = [
      ...[EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError],
      ...[AggregateError, SuppressedError],
    ].find((builtin) => from instanceof builtin);
    const properties: Property[] = [];
    const plain: PlainError = {
      type: type?.name ?? "Error",
      name: readText(from, "name") ?? "Error",
      message: readText(from, "message") ?? "",
      stack: readText(from, "stack"),
      properties,
    };
    known.set(from, plain);
    // Those that are named are not enumerable, or, a code, may be inherited.
    const named = ["code", "cause", "errors", "error", "suppressed"].filter((key) => key in from);
    for (const key of new Set([...Object.keys(from), ...named])) {
      if (["name", "message", "stack"].includes(key)) continue;
      const value = read(from, key);
      const packed =
        key === "errors" && Array.isArray(value)
          ? { list: value.map((one) => pack(one) ?? { value: undefined }) }
          : pack(value);
      if (packed === null) continue;
      const isEnumerable = Object.prototype.propertyIsEnumerable.call(from, key);
      properties.push({ key, isEnumerable, value: packed });
    }
    return plain;
  };
  return packError(error);
}

const builtins = [EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError];

function make(type: string, message: string): Error {
  if (type === "AggregateError") return new AggregateError([], message);
  if (type === "SuppressedError") return new SuppressedError(undefined, undefined, message);
  return new (builtins.find(({ name }) => name === type) ?? Error)(message);
}

/** The error again. */
export function revive(plain: PlainError, known: Map<PlainError, Error> = new Map()): Error {
  const before = known.get(plain);
  if (before !== undefined) return before;
  const { type, name, message, stack, properties } = plain;
  const error = make(type, message);
  known.set(plain, error);
  if (error.name !== name) error.name = name;
  if (stack !== undefined) error.stack = stack;
  const unpack = (packed: Packed): unknown => {
    if ("error" in packed) return revive(packed.error, known);
    return "list" in packed ? packed.list.map(unpack) : packed.value;
  };
  for (const { key, isEnumerable: enumerable, value } of properties) {
    const descriptor = { value: unpack(value), enumerable, writable: true, configurable: true };
    Object.defineProperty(error, key, descriptor);
  }
  return error;
}
