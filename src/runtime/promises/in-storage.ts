// InStorage: runs a future in the AsyncLocalStorage of its `await`, so that user code in the future sees it.

import type { AsyncResource } from "node:async_hooks";
import type { Context } from "../../core/context.ts";
import { Future } from "../../core/future.ts";
import type { Poll } from "../../core/poll.ts";

export class InStorage<T> extends Future<T> {
  readonly future: Future<T>;
  private readonly storage: AsyncResource;

  constructor(future: Future<T>, storage: AsyncResource) {
    super();
    this.future = future;
    this.storage = storage;
  }

  override poll(cx: Context): Poll<T> {
    return this.storage.runInAsyncScope(this.future.poll, this.future, cx);
  }

  override pollCancel(cx: Context): Poll<void> {
    return this.storage.runInAsyncScope(this.future.pollCancel, this.future, cx);
  }

  override drop(): void {
    this.storage.runInAsyncScope(this.future.drop, this.future);
  }

  override reclaim(value: T): void {
    this.future.reclaim(value);
  }
}
