// The other thread of waker.ts: takes the waker in, and wakes its future twice.
//
//   bun run examples/waker.ts
//
// You will see: what waker.ts prints.

import { Waker, type WakerHandle } from "../src/index.ts";

declare const self: {
  onmessage: (event: { data: { handle: WakerHandle; flag: Int32Array } }) => void;
};

self.onmessage = ({ data: { handle, flag } }) => {
  const waker = Waker.fromHandle(handle);
  waker.wakeByRef(); // for no reason: the future is polled, and waits on
  Bun.sleepSync(50);
  Atomics.store(flag, 0, 1);
  waker.wake(); // and drops the waker: with its last one the eventfd is closed
  process.exit();
};
