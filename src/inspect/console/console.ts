// inspect: opens the console, a page about this process, and answers the requests of the Worker that serves it.
//
// Facts about Bun 1.4.5, and what they mean for this code:
// - A thread in `blockOn` receives no messages. So the Worker wakes it through an eventfd in the epoll of each runtime. A
//   guest may watch no epoll. So the Worker also sends a message, which Bun's loop receives.
//
// Invariants:
// - While no console is open, a runtime does nothing for it. While no page is open, the statistics are off, and each poll
//   costs a few stores.
// - An answer takes about SLICE_MS, however many tasks there are.
// - The eventfd stays open as long as the Worker may write to it. So `close` waits for the Worker's last word.

import { checkObject, invalidType, outOfRange } from "../../base/check.ts";
import { codedError } from "../../base/coded-error.ts";
import { describe } from "../../base/describe.ts";
import type { EventSink } from "../../reactor/sink.ts";
import { simulation } from "../../runtime/simulated.ts";
import { systemClock, wallNow } from "../../sys/clock.ts";
import { defaultSys } from "../../sys/default.ts";
import { EPOLLET, EPOLLIN } from "../../sys/epoll.ts";
import { check, EMFILE } from "../../sys/errno.ts";
import { canOpen, type Sys } from "../../sys/sys.ts";
import { startWorker, WORKER_FDS } from "../../sys/text-worker.ts";
import { waitWhile } from "../../sys/threads.ts";
import { addLooker, type Inspected, type Looker, removeLooker } from "./inspected.ts";
import { consoleProgram } from "./programs.ts";
import { type Answer, CONTROL, type Slice, type ToWorker } from "./protocol.ts";
import { Sampler } from "./sampler.ts";

/** The options of `inspect`. */
export interface InspectOptions {
  /** The port of the page; 0 (default) for a free one. */
  readonly port?: number;
  /**
   * The address to listen on. Default: `127.0.0.1`, which only programs on this machine can reach. The page has no TLS:
   * with another address, the token crosses the network in plain text.
   */
  readonly host?: string;
  /** The token that a request needs: at least 8 characters, and at most 512 bytes of UTF-8. Default: a random one. */
  readonly token?: string;
}

/** An open console. Dispose it to close the page. */
export interface Inspection extends Disposable {
  /** Where the page is, token included. */
  readonly url: string;
  readonly port: number;
  /** Closes the page, ends the Worker, and stops observing. Idempotent. */
  close(): void;
}

/** How long a slice may take, about. The Worker pauses between answers: see FIRST_PAUSES. */
const SLICE_MS = 0.75;
/** How long the Worker may take to listen. */
const START_MS = 10_000;
/** How long it may take to close its server. */
const CLOSE_MS = 2000;
const MIN_TOKEN = 8;

/**
 * Opens the console: a page that shows the tasks of all runtimes of this thread, what they wait for, the locks, channels
 * and sockets, how busy the thread is, and warnings. A Worker serves it, so it also answers while the thread is stuck:
 * then the page names the task whose poll does not return. `GUILLOTINE_INSPECT=127.0.0.1:9229` opens it with the first
 * runtime of the main thread, and prints a warning if it cannot.
 *
 * Prints the URL to stderr. A request without its token gets a 403. The page only reads. While it is open in a browser,
 * the runtimes keep statistics (see `runtime.observe()`); while it is not, each poll costs a few stores more.
 *
 * Waits a few milliseconds, until the page can be opened. Throws `ERR_INSPECT_LISTEN` if it cannot listen there (the
 * message has the reason, such as `EADDRINUSE`), SysError (`EMFILE`) without free fds, and TypeError or RangeError for a
 * bad option.
 *
 * @example
 * using page = inspect({ port: 0 });
 * const { status } = await fetch(page.url); // 200
 */
