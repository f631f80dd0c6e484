// Asks the inspected thread for its tasks while somebody looks, and samples how busy it is.
//
// It owns the requests, the client and the timers of the Worker. `consoleRequests` reaches the Worker as source text: see
// worker.ts.
//
// Invariants:
// - Without a client it does nothing: no timer, no request.
// - There is one request at a time. A thread that is stuck finds one when it continues.

import type { Answer, CONTROL } from "./protocol.ts";
import type { Tables } from "./tables.ts";
import type { View } from "./views.ts";
import type { Warnings } from "./warnings.ts";

export interface Requests {
  /** A client looks. Ends with the first answer, or after REQUEST_MS: the thread may be stuck. */
  onClient(): Promise<void>;
  onAnswer(answer: Answer, tookMs: number): void;
  /** Adds an eventfd that wakes runtimes. */
  addEventFd(fd: number): void;
  /** Returns what the page shows of the thread itself. */
  status(nowMs: number): Pick<View, "stuck" | "answeredMs" | "samples">;
  /** Asks nothing from now on. */
  close(): void;
}

export function consoleRequests(
  tables: Tables,
  warnings: Warnings,
  control: Int32Array,
  C: typeof CONTROL,
  /** Sends a message to the thread. */
  notify: () => void,
): Requests {
  /** How often the thread is asked while a client looks. */
  const REQUEST_MS = 500;
  /**
   * After an answer, the thread has this many times as long for itself: the console takes 2.5 % of it during the first
   * pass, and half of that later.
   */
  const FIRST_PAUSES = 39;
  const PAUSES = 79;
  /** How long after its latest request a client still counts. */
  const CLIENT_MS = 4000;
  const MAX_SAMPLES = 120;

  const { writeSync } = process.getBuiltinModule("node:fs");
  const one = new Uint8Array(new BigUint64Array([1n]).buffer);

  const eventFds: number[] = [];
  const samples: { busy: number; lagMs: number }[] = [];
  let clientMs = 0;
  let request = 0;
  let requestedMs = 0;
  let isWaiting = false;
  /** When the thread last answered; 0 before that. */
  let answeredMs = 0;
  /** How late it answered, at most, since the latest sample. */
  let lagMs = 0;
  let requestTimer: ReturnType<typeof setTimeout> | undefined;
  let sampleTimer: ReturnType<typeof setInterval> | undefined;
  let firstAnswer = Promise.withResolvers<void>();

  function ask(wantsStatistics: boolean): void {
    if (isWaiting) return;
    isWaiting = true;
    requestedMs = Date.now();
    control[C.WANTS_STATISTICS] = wantsStatistics ? 1 : 0;
    const opened = tables.openedSince(requestedMs - CLIENT_MS).slice(0, C.MAX_DETAILS);
    const ids = opened.flatMap(({ runtime, task }) => [runtime, task]);
    control.set(ids, C.DETAILS + 1);
    control[C.DETAILS] = opened.length;
    Atomics.store(control, C.REQUEST, ++request);
    for (const fd of eventFds) wake(fd);
    if (Atomics.exchange(control, C.HAS_MESSAGE, 1) === 0) notify();
  }

  function wake(fd: number): void {
    try {
      writeSync(fd, one);
    } catch {} // the message remains
  }

  function addEventFd(fd: number): void {
    eventFds.push(fd);
    if (isWaiting) wake(fd); // a request from before this runtime existed: in `blockOn`, nothing else wakes it
  }

  async function onClient(): Promise<void> {
    clientMs = Date.now();
    if (sampleTimer === undefined) {
      sampleTimer = setInterval(sample, REQUEST_MS / 2);
      tables.look(clientMs, true);
      ask(true);
    }
    await Promise.race([firstAnswer.promise, Bun.sleep(REQUEST_MS)]);
    tables.look(Date.now());
  }

  function onNoClient(): void {
    stopTimers();
    samples.length = 0;
    ask(false);
    firstAnswer = Promise.withResolvers();
  }

  function stopTimers(): void {
    clearInterval(sampleTimer);
    clearTimeout(requestTimer);
    sampleTimer = requestTimer = undefined;
  }

  let ticks = 0;
  function sample(): void {
    const nowMs = Date.now();
    tables.look(nowMs);
    if (nowMs - clientMs > CLIENT_MS) {
      onNoClient();
      return;
    }
    if (++ticks % 2 === 1) return;
    const waitMs = waitedMs(nowMs);
    const isStuck = waitMs > REQUEST_MS && warnings.stuck(nowMs, waitMs) !== null;
    const ratio = tables.takeBusyRatio();
    samples.push({ busy: isStuck ? 1 : ratio, lagMs: Math.max(lagMs, waitMs > 50 ? waitMs : 0) });
    if (samples.length > MAX_SAMPLES) samples.shift();
    lagMs = 0;
  }

  function waitedMs(nowMs: number): number {
    return isWaiting ? nowMs - requestedMs : 0;
  }

  function onAnswer(answer: Answer, tookMs: number): void {
    const nowMs = Date.now();
    if (answer.request !== request) return;
    isWaiting = false;
    answeredMs = nowMs;
    if (sampleTimer === undefined) {
      // Nobody looks any more. The thread may have been stuck when that was found, and still keeps statistics.
      if (control[C.WANTS_STATISTICS] === 1) ask(false);
      return;
    }
    lagMs = Math.max(lagMs, answer.wallMs - requestedMs);
    let isComplete = true;
    for (const slice of answer.slices) {
      const table = tables.all.get(slice.runtime);
      if (table === undefined) continue;
      tables.learn(table, slice, nowMs);
      if (!slice.isPassEnd) isComplete = false;
    }
    for (const detail of answer.details) tables.learnDetail(detail);
    if (isComplete) firstAnswer.resolve();
    const restMs = isComplete ? REQUEST_MS - (nowMs - requestedMs) : 0;
    const isFirst = [...tables.all.values()].some(({ passMs }) => passMs === 0);
    const pauseMs = tookMs * (isFirst ? FIRST_PAUSES : PAUSES);
    requestTimer = setTimeout(() => ask(true), Math.max(restMs, pauseMs));
  }

  function status(nowMs: number): ReturnType<Requests["status"]> {
    const stuck = warnings.stuck(nowMs, waitedMs(nowMs));
    return { stuck, answeredMs: answeredMs === 0 ? null : nowMs - answeredMs, samples };
  }

  function close(): void {
    stopTimers();
    isWaiting = true;
  }

  return { onClient, onAnswer, addEventFd, status, close };
}
