// The AsyncLocalStorage in which work is polled, and one of our own, which names the owner of the running code.
//
// The owner is the innermost async function that was given as work. It owns what its code awaits (adopt.ts). Each
// poll of a task restores the storage of its spawn, but without an owner: a spawned task does not belong to its
// spawner. Awaited work is polled in the storage of its `await`, also without an owner.

import type { AsyncLocalStorage, AsyncResource } from "node:async_hooks";
import type { Owner } from "./owner.ts";

/** Opened by the first task: an import does not wait for the module. Until then there is no owner. */
let opened: AsyncLocalStorage<Owner | null> | null = null;
let Resource: typeof AsyncResource;

/** Returns the storage that names the owner. */
export function owners(): AsyncLocalStorage<Owner | null> {
  if (opened === null) {
    const hooks = process.getBuiltinModule("node:async_hooks");
    Resource = hooks.AsyncResource;
    opened = new hooks.AsyncLocalStorage();
  }
  return opened;
}

/** Returns the owner of the running code; null if it has none, or if the owner is over. */
export const currentOwner = (): Owner | null => {
  const owner = opened?.getStore();
  return owner == null || owner.isOver ? null : owner;
};

const capture = (): AsyncResource => new Resource("guillotine.task");

/** Captures the current storage, without the owner. Spawned and awaited work is polled in it. */
export function captureStorage(): AsyncResource {
  const storage = owners();
  return storage.getStore() == null ? capture() : storage.run(null, capture);
}
