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

/** Like `inspectable`, for the line `Name { parts }` with the name of the class. */
export function inspectableParts<T extends object>(
  type: { readonly prototype: T },
  partsOf: (instance: T) => string,
): void {
  inspectable(type, (instance) => `${instance.constructor.name} { ${partsOf(instance)} }`);
}

/** Returns the line of an object that another one shows; its class if it has no line. */
export function lineOf(object: object): string {
  const show = (object as Record<symbol, unknown>)[Symbol.for("nodejs.util.inspect.custom")];
  return typeof show === "function" ? String(show.call(object)) : `a ${object.constructor.name}`;
}

/** `1 task`, `2 tasks` */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
