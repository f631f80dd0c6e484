// PollWatch: shared memory that says which poll is in progress, so that a helper thread sees when a poll does not
// return, while the thread that polls cannot say so itself.
//
// The memory holds the number of the poll in progress, its tasks, and the names of tasks. A helper looks at it from time
// to time. It sees a number that has not changed since an earlier look, so it needs no clock reading per poll. The
// watchdog is a helper that writes to stderr. The console's Worker reads the same memory.
//
// Invariants:
// - A begin is a few stores, and an end one store and one load. No poll waits for a helper. Helpers only read, except
//   that the watchdog writes `REPORTED` and `SINCE`.
// - A slot of the table holds the name of a live task, or nothing. Names that find no slot are shown as a number.

import { writeToStderr } from "./stderr.ts";
import { startWorker } from "./text-worker.ts";

// Indexes of the shared 32-bit integers.
/** The number of the poll in progress; 0 between polls. */
const POLL = 0;
/** The number of the latest poll that the watchdog has reported. */
const REPORTED = 1;
/** How many tasks the poll may belong to: one, or, for microtasks, all whose awaits have ended. */
const COUNT = 2;
/** The ids of the first of them. */
const IDS = 3;
const MAX_IDS = 8;
/** Nobody writes here: the watchdog sleeps on it. */
const NEVER = IDS + MAX_IDS;
const FIRST_SLOT = NEVER + 1;

/** How many names the table holds; a power of two. */
const SLOTS = 2048;
/** A name may be in one of this many slots. */
const PROBES = 8;
const NAME_BYTES = 60;

const INTS = FIRST_SLOT + SLOTS;
const NAMES_OFFSET = INTS * 4;
/** When the watchdog first saw the poll in progress, in milliseconds since 1970. At a multiple of eight. */
const SINCE_OFFSET = Math.ceil((NAMES_OFFSET + SLOTS * NAME_BYTES) / 8) * 8;

/** Where a helper finds what, in the shared memory. */
export interface PollLayout {
  readonly POLL: number;
  readonly COUNT: number;
  readonly IDS: number;
  readonly MAX_IDS: number;
  readonly FIRST_SLOT: number;
  readonly SLOTS: number;
  readonly PROBES: number;
  readonly NAME_BYTES: number;
  readonly NAMES_OFFSET: number;
}

/** How a helper reads the shared memory. */
export interface PollReader {
  /** Returns the number of the poll in progress; 0 between polls. */
  poll(): number;
  /** Returns the ids of the first tasks that the poll may belong to. */
  ids(): number[];
  /** Names those tasks: `task #2 connection`. */
  who(): string;
}

export const pollLayout: PollLayout = {
  POLL,
  COUNT,
  IDS,
  MAX_IDS,
  FIRST_SLOT,
  SLOTS,
  PROBES,
  NAME_BYTES,
  NAMES_OFFSET,
};

/**
 * Reads the memory of a PollWatch. Helper threads receive this function as source text, so it uses only globals and its
 * parameters.
 */
export function pollReader(memory: SharedArrayBuffer, layout: PollLayout): PollReader {
  const { POLL, COUNT, IDS, MAX_IDS, FIRST_SLOT, SLOTS, PROBES, NAME_BYTES, NAMES_OFFSET } = layout;
  const ints = new Int32Array(memory, 0, FIRST_SLOT + SLOTS);
  const names = new Uint8Array(memory, NAMES_OFFSET, SLOTS * NAME_BYTES);
  const decoder = new TextDecoder();
  const nameOf = (id: number): string => {
    for (let probe = 0; probe < PROBES; probe++) {
      const slot = (id + probe) & (SLOTS - 1);
      if (ints[FIRST_SLOT + slot] !== id) continue;
      const bytes = names.slice(slot * NAME_BYTES, (slot + 1) * NAME_BYTES);
      const end = bytes.indexOf(0);
      const text = decoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
      return `#${id} ${text.replace(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}\ufffd]/gu, "?")}`;
    }
    return `#${id}`;
  };
  const ids = (): number[] => {
    const count = Math.min(ints[COUNT] ?? 0, MAX_IDS);
    return [...ints.subarray(IDS, IDS + count)];
  };
  return {
    poll: () => Atomics.load(ints, POLL),
    ids,
    who() {
      const count = ints[COUNT] ?? 0;
      const named = ids().map(nameOf);
      if (count > named.length) named.push(`and ${count - named.length} more`);
      if (count === 0) return "an await of no task";
      return count === 1 ? `task ${named[0]}` : `one of the tasks ${named.join(", ")}`;
    },
  };
}

