// The other thread of waker.ts: receives the waker, and wakes its future twice.
//
//   bun run examples/waker.ts
//
// You will see: what waker.ts prints. Run by itself, this file only says that waker.ts starts it.

import { Waker, type WakerHandle } from "../src/index.ts";

declare const self: {
  onmessage: (event: { data: { handle: WakerHandle; flag: Int32Array } }) => void;
};

if (Bun.isMainThread) {
  console.error("waker.ts starts this file as a Worker: bun run examples/waker.ts");
  process.exit(1);
}

self.onmessage = ({ data: { handle, flag } }) => {
  const waker = Waker.fromHandle(handle);
  waker.wakeByRef(); // a spurious wake: the future is polled, and keeps waiting
  Bun.sleepSync(50);
  Atomics.store(flag, 0, 1);
  waker.wake(); // also drops the waker; dropping the last one closes the eventfd
  process.exit();
};
