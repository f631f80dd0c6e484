// inspectable: how console.log, Bun.inspect and util.inspect show an object of ours: as one line.

/** Makes `console.log` show each instance of `type` as the text that `textOf` returns. Call it in a static block. */
export function inspectable<T>(
  type: { readonly prototype: T },
  textOf: (instance: T) => string,
): void {
  Object.defineProperty(type.prototype, Symbol.for("nodejs.util.inspect.custom"), {
    configurable: true,
    value(this: T) {
      return textOf(this);
    },
  });
}
