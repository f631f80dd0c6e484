// A Worker that wakes wakers as it is told. What it is told comes as one message.

import { Waker, type WakerHandle } from "../../src/index.ts";

export interface Order {
  readonly handles: readonly WakerHandle[];
  /** One word per handle: added to before each wake. */
  readonly counters: Int32Array;
  /** Wakes in all, round robin; Infinity until it is terminated. */
  readonly wakes: number;
  /** Hands the first handle on, by a new one of its own. */
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
