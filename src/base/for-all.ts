// forAll: a step for each of several items, of which one that fails must not keep the others from it.

/** Calls `step` for each item, also after a call has thrown. Then throws the first error. */
export function forAll<T>(items: Iterable<T>, step: (item: T) => void): void {
  let thrown: { readonly error: unknown } | null = null;
  for (const item of items) {
    try {
      step(item);
    } catch (error) {
      thrown ??= { error };
    }
  }
  if (thrown !== null) throw thrown.error;
}
