// PlainError: an error as plain data, which reaches another thread whole.
//
// Facts about Bun 1.4.5: structured clone keeps the message and the stack of an error. It loses the cause, the
// code, the errors of an AggregateError, and SuppressedError. So we pack errors ourselves.

interface Property {
  readonly key: string;
  readonly isEnumerable: boolean;
  readonly value: Packed;
}

type Packed =
  | { readonly error: PlainError }
  | { readonly list: readonly Packed[] }
  | { readonly value: unknown };

/** An error as plain data. May be cyclic, because an error may be its own cause. Structured clone keeps cycles. */
export interface PlainError {
  /** The name of the error's built-in class, or of the nearest built-in class that it extends. */
  readonly type: string;
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly properties: Property[];
}

/**
 * Packs an error and the errors in its properties. Omits properties that cannot be cloned.
 *
 * May use only globals and its parameter: the workers of the blocking pool receive its source text.
 */
export function toPlain(error: Error): PlainError {
  const packed = new Map<Error, PlainError>();
  const read = (from: Error, key: string): unknown => {
    try {
      return Reflect.get(from, key);
    } catch {
      return undefined; // a getter threw
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
    const before = packed.get(from);
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
    packed.set(from, plain);
    // These are not enumerable, or may be inherited, as `code` is.
    const special = ["code", "cause", "errors", "error", "suppressed"].filter((key) => key in from);
    for (const key of new Set([...Object.keys(from), ...special])) {
      if (["name", "message", "stack"].includes(key)) continue;
      const value = read(from, key);
      const property =
        key === "errors" && Array.isArray(value)
          ? { list: value.map((element) => pack(element) ?? { value: undefined }) }
          : pack(value);
      if (property === null) continue;
      const isEnumerable = Object.prototype.propertyIsEnumerable.call(from, key);
      properties.push({ key, isEnumerable, value: property });
    }
    return plain;
  };
  return packError(error);
}

const builtins = [EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError];

function create(type: string, message: string): Error {
  if (type === "AggregateError") return new AggregateError([], message);
  if (type === "SuppressedError") return new SuppressedError(undefined, undefined, message);
  return new (builtins.find(({ name }) => name === type) ?? Error)(message);
}

/** Returns the error that `toPlain` packed, with its class, properties, cause and stack. */
export function revive(plain: PlainError, revived: Map<PlainError, Error> = new Map()): Error {
  const before = revived.get(plain);
  if (before !== undefined) return before;
  const { type, name, message, stack, properties } = plain;
  const error = create(type, message);
  revived.set(plain, error);
  if (error.name !== name) error.name = name;
  if (stack !== undefined) error.stack = stack;
  const unpack = (packed: Packed): unknown => {
    if ("error" in packed) return revive(packed.error, revived);
    return "list" in packed ? packed.list.map(unpack) : packed.value;
  };
  for (const { key, isEnumerable: enumerable, value } of properties) {
    const descriptor = { value: unpack(value), enumerable, writable: true, configurable: true };
    Object.defineProperty(error, key, descriptor);
  }
  return error;
}
