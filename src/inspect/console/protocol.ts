// What the inspected thread and the console's Worker tell each other.
//
// The Worker asks through shared memory, because a thread in `blockOn` receives no messages. It writes its request there
// and wakes the thread through an eventfd, and through a message for a thread that runs Bun's loop. The answer is a
// message: JSON text.

import type { Metrics } from "../../runtime/options.ts";

/** Indexes of the shared 32-bit integers. */
export const CONTROL = {
  /** STARTING, LISTENING, FAILED or CLOSED. */
  STATE: 0,
  PORT: 1,
  /** How many bytes of text follow the integers: the token, or why the Worker does not listen. */
  TEXT_LENGTH: 2,
  /** The number of the latest request. */
  REQUEST: 3,
  /** 1 if statistics are wanted. */
  WANTS_STATISTICS: 4,
  /** 1 while a message to the inspected thread has not arrived: there is one at most. */
  HAS_MESSAGE: 5,
  /** How many details are wanted; then pairs of a runtime and a task. */
  DETAILS: 6,
  MAX_DETAILS: 8,
  INTS: 32,
  TEXT_BYTES: 512,
  STARTING: 0,
  LISTENING: 1,
  FAILED: 2,
  CLOSED: 3,
} as const;

/** The bits of the `flags` of a row. */
export const FLAGS = {
  /** The task waits, and no code has its waker. */
  NO_WAKER: 1,
  /** The task waits for locks whose holders have all ended. */
  HOLDERS_ENDED: 2,
} as const;

/** A task. Unknown numbers are null. */
export type Row = [
  id: number,
  name: string,
  spawner: number,
  state: string,
  waitsOn: string,
  polls: number | null,
  busyMs: number | null,
  longestPollMs: number | null,
  ageMs: number | null,
  selfWakes: number | null,
  /** The tasks that hold what it waits for; those that have ended are negative. */
  waitsFor: number[],
  fds: number[],
  /** The keys of the locks and channels that it waits for. */
  resources: number[],
  /** The time left of its earliest timer. */
  timerLeftMs: number | null,
  flags: number,
];

/** A lock or a channel that a task waits for. */
export interface ResourceRow {
  readonly key: number;
  readonly kind: string;
  readonly text: string;
  /** The tasks that hold it; those that have ended are negative. */
  readonly holders: readonly number[];
}

/** A registered fd. */
export interface SocketRow {
  readonly fd: number;
  readonly kind: string;
  readonly local: string | null;
  readonly remote: string | null;
}

/** What one request shows of a runtime: a part of its tasks. Several make a pass over all of them. */
export interface Slice {
  readonly runtime: number;
  readonly metrics: Metrics;
  /** The number of the pass. */
  readonly pass: number;
  readonly isPassEnd: boolean;
  /** The tasks, in order; only the id of one that has not changed since the pass before. */
  readonly rows: (Row | number)[];
  readonly resources: ResourceRow[];
  readonly sockets: SocketRow[];
}

/** What the page of a task shows beyond its row. */
export interface Detail {
  readonly runtime: number;
  readonly task: number;
  readonly isEnded: boolean;
  readonly stack: readonly string[];
  readonly spawnedAt: string | null;
  readonly fds: readonly Omit<SocketRow, "kind">[];
}

export interface Answer {
  readonly request: number;
  /** When the answer began, in milliseconds since 1970. */
  readonly wallMs: number;
  readonly slices: readonly Slice[];
  readonly details: readonly Detail[];
}

/** The messages to the Worker. */
export type ToWorker =
  /** `answer` is the JSON of an Answer. */
  | { readonly answer: string; readonly tookMs: number }
  | { readonly setup: Setup }
  | { readonly attach: { readonly runtime: number; readonly memory: SharedArrayBuffer } }
  | { readonly detach: number }
  | { readonly eventFd: number }
  | { readonly close: true };

export interface Setup {
  readonly control: SharedArrayBuffer;
  readonly host: string;
  readonly port: number;
  /** null: the Worker chooses one. */
  readonly token: string | null;
  /** Names the process on the page. */
  readonly title: string;
}
