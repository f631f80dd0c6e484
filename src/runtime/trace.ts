// Seeing it run: what happens, on node:diagnostics_channel, and in words on stderr.
//
// Nobody listens as a rule. So whether anyone does is asked once per turn (`isTraced`), and the hot
// path pays for a boolean.

import type { Channel } from "node:diagnostics_channel";
import { systemClock } from "../sys/clock.ts";

type Phase = "start" | "end";

/** What each channel publishes; the channel is `guillotine:` and the key. */
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

/** Made by the first runtime: an import does not wait for the module. */
let channels: Channels | null = null;

function open(): Channels {
  const { channel } = process.getBuiltinModule("node:diagnostics_channel");
  return {
    block: channel("guillotine:block"),
    task: channel("guillotine:task"),
    poll: channel("guillotine:poll"),
    wake: channel("guillotine:wake"),
    park: channel("guillotine:park"),
  };
}

export function isTraced(): boolean {
  channels ??= open();
  const { block, task, poll, wake, park } = channels;
  return (
    poll.hasSubscribers ||
    wake.hasSubscribers ||
    task.hasSubscribers ||
    park.hasSubscribers ||
    block.hasSubscribers
  );
}

/** For those who have asked whether anyone listens. */
export function trace<K extends keyof TraceEvents>(name: K, event: TraceEvents[K]): void {
  channels![name].publish(event);
}

let isPrinting = false;

/** Prints all events to stderr, from now on, in this thread. For `GUILLOTINE_TRACE=1`. */
export function printTrace(): void {
  if (isPrinting) return;
  isPrinting = true;
  const { writeSync } = process.getBuiltinModule("node:fs");
  channels ??= open();
  for (const [name, channel] of Object.entries(channels)) {
    channel.subscribe((event) => {
      writeSync(
        2,
        `guillotine ${systemClock.now().toFixed(3)} ${name} ${words(event as object)}\n`,
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
