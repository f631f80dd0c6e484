// How error messages show values.

/** Returns `value` as an error message shows it. Runs no code of the value's class except a `name` getter. */
export function describe(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function") return `function ${nameOf(value) ?? "(anonymous)"}`;
  if (typeof value === "object" && value !== null) {
    // The constructor of a generator has no name, but its tag is "Generator".
    const tag = Object.prototype.toString.call(value).slice("[object ".length, -1);
    return `an instance of ${nameOf(value.constructor) ?? tag}`;
  }
  return String(value);
}

/** Returns the name of a function, or null. A class may declare a static `name` of any type. */
function nameOf(fn: { readonly name?: unknown } | undefined): string | null {
  const name = fn?.name;
  return typeof name === "string" && name !== "" ? name : null;
}