export function inspect(options: InspectOptions = {}): Inspection {
  simulation.refuse?.("inspect()");
  checkObject(options, "inspect: options");
  const { port = 0, host = "127.0.0.1", token = null } = options;
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw outOfRange(
      `inspect: options.port must be an integer from 0 to 65535; got ${describe(port)}`,
    );
  }
  if (typeof host !== "string" || host === "") {
    throw invalidType(`inspect: options.host must be a non-empty string; got ${describe(host)}`);
  }
  if (token !== null && (typeof token !== "string" || token.length < MIN_TOKEN)) {
    throw invalidType(
      `inspect: options.token must be a string of at least ${MIN_TOKEN} characters; got ${typeof token === "string" ? `${token.length}` : describe(token)}`,
    );
  }
  const bytes = Buffer.byteLength(token ?? "");
  if (bytes > CONTROL.TEXT_BYTES) {
    throw invalidType(
      `inspect: options.token must have at most ${CONTROL.TEXT_BYTES} bytes of UTF-8; got ${bytes}`,
    );
  }
  const opened = new Console(host, port, token);
  console.error(`guillotine: inspect this process at ${opened.url}`);
  return opened;
}

let hasStarted = false;

/** Opens the console that `GUILLOTINE_INSPECT` asks for. Called with each runtime. Throws RangeError for a bad value. */
export function inspectFromEnvironment(): void {
  const variable = process.env.GUILLOTINE_INSPECT;
  if (variable === undefined || variable === "" || hasStarted || !Bun.isMainThread) return;
  hasStarted = true;
  const match = /^(?:\[?([^[\]]+)\]?:)?(\d+)$/.exec(variable);
  if (match === null) {
    throw outOfRange(
      `GUILLOTINE_INSPECT must be a port, or an address and a port such as 127.0.0.1:9229; got ${describe(variable)}`,
    );
  }
  const [, host = "127.0.0.1", port] = match;
  try {
    inspect({ host, port: Number(port) });
  } catch (error) {
    // A child process inherits the variable, and would find the port in use.
    if ((error as { code?: string }).code !== "ERR_INSPECT_LISTEN") throw error;
    console.error(`guillotine: ${(error as Error).message}`);
  }
}

/** What the console keeps of a runtime. */
interface Attached extends EventSink {
  readonly sampler: Sampler;
  readonly fd: number;
  /** Where the eventfd is registered; -1 once the reactor is closed. */
  slot: number;
  /** Ends the statistics; null while they are off. */
  unwatch: (() => void) | null;
}

class Console implements Inspection, Looker {
  readonly url: string;
  readonly port: number;
  private readonly control: Int32Array;
  private readonly worker: Worker;
  private readonly attached: Map<Inspected, Attached> = new Map();
  /** The eventfds through which the Worker wakes runtimes, by their kernel. */
  private readonly eventFds: Map<Sys, number> = new Map();
  /** The number of the latest request that was answered. */
  private answered = 0;
  private isClosed = false;

  constructor(host: string, port: number, token: string | null) {
    if (!canOpen(defaultSys(), WORKER_FDS)) check(-EMFILE, "open a Worker");
    const control = new SharedArrayBuffer(CONTROL.INTS * 4 + CONTROL.TEXT_BYTES);
    this.control = new Int32Array(control, 0, CONTROL.INTS);
    this.worker = startWorker(consoleProgram());
    this.worker.unref();
    this.worker.onmessage = this.onMessage;
    const title = `${process.argv[1]?.split("/").at(-1) || "bun"} (pid ${process.pid})`;
    this.send({ setup: { control, host, port, token, title } });
    const state = waitWhile(this.control, CONTROL.STATE, CONTROL.STARTING, START_MS);
    const text = Buffer.from(control, CONTROL.INTS * 4, this.control[CONTROL.TEXT_LENGTH]);
    if (state !== CONTROL.LISTENING) {
      this.worker.terminate();
      const why = state === CONTROL.FAILED ? text : `its Worker has not started in ${START_MS} ms`;
      throw codedError(
        "ERR_INSPECT_LISTEN",
        `inspect: the console cannot listen on ${host}, port ${port}: ${why}`,
      );
    }
    this.port = this.control[CONTROL.PORT] ?? 0;
    const name = host.includes(":") ? `[${host}]` : host;
    this.url = `http://${name}:${this.port}/?token=${encodeURIComponent(`${text}`)}`;
    addLooker(this);
  }

