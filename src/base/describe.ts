// Values in error messages.

/** A value as an error message shows it. */
export function describe(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function") return `function ${nameOf(value) ?? "(anonymous)"}`;
  if (typeof value === "object" && value !== null) {
    // What a generator has as its constructor has no name; its tag says what it is.
    const tag = Object.prototype.toString.call(value).slice("[object ".length, -1);
    return `an instance of ${nameOf(value.constructor) ?? tag}`;
  }
  return String(value);
}

/** A class may have a `name` of its own, which may be anything. */
function nameOf(maker: { readonly name?: unknown } | undefined): string | null {
  const name = maker?.name;
  return typeof name === "string" && name !== "" ? name : null;
}
