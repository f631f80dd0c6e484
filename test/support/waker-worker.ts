// A Worker that wakes tasks of another thread. Each message to it is an Order; it posts "done" when the order is
// complete.

import { Waker, type WakerHandle } from "../../src/index.ts";

export interface Order {
  readonly handles: readonly WakerHandle[];
  /** One integer per handle, incremented before each wake. */
  readonly counters: Int32Array;
  /** The total number of wakes, round robin; with Infinity the Worker wakes until it is terminated. */
  readonly wakes: number;
  /** If true, the Worker posts a new handle of the first waker. */
  readonly passesOn?: boolean;
}

declare const self: {
  onmessage: (event: { data: Order }) => void;
  postMessage: (message: unknown) => void;
};

self.onmessage = ({ data: { handles, counters, wakes, passesOn = false } }) => {
  const wakers = handles.map((handle) => Waker.fromHandle(handle));
  for (let wake = 0; wake < wakes; wake++) {
    const index = wake % wakers.length;
    Atomics.add(counters, index, 1);
    wakers[index]?.wakeByRef();
  }
  if (passesOn) self.postMessage(wakers[0]?.toHandle());
  for (const waker of wakers) waker.drop();
  self.postMessage("done");
};