  attach(runtime: Inspected): void {
    const { observer, reactor } = runtime;
    const fd = this.eventFdOf(reactor.sys);
    const attached: Attached = {
      sampler: new Sampler(runtime),
      fd,
      slot: -1,
      unwatch: null,
      onEvents: this.answer,
      canWake: () => false, // an answer wakes no task
      onReactorClosed() {
        attached.slot = -1;
      },
    };
    attached.slot = check(reactor.register(attached, fd, EPOLLIN | EPOLLET), "epoll_ctl");
    this.attached.set(runtime, attached);
    const memory = observer.sharePolls(runtime.tasks);
    this.send({ attach: { runtime: observer.runtime, memory } });
  }

  detach(runtime: Inspected): void {
    const attached = this.attached.get(runtime);
    if (attached === undefined) return;
    this.attached.delete(runtime);
    const { observer, reactor } = runtime;
    if (attached.slot >= 0) reactor.deregister(attached.slot, attached.fd);
    attached.unwatch?.();
    observer.unsharePolls();
    this.send({ detach: observer.runtime });
  }

  private eventFdOf(sys: Sys): number {
    let fd = this.eventFds.get(sys);
    if (fd === undefined) {
      fd = check(sys.eventfd(), "eventfd");
      this.eventFds.set(sys, fd);
      this.send({ eventFd: fd });
    }
    return fd;
  }

  private send(message: ToWorker): void {
    this.worker.postMessage(message);
  }

  private readonly onMessage = (): void => {
    Atomics.store(this.control, CONTROL.HAS_MESSAGE, 0);
    this.answer();
  };

  /** Answers the latest request, unless another way of waking this thread already led here. */
  private readonly answer = (): void => {
    const { control } = this;
    const request = Atomics.load(control, CONTROL.REQUEST);
    if (request === this.answered || this.isClosed) return;
    this.answered = request;
    const wallMs = wallNow(systemClock);
    const startMs = systemClock.now();
    const wantsStatistics = control[CONTROL.WANTS_STATISTICS] === 1;
    const opened = this.openedTasks();
    const slices: Slice[] = [];
    const details: Answer["details"][number][] = [];
    for (const [{ observer }, attached] of this.attached) {
      if (wantsStatistics) attached.unwatch ??= observer.watch();
      else {
        attached.unwatch?.();
        attached.unwatch = null;
        continue; // nobody looks any more
      }
      const ids = opened.get(observer.runtime) ?? new Set();
      attached.sampler.keepOnly(ids);
      for (const id of ids) details.push(attached.sampler.detail(id));
      slices.push(attached.sampler.slice(startMs + SLICE_MS));
    }
    const answer: Answer = { request, wallMs, slices, details };
    const text = JSON.stringify(answer); // takes about as long as the slices
    this.send({ answer: text, tookMs: systemClock.now() - startMs });
  };

  /** Returns the tasks whose pages are open, by runtime. */
  private openedTasks(): Map<number, Set<number>> {
    const { control } = this;
    const opened = new Map<number, Set<number>>();
    for (let index = 0; index < (control[CONTROL.DETAILS] ?? 0); index++) {
      const at = CONTROL.DETAILS + 1 + index * 2;
      const [runtime = 0, id = 0] = control.subarray(at, at + 2);
      const ids = opened.get(runtime) ?? new Set();
      opened.set(runtime, ids.add(id));
    }
    return opened;
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    removeLooker(this);
    this.send({ close: true });
    const state = waitWhile(this.control, CONTROL.STATE, CONTROL.LISTENING, CLOSE_MS);
    this.worker.terminate();
    if (state !== CONTROL.CLOSED) return; // it may still write to the eventfds
    for (const [sys, fd] of this.eventFds) sys.close(fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