const watchdogProgram = `
const { writeSync } = require("node:fs");
const pollReader = ${pollReader};
globalThis.onmessage = ({ data: { memory, limitMs, label } }) => {
  const ints = new Int32Array(memory, 0, ${INTS});
  const since = new Float64Array(memory, ${SINCE_OFFSET}, 1);
  const reader = pollReader(memory, ${JSON.stringify(pollLayout)});
  let seen = 0;
  let next = limitMs;
  for (;;) {
    Atomics.wait(ints, ${NEVER}, 0, limitMs / 4);
    const poll = reader.poll();
    const now = Date.now();
    if (poll === 0 || poll !== seen) {
      seen = poll;
      since[0] = now;
      next = limitMs;
      continue;
    }
    const ms = now - since[0];
    if (ms < next) continue;
    next = ms * 2; // less and less often
    Atomics.store(ints, ${REPORTED}, poll);
    try {
      writeSync(2, "guillotine: " + label + ": " + reader.who() + " has held the thread for " + ms + " ms, and no other task runs\\n");
    } catch {} // what cannot be written is lost: see stderr.ts
  }
};
`;

export class PollWatch {
  /** What `pollReader` reads in another thread. */
  readonly memory: SharedArrayBuffer = new SharedArrayBuffer(SINCE_OFFSET + 8);
  private readonly ints: Int32Array = new Int32Array(this.memory, 0, INTS);
  private readonly names: Uint8Array = new Uint8Array(
    this.memory,
    NAMES_OFFSET,
    SLOTS * NAME_BYTES,
  );
  private readonly since: Float64Array = new Float64Array(this.memory, SINCE_OFFSET, 1);
  private readonly encoder = new TextEncoder();
  /** The watchdog; null without one. */
  private watchdog: Worker | null = null;
  private lastPoll = 0;

  /**
   * Starts the watchdog, a Worker that does not keep the process alive: it reports polls that last longer than about
   * `limitMs`.
   */
  guard(limitMs: number, label: string): void {
    this.watchdog = startWorker(watchdogProgram);
    this.watchdog.unref();
    this.watchdog.postMessage({ memory: this.memory, limitMs, label });
  }

  /** True if the watchdog reports to the user. */
  get isGuarding(): boolean {
    return this.watchdog !== null;
  }

  /** Records the name of a live task. */
  addName(id: number, name: string): void {
    for (let probe = 0; probe < PROBES; probe++) {
      const slot = (id + probe) & (SLOTS - 1);
      if (this.ints[FIRST_SLOT + slot] !== 0) continue;
      const at = this.names.subarray(slot * NAME_BYTES, (slot + 1) * NAME_BYTES);
      const { written } = this.encoder.encodeInto(name, at);
      at.fill(0, written);
      this.ints[FIRST_SLOT + slot] = id;
      return;
    }
  }

  /** Forgets the name of a task that has ended. */
  removeName(id: number): void {
    for (let probe = 0; probe < PROBES; probe++) {
      const slot = FIRST_SLOT + ((id + probe) & (SLOTS - 1));
      if (this.ints[slot] === id) this.ints[slot] = 0;
    }
  }

  /** A poll of the task `id` begins; 0 if it is of no task. */
  begin(id: number): void {
    this.ints[COUNT] = id === 0 ? 0 : 1;
    this.ints[IDS] = id;
    this.ints[POLL] = this.nextPoll();
  }

  /** Code of one of `count` tasks begins. */
  beginAny(ids: Iterable<number>, count: number): void {
    let index = 0;
    for (const id of ids) {
      if (index === MAX_IDS) break;
      this.ints[IDS + index++] = id;
    }
    this.ints[COUNT] = count;
    this.ints[POLL] = this.nextPoll();
  }

  /** The poll has ended. Returns about how long it took, in milliseconds, if the watchdog has reported it; else 0. */
  end(): number {
    this.ints[POLL] = 0;
    if (this.ints[REPORTED] !== this.lastPoll) return 0;
    return Math.round(Date.now() - (this.since[0] ?? 0));
  }

  /** Writes a line to stderr, in order with those of the watchdog. */
  print(line: string): void {
    writeToStderr(`${line}\n`);
  }

  close(): void {
    this.watchdog?.terminate();
  }

  /** Above 0. It repeats after two billion polls, long after a helper has looked. */
  private nextPoll(): number {
    this.lastPoll = this.lastPoll === 0x7fffffff ? 1 : this.lastPoll + 1;
    return this.lastPoll;
  }
}
