// The result of a poll. `Pending` is one unique symbol, so that a poll allocates nothing.

/** What a poll returns when the future is not done: its waker has been kept, and will be called. */
export const Pending: unique symbol = Symbol("guillotine.Pending");
/** The type of {@link Pending}. */
export type Pending = typeof Pending;

/** The value of a finished future, or {@link Pending}. */
export type Poll<T> = T | Pending;

/** What a future ended with: its value, or what it failed with. */
export type Outcome<T> = { readonly value: T } | { readonly error: unknown };

/** The next of several values, or that there are no more; what an AsyncIterator's `next` gives, too. */
export type Next<T> =
  | { readonly done: false; readonly value: T }
  | { readonly done: true; readonly value?: undefined };
