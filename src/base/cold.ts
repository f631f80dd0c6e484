// cold: what the JIT is told of functions that hot functions seldom call.

interface EngineHints {
  noInline(fn: unknown): void;
}

// Outside Bun there is no such module. There the library can be imported, and its first use throws an error that says so.
const engine = process.getBuiltinModule("bun:jsc" as "fs") as unknown as EngineHints | undefined;

/**
 * Marks `fn` as seldom called, and returns it: the JIT does not compile it into its callers, as Rust's `#[cold]` does.
 * JavaScriptCore inlines every call that has happened and is small enough, even if that was once per connection, and then
 * compiles more code than runs. (Four of them in an echo: 9.7 instead of 8.2 KB, which took a tenth of the time that the
 * JIT spends in a server's first half second.)
 */
export function cold<F extends (...args: never[]) => unknown>(fn: F): F {
  engine?.noInline(fn);
  return fn;
}
