// How error messages show values.

/**
 * Returns `value` as an error message shows it. Calls no method of the value, neither `toString` nor `toJSON`. Reads
 * only `constructor`, `name` and `Symbol.toStringTag`, and throws what a getter of these throws.
 */
export function describe(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function") return `function ${nameOf(value) ?? "(anonymous)"}`;
  if (typeof value === "object" && value !== null) {
    // A generator's `constructor` has no name of its own, but its tag is "Generator".
    const tag = Object.prototype.toString.call(value).slice("[object ".length, -1);
    return `an instance of ${nameOf(value.constructor) ?? tag}`;
  }
  return String(value);
}

/** Returns the name of a function; null if it has none, or if a class declares a static `name` that is not a string. */
function nameOf(fn: { readonly name?: unknown } | undefined): string | null {
  const name = fn?.name;
  return typeof name === "string" && name !== "" ? name : null;
}

/** How many values a list in a message names: with thousands of them the message must stay readable. */
const MAX_DESCRIBED = 4;

/** Returns phrases for the first of `all`, and how many more there are. */
export function describeSome<T>(all: readonly T[], phrase: (one: T) => string): string {
  const first = all.slice(0, MAX_DESCRIBED).map(phrase).join(", ");
  const more = all.length - MAX_DESCRIBED;
  return more > 0 ? `${first} and ${more} more` : first;
}

/**
 * Returns `text` with line breaks, other control characters and lone surrogates escaped: a name must not forge a line of
 * output.
 */
export function visible(text: string): string {
  return text.replace(/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu, (character) => {
    return `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`;
  });
}

/** How much of a name a line of a dump or a trace has. */
const MAX_NAME = 200;

/** Returns `visible` of a name, cut if it is very long: output stays short whatever programs name their tasks. */
export function visibleName(name: string, max: number = MAX_NAME): string {
  return visible(name.length > max ? `${name.slice(0, max)}...` : name);
}
