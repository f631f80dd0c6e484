// The result of a poll. `Pending` is one unique symbol, so a poll allocates nothing.

/** What a poll returns while the future is not done. The future has arranged to be woken. */
export const Pending: unique symbol = Symbol("guillotine.Pending");
/** The type of {@link Pending}. */
export type Pending = typeof Pending;

/** The value of a finished future, or {@link Pending}. */
export type Poll<T> = T | Pending;

/**
 * What an attempt of a `Leaf` returns when it made progress but is not done: the leaf is charged one
 * operation and attempts again, in this poll if its coop budget allows it.
 */
export const Again: unique symbol = Symbol("guillotine.Again");
/** The type of {@link Again}. */
export type Again = typeof Again;

/** What a future ended with: its value, or the error it failed with. */
export type Outcome<T> = { readonly value: T } | { readonly error: unknown };

/** The two functions that settle a promise. */
export interface Settle<T = unknown> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

/** The next of several values, or the end. Has the shape of an AsyncIterator's result. */
export type Next<T> =
  | { readonly done: false; readonly value: T }
  | { readonly done: true; readonly value?: undefined };
