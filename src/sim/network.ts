// Network: the links between hosts. It decides when a packet arrives, if it does.

import { checkMilliseconds, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { Choices } from "./choices.ts";
import type { Agenda } from "./kernel/agenda.ts";
import { isMulticast } from "./kernel/multicast.ts";
import { describePacket, type Packet, sizeOf } from "./kernel/packet.ts";
import type { NetStack, Wire } from "./kernel/stack.ts";

/** How a link carries packets, in both directions. */
export interface LinkOptions {
  /** How long a packet takes, in milliseconds: a number, or the shortest and the longest time. Default: [0.5, 5]. */
  readonly latencyMs?: number | readonly [minMs: number, maxMs: number];
  /** The probability that a packet is lost. TCP repeats it. Default: 0. */
  readonly loss?: number;
  /** The probability that a datagram arrives twice. Default: 0. */
  readonly duplication?: number;
  /** How many bytes pass per second; packets wait for each other. Default: no limit. */
  readonly bytesPerSecond?: number;
}

interface Link {
  readonly minMs: number;
  readonly maxMs: number;
  readonly loss: number;
  readonly duplication: number;
  readonly bytesPerSecond: number;
}

const DEFAULT_LINK: Link = {
  minMs: 0.5,
  maxMs: 5,
  loss: 0,
  duplication: 0,
  bytesPerSecond: Number.POSITIVE_INFINITY,
};
/** Latencies are chosen in this many steps. */
const LATENCY_STEPS = 64;
/** An address that no host has: the router reports nothing. */
const LOST = "lost";

/** Fills in the defaults from `base`. Throws RangeError for a bad option. */
export function checkLink(options: LinkOptions, what: string, base: Link = DEFAULT_LINK): Link {
  const { latencyMs, loss = base.loss, duplication = base.duplication } = options;
  const { bytesPerSecond = base.bytesPerSecond } = options;
  const [minMs, maxMs] =
    latencyMs === undefined
      ? [base.minMs, base.maxMs]
      : typeof latencyMs === "number"
        ? [latencyMs, latencyMs]
        : latencyMs;
  checkMilliseconds(minMs, `${what}.latencyMs`);
  checkMilliseconds(maxMs, `${what}.latencyMs`);
  if (!(minMs <= maxMs && maxMs < Number.POSITIVE_INFINITY)) {
    throw outOfRange(
      `${what}.latencyMs must be a finite number, or [shortest, longest]; got ${describe(latencyMs)}`,
    );
  }
  for (const [name, value] of Object.entries({ loss, duplication })) {
    if (value >= 0 && value <= 1) continue;
    throw outOfRange(`${what}.${name} must be a number from 0 to 1; got ${describe(value)}`);
  }
  if (!(bytesPerSecond > 0)) {
    throw outOfRange(
      `${what}.bytesPerSecond must be a number > 0; got ${describe(bytesPerSecond)}`,
    );
  }
  return { minMs, maxMs, loss, duplication, bytesPerSecond };
}

export class Network implements Wire {
  private readonly agenda: Agenda;
  private readonly choices: Choices;
  private readonly onEvent: (text: () => string) => void;
  /** By address: the stack of the host that has it, while the host is up. */
  private readonly stacks = new Map<string, NetStack>();
  private readonly defaultLink: Link;
  private readonly links = new Map<string, Link>();
  private readonly cuts = new Set<string>();
  /** By link and direction: when its last packet has left. */
  private readonly busyUntilMs = new Map<string, number>();

  constructor(
    agenda: Agenda,
    choices: Choices,
    defaultLink: Link,
    onEvent: (text: () => string) => void,
  ) {
    this.agenda = agenda;
    this.choices = choices;
    this.defaultLink = defaultLink;
    this.onEvent = onEvent;
  }

  /** Gives `address` to a host, or takes it away. */
  attach(address: string, stack: NetStack | null): void {
    if (stack === null) this.stacks.delete(address);
    else this.stacks.set(address, stack);
  }

  setLink(a: string, b: string, options: LinkOptions): void {
    this.links.set(pairOf(a, b), checkLink(options, "link: options", this.linkOf(a, b)));
  }

  cut(a: string, b: string): void {
    this.cuts.add(pairOf(a, b));
  }

  /** Repairs one link, or all. */
  heal(a?: string, b?: string): void {
    if (a === undefined || b === undefined) this.cuts.clear();
    else this.cuts.delete(pairOf(a, b));
  }

  /** Sends a packet over the link to its destination; a multicast over the links to all hosts. */
  send(packet: Packet, sender: NetStack): void {
    if (!isMulticast(packet.to)) {
      this.sendOver({ packet, from: packet.from, to: packet.to });
      return;
    }
    const from = sender.addresses[0]!;
    for (const to of [...this.stacks.keys()]) {
      if (to !== from) this.sendOver({ packet, from, to });
    }
  }

  private sendOver(frame: Frame): void {
    const { packet, from, to } = frame;
    const link = this.linkOf(from, to);
    if (this.choices.chance("loss", link.loss)) {
      this.onEvent(() => `${LOST} ${describePacket(packet)}`);
      return;
    }
    const queuedMs = this.queue(frame, link);
    this.carry(frame, link, queuedMs);
    if (packet.body.kind === "udp" && this.choices.chance("duplicate", link.duplication)) {
      this.carry(frame, link, queuedMs);
    }
  }

  private linkOf(a: string, b: string): Link {
    return this.links.get(pairOf(a, b)) ?? this.defaultLink;
  }

  /** Returns how long the packet takes to leave, behind those before it. */
  private queue({ packet, from, to }: Frame, { bytesPerSecond }: Link): number {
    if (bytesPerSecond === Number.POSITIVE_INFINITY) return 0;
    const direction = `${from} ${to}`;
    const { nowMs } = this.agenda;
    const startMs = Math.max(this.busyUntilMs.get(direction) ?? 0, nowMs);
    const endMs = startMs + (sizeOf(packet) / bytesPerSecond) * 1000;
    this.busyUntilMs.set(direction, endMs);
    return endMs - nowMs;
  }

  private carry(frame: Frame, { minMs, maxMs }: Link, queuedMs: number): void {
    let latencyMs = minMs;
    if (maxMs > minMs) {
      // Squared: short latencies are the usual ones.
      const part = this.choices.pick("latency", LATENCY_STEPS) / (LATENCY_STEPS - 1);
      latencyMs += part * part * (maxMs - minMs);
    }
    this.agenda.after(queuedMs + latencyMs, () => this.arrive(frame));
  }

  private arrive({ packet, from, to }: Frame): void {
    const stack = this.stacks.get(to);
    if (stack === undefined || this.cuts.has(pairOf(from, to))) {
      this.onEvent(() => `${LOST} ${describePacket(packet)}`);
      return;
    }
    this.onEvent(() => describePacket(packet));
    stack.deliver(packet);
  }
}

/** A packet on a link, from host to host. */
interface Frame {
  readonly packet: Packet;
  readonly from: string;
  readonly to: string;
}

/** Names the link between two addresses, in either order. */
function pairOf(a: string, b: string): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`;
}
