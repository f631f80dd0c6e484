// Trace: publishes what the runtime does on node:diagnostics_channel, and prints it to stderr on request.
//
// Usually there is no subscriber. So the executor calls `isTraced` once per turn, and the hot path tests a boolean.

import type { Channel } from "node:diagnostics_channel";
import { systemClock } from "../sys/clock.ts";

type Phase = "start" | "end";

/** What each channel publishes. A channel's name is `guillotine:` and the key. */
interface TraceEvents {
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

type Channels = Readonly<Record<keyof TraceEvents, Channel>>;

/** Opened by the first runtime, so that importing the library does not load node:diagnostics_channel. */
let channels: Channels | null = null;

function openChannels(): Channels {
  const { channel } = process.getBuiltinModule("node:diagnostics_channel");
  return {
    block: channel("guillotine:block"),
    task: channel("guillotine:task"),
    poll: channel("guillotine:poll"),
    wake: channel("guillotine:wake"),
    park: channel("guillotine:park"),
  };
}

/** Returns true if any channel has a subscriber. */
export function isTraced(): boolean {
  channels ??= openChannels();
  const { block, task, poll, wake, park } = channels;
  return (
    poll.hasSubscribers ||
    wake.hasSubscribers ||
    task.hasSubscribers ||
    park.hasSubscribers ||
    block.hasSubscribers
  );
}

/** Publishes an event. Must be called only after `isTraced` has returned true. */
export function trace<K extends keyof TraceEvents>(name: K, event: TraceEvents[K]): void {
  channels![name].publish(event);
}

let isPrinting = false;

/** Prints all events of this thread to stderr from now on. `GUILLOTINE_TRACE=1` calls it. Idempotent. */
export function printTrace(): void {
  if (isPrinting) return;
  isPrinting = true;
  const { writeSync } = process.getBuiltinModule("node:fs");
  channels ??= openChannels();
  for (const [name, channel] of Object.entries(channels)) {
    channel.subscribe((event) => {
      const time = systemClock.now().toFixed(3);
      writeSync(2, `guillotine ${time} ${name} ${format(event as object)}\n`);
    });
  }
}

/** Formats an event as `start #2 napper isPending=true`. */
function format(event: object): string {
  const { phase = "", id, name = "", ...rest } = event as Record<string, unknown>;
  const label = id === undefined || name === `#${id}` ? `${name}` : `#${id} ${name}`;
  const fields = Object.entries(rest).map(([key, value]) => `${key}=${value}`);
  return [phase, label, ...fields].filter((part) => part !== "").join(" ");
}
