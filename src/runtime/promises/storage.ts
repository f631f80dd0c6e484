// The AsyncLocalStorage that work is polled in; and, in one of our own, whose the code is that runs.
//
// Ours names the innermost async function that was given as work: the owner of what its code awaits
// (adopt.ts). Tasks restore the storage of where they were spawned around each poll, but with no owner in
// it: what is spawned is not its spawner's. Work that is awaited sees that of the `await`, likewise.

import type { AsyncLocalStorage, AsyncResource } from "node:async_hooks";
import type { Owner } from "./owner.ts";

/** Opened by the first task: an import does not wait for the module. Until then there is no owner. */
let opened: AsyncLocalStorage<Owner | null> | null = null;
let Resource: typeof AsyncResource;

/** Where the owner is named. */
export function owners(): AsyncLocalStorage<Owner | null> {
  if (opened === null) {
    const hooks = process.getBuiltinModule("node:async_hooks");
    Resource = hooks.AsyncResource;
    opened = new hooks.AsyncLocalStorage();
  }
  return opened;
}

/** The async function whose code is running; null if it belongs to nobody, or that function is over. */
export function currentOwner(): Owner | null {
  const owner = opened?.getStore();
  return owner == null || owner.isOver ? null : owner;
}

const capture = (): AsyncResource => new Resource("guillotine.task");

/** The storage of here and now, with no owner in it: for what is spawned or awaited to be polled in. */
export function captureStorage(): AsyncResource {
  const storage = owners();
  return storage.getStore() == null ? capture() : storage.run(null, capture);
}
