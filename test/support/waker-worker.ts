// A Worker that wakes wakers. Its first message is an Order.

import { Waker, type WakerHandle } from "../../src/index.ts";

export interface Order {
  readonly handles: readonly WakerHandle[];
  /** One integer per handle, incremented before each wake. */
  readonly counters: Int32Array;
  /** The total number of wakes, round robin; Infinity to go on until terminated. */
  readonly wakes: number;
  /** Posts a new handle of the first waker. */
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
