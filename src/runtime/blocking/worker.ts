// The program of a worker of the blocking pool, as text (text-worker.ts explains why).
//
// A worker evaluates one call at a time. Calls and answers go through a MessagePort, which the pool can read
// without an event loop. After each answer the worker rings the runtime's doorbell. Jobs do not
// come as `message` events of the Worker: a job's module may also be a Worker's script, with a handler for those.
//
// Like the helper of sys/epoll-watcher.ts, this program is on the kernel's side of the seam: its `write` and its
// reads of /proc do not go through a Sys.

import { lockAs, threadIdentity } from "../../sys/threads.ts";
import type { SharedEventfd } from "../threads/shared-eventfd.ts";
import { type PlainError, toPlain } from "./plain-error.ts";

/** State of a worker, in memory shared with its pool: ready for a job. */
export const IDLE = 0;
/** State: running a job. */
export const BUSY = 1;
/** State: ended, after being idle for too long. */
const GONE = 2;

/** The first message to a worker. */
export interface Setup {
  readonly port: MessagePort;
  /** Element 0: IDLE, BUSY or GONE. */
  readonly state: Int32Array;
  readonly bell: SharedEventfd;
  readonly idleMs: number;
}

/** A job: a function's source text or a module's export, with the arguments. */
export type Call =
  | { readonly source: string; readonly args: readonly unknown[] }
  | { readonly module: string; readonly exportName: string; readonly args: readonly unknown[] };

/** The outcome of a job. */
export type Answer =
  | { readonly value: unknown }
  | { readonly error: PlainError }
  /** A thrown value that is not an Error. */
  | { readonly thrown: unknown }
  /** The worker ended, or is about to. */
  | { readonly ended: string };

export const workerProgram: string = `
import { writeSync } from "node:fs";
const lockAs = ${lockAs};
const toPlain = ${toPlain};
const { currentThread, isThreadAlive } = (${threadIdentity})();
const thread = currentThread();
const one = new Uint8Array(new BigUint64Array([1n]).buffer);
const functions = new Map();
const typeError = (code, message) => Object.assign(new TypeError(message), { code });
let setup, idleTimer;

function answer(message) {
  setup.port.postMessage(message);
  const { fd, lock } = setup.bell;
  if (!lockAs(lock, thread, isThreadAlive)) return;
  try {
    writeSync(fd, one);
  } finally {
    Atomics.store(lock, 0, 0n);
  }
}

async function resolve(call) {
  if (call.source === undefined) {
    const module = await import(call.module);
    const found = module[call.exportName];
    if (typeof found !== "function") throw typeError("ERR_INVALID_ARG_TYPE", call.module + " exports no function named " + call.exportName);
    return found;
  }
  let found = functions.get(call.source);
  if (found === undefined) functions.set(call.source, (found = (0, eval)('"use strict";(' + call.source + ")")));
  return found;
}

async function perform(call) {
  let message;
  try {
    message = { value: await (await resolve(call))(...call.args) };
  } catch (error) {
    if (call.source !== undefined && error instanceof ReferenceError && / is not defined$/.test(error.message)) {
      error.message += " in the worker, which receives only the source of the function: pass what it needs as an argument";
    }
    message = error instanceof Error ? { error: toPlain(error) } : { thrown: error };
  }
  Atomics.store(setup.state, 0, ${IDLE});
  try {
    answer(message);
  } catch (error) {
    const what = "error" in message || "thrown" in message ? "what it threw" : "its result";
    answer({ error: toPlain(typeError("ERR_NOT_CLONEABLE", "spawnBlocking: the job ended, but " + what + " cannot be cloned: " + (error?.message ?? error))) });
  }
  idleTimer = setTimeout(() => {
    if (Atomics.compareExchange(setup.state, 0, ${IDLE}, ${GONE}) === ${IDLE}) process.exit();
  }, setup.idleMs);
}

process.on("exit", (code) => answer({ ended: "process.exit(" + (code ?? 0) + ")" }));
for (const event of ["uncaughtException", "unhandledRejection"]) {
  process.on(event, (error) => {
    answer({ ended: "an uncaught error: " + String(error?.stack ?? error) });
    process.exit(1);
  });
}

globalThis.onmessage = ({ data }) => {
  globalThis.onmessage = null;
  setup = data;
  setup.port.onmessage = ({ data: call }) => {
    clearTimeout(idleTimer);
    perform(call);
  };
};
`;
