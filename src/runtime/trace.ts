// Seeing it run: what happens, on node:diagnostics_channel, and in words on stderr.
//
// Nobody listens as a rule. So whether anyone does is asked once per turn (`isTraced`), and the hot
// path pays for a boolean.

import { channel } from "node:diagnostics_channel";

type Phase = "start" | "end";

/** What each channel publishes; the channel is `guillotine:` and the key. */
export interface TraceEvents {
  block: { readonly phase: Phase; readonly name: string };
  task: {
    readonly phase: Phase;
    readonly id: number;
    readonly name: string;
    readonly outcome?: "value" | "error" | "aborted";
  };
  poll: {
    readonly phase: Phase;
    readonly id: number;
    readonly name: string;
    readonly isPending?: boolean;
  };
  wake: { readonly id: number; readonly name: string };
  park: { readonly phase: Phase };
}

const channels = {
  block: channel("guillotine:block"),
  task: channel("guillotine:task"),
  poll: channel("guillotine:poll"),
  wake: channel("guillotine:wake"),
  park: channel("guillotine:park"),
};

export function isTraced(): boolean {
  const { block, task, poll, wake, park } = channels;
  return (
    poll.hasSubscribers ||
    wake.hasSubscribers ||
    task.hasSubscribers ||
    park.hasSubscribers ||
    block.hasSubscribers
  );
}

export function trace<K extends keyof TraceEvents>(name: K, event: TraceEvents[K]): void {
  channels[name].publish(event);
}

let isPrinting = false;

/** Prints all events to stderr, from now on, in this thread. For `GUILLOTINE_TRACE=1`. */
export function printTrace(): void {
  if (isPrinting) return;
  isPrinting = true;
  const { writeSync } = process.getBuiltinModule("node:fs");
  for (const name of Object.keys(channels) as (keyof TraceEvents)[]) {
    channels[name].subscribe((event) => {
      writeSync(
        2,
        `guillotine ${performance.now().toFixed(3)} ${name} ${words(event as object)}\n`,
      );
    });
  }
}

function words(event: object): string {
  const { phase = "", id, name = "", ...rest } = event as Record<string, unknown>;
  const who = id === undefined || name === `#${id}` ? `${name}` : `#${id} ${name}`;
  const more = Object.entries(rest).map(([key, value]) => `${key}=${value}`);
  return [phase, who, ...more].filter((word) => word !== "").join(" ");
}
