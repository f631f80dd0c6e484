// The program of the console's Worker: it connects the parts of the Worker, passes them the messages of the inspected
// thread, and puts together what the page gets.
//
// `consoleWorker` and its parts reach the Worker as source text (text-worker.ts explains why). So each of them uses only
// globals and its parameters, and imports types alone. They are on the kernel's side of the seam: a thread of its own,
// with its own clock, which only this file and requests.ts read.

import type { cyclesOf } from "../../runtime/cycles.ts";
import type { isUnnamed } from "../../runtime/task-info.ts";
import type { PollLayout, pollReader } from "../../sys/poll-watch.ts";
import type { consoleContent } from "./content.ts";
import type { CONTROL, FLAGS, Setup, ToWorker } from "./protocol.ts";
import type { consoleRequests } from "./requests.ts";
import type { ConsoleServer, consoleServer } from "./server.ts";
import type { consoleTables } from "./tables.ts";
import type { View } from "./views.ts";
import type { consoleWarnings } from "./warnings.ts";

/** What the program gets from the library. */
export interface WorkerParts {
  readonly consoleTables: typeof consoleTables;
  readonly consoleWarnings: typeof consoleWarnings;
  readonly consoleContent: typeof consoleContent;
  readonly consoleRequests: typeof consoleRequests;
  readonly consoleServer: typeof consoleServer;
  readonly pollReader: typeof pollReader;
  readonly cyclesOf: typeof cyclesOf;
  readonly isUnnamed: typeof isUnnamed;
  readonly layout: PollLayout;
  readonly control: typeof CONTROL;
  readonly flags: typeof FLAGS;
  /** The page, with `NONCE` where the nonce belongs. */
  readonly page: string;
}

/** `setup` is the Worker's first message. */
export function consoleWorker(parts: WorkerParts, setup: Setup): void {
  const scope = globalThis as unknown as {
    onmessage: (event: { readonly data: ToWorker }) => void;
    postMessage(message: unknown): void;
  };
  const C = parts.control;
  const control = new Int32Array(setup.control, 0, C.INTS);
  const startMs = Date.now();

  const tables = parts.consoleTables(parts.isUnnamed, (table, nowMs) => {
    content.forget(table);
    warnings.update(table, nowMs);
  });
  const warnings = parts.consoleWarnings(tables, parts.cyclesOf, parts.flags);
  const content = parts.consoleContent(tables);
  const notify = (): void => scope.postMessage(0);
  const requests = parts.consoleRequests(tables, warnings, control, C, notify);

  async function dataFor(query: URLSearchParams): Promise<View> {
    await requests.onClient();
    const nowMs = Date.now();
    return {
      title: setup.title,
      ...requests.status(nowMs),
      upMs: nowMs - startMs,
      runtimes: [...tables.all.values()].map(({ id, metrics, passMs }) => ({
        id,
        tasks: metrics?.tasksAlive ?? 0,
        ended: metrics?.tasksEnded ?? 0,
        polls: metrics?.polls ?? 0,
        timers: metrics?.timers ?? 0,
        fds: metrics?.sources ?? 0,
        jobs: metrics?.jobs ?? 0,
        passMs,
      })),
      warnings: warnings.all(),
      ...content.contentFor(query, nowMs),
    };
  }

  function setState(state: number, text = ""): void {
    const bytes = new TextEncoder().encode(text).subarray(0, C.TEXT_BYTES);
    new Uint8Array(control.buffer, C.INTS * 4).set(bytes);
    control[C.TEXT_LENGTH] = bytes.length;
    Atomics.store(control, C.STATE, state);
    Atomics.notify(control, C.STATE);
  }

  let server: ConsoleServer;
  try {
    server = parts.consoleServer(parts.page, setup, dataFor);
  } catch (error) {
    const { code = "", message } = error as Error & { code?: string };
    setState(C.FAILED, `${code} ${message}`);
    return;
  }

  scope.onmessage = ({ data }) => {
    if ("answer" in data) requests.onAnswer(JSON.parse(data.answer), data.tookMs);
    else if ("attach" in data) {
      const { runtime, memory } = data.attach;
      tables.attach(runtime, parts.pollReader(memory, parts.layout), Date.now());
    } else if ("detach" in data) tables.detach(data.detach);
    else if ("eventFd" in data) requests.addEventFd(data.eventFd);
    else {
      requests.close();
      server.close();
      setState(C.CLOSED);
    }
  };
  control[C.PORT] = server.port;
  setState(C.LISTENING, server.token);
}
