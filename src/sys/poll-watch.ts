// PollWatch: a helper thread that sees when a poll does not return, while the thread that polls cannot say so itself.
//
// Both threads share memory: which poll is in progress, of which tasks, and the names of tasks. The helper looks at it
// several times per limit. It sees a number that has not changed since an earlier look, so it needs no clock reading
// per poll. It writes to stderr by itself.
//
// Invariants:
// - A begin is a few stores, and an end one store and one load. No poll waits for the helper, which only reads, except
//   for `REPORTED` and `SINCE`.
// - A slot of the table holds the name of a live task, or nothing. Names that find no slot are shown as a number.

import { writeToStderr } from "./stderr.ts";
import { startWorker } from "./text-worker.ts";

// Indexes of the shared 32-bit integers.
/** The number of the poll in progress; 0 between polls. */
const POLL = 0;
/** The number of the latest poll that the helper has reported. */
const REPORTED = 1;
/** How many tasks the poll may belong to: one, or, for microtasks, all whose awaits have ended. */
const COUNT = 2;
/** The ids of the first of them. */
const IDS = 3;
const MAX_IDS = 8;
/** Nobody writes here: the helper sleeps on it. */
const NEVER = IDS + MAX_IDS;
const FIRST_SLOT = NEVER + 1;

/** How many names the table holds; a power of two. */
const SLOTS = 2048;
/** A name may be in one of this many slots. */
const PROBES = 8;
const NAME_BYTES = 60;

const INTS = FIRST_SLOT + SLOTS;
const NAMES_OFFSET = INTS * 4;
/** When the helper first saw the poll in progress, in milliseconds since 1970. At a multiple of eight. */
const SINCE_OFFSET = Math.ceil((NAMES_OFFSET + SLOTS * NAME_BYTES) / 8) * 8;

const helperProgram = `
const { writeSync } = require("node:fs");
globalThis.onmessage = ({ data: { memory, limitMs, label } }) => {
  const ints = new Int32Array(memory, 0, ${INTS});
  const names = new Uint8Array(memory, ${NAMES_OFFSET}, ${SLOTS * NAME_BYTES});
  const since = new Float64Array(memory, ${SINCE_OFFSET}, 1);
  const decoder = new TextDecoder();
  const nameOf = (id) => {
    for (let probe = 0; probe < ${PROBES}; probe++) {
      const slot = (id + probe) & ${SLOTS - 1};
      if (ints[${FIRST_SLOT} + slot] !== id) continue;
      const bytes = names.slice(slot * ${NAME_BYTES}, (slot + 1) * ${NAME_BYTES});
      const end = bytes.indexOf(0);
      const text = decoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
      return "#" + id + " " + text.replace(/[\\p{Cc}\\p{Zl}\\p{Zp}\\p{Bidi_Control}\\ufffd]/gu, "?");
    }
    return "#" + id;
  };
  let seen = 0;
  let next = limitMs;
  for (;;) {
    Atomics.wait(ints, ${NEVER}, 0, limitMs / 4);
    const poll = Atomics.load(ints, ${POLL});
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
    const count = ints[${COUNT}];
    const ids = [...ints.subarray(${IDS}, ${IDS} + Math.min(count, ${MAX_IDS}))].map(nameOf);
    if (count > ids.length) ids.push("and " + (count - ids.length) + " more");
    const who = count === 1 ? "task " + ids[0] : count === 0 ? "an await of no task" : "one of the tasks " + ids.join(", ");
    try {
      writeSync(2, "guillotine: " + label + ": " + who + " has held the thread for " + ms + " ms, and no other task runs\\n");
    } catch {} // what cannot be written is lost: see stderr.ts
  }
};
`;

export class PollWatch {
  private readonly ints: Int32Array;
  private readonly names: Uint8Array;
  private readonly since: Float64Array;
  private readonly helper: Worker;
  private readonly encoder = new TextEncoder();
  private lastPoll = 0;

  /** Reports polls that last longer than about `limitMs`. Starts a Worker, which does not keep the process alive. */
  constructor(limitMs: number, label: string) {
    const memory = new SharedArrayBuffer(SINCE_OFFSET + 8);
    this.ints = new Int32Array(memory, 0, INTS);
    this.names = new Uint8Array(memory, NAMES_OFFSET, SLOTS * NAME_BYTES);
    this.since = new Float64Array(memory, SINCE_OFFSET, 1);
    this.helper = startWorker(helperProgram);
    this.helper.unref();
    this.helper.postMessage({ memory, limitMs, label });
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

  /** The poll has ended. Returns about how long it took, in milliseconds, if the helper has reported it; else 0. */
  end(): number {
    this.ints[POLL] = 0;
    if (this.ints[REPORTED] !== this.lastPoll) return 0;
    return Math.round(Date.now() - (this.since[0] ?? 0));
  }

  /** Writes a line to stderr, in order with those of the helper. */
  print(line: string): void {
    writeToStderr(`${line}\n`);
  }

  close(): void {
    this.helper.terminate();
  }

  /** Above 0. It repeats after two billion polls, long after the helper has looked. */
  private nextPoll(): number {
    this.lastPoll = this.lastPoll === 0x7fffffff ? 1 : this.lastPoll + 1;
    return this.lastPoll;
  }
}
