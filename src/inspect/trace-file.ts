// traceToFile: writes the trace as a file that Perfetto (ui.perfetto.dev) and chrome://tracing open.
//
// The format is the JSON Array Format of Chrome's "Trace Event Format". A runtime is a process in it, and a task is a
// thread. Polls are duration events (B, E); a wake is a flow event (s, f) from the poll that woke to the poll that
// follows; parks and ends of tasks are instants (i); the sizes of the queues are counters (C).
//
// Invariants:
// - The file is valid JSON after each write: a write ends with the bracket that closes the array, and the next one
//   begins by overwriting that bracket. The kernel writes page by page, and a SIGKILL may end a write between two pages:
//   then the last line is cut. So a write has about one page, which takes a microsecond, and events are lines.
// - Memory is bounded: at most BUFFER_BYTES of text, and an entry per live task. So is the file, by `maxBytes`.
//
// Facts about Perfetto, and what they mean here:
// - A flow event belongs to the slice that encloses it. A wake by an event happens in no poll, so it gets a slice of
//   its own, on the track of the run loop.
// - Its importer does not return from a lone surrogate, and cuts a name at U+0000. So such characters are escaped, as in
//   a dump.
// - Thread 0 means the idle thread. So the track of the run loop has a number that no task has.

import { invalidType, outOfRange } from "../base/check.ts";
import { codedError } from "../base/coded-error.ts";
import { describe, visibleName } from "../base/describe.ts";
import {
  type TraceChannel,
  type TraceEvents,
  type TracePhase,
  type TracePoll,
  traceChannel,
} from "../runtime/trace.ts";
import { systemClock } from "../sys/clock.ts";

/** The options of `traceToFile`. */
export interface TraceFileOptions {
  /**
   * The largest size of the file: the trace ends before it would be larger. At least 64 KiB. Default: 256 MiB, about two
   * million polls.
   */
  readonly maxBytes?: number;
}

const DEFAULT_MAX_BYTES = 256 * 1024 * 1024;
/** More than a write has, so the file is never empty. */
const MIN_BYTES = 64 * 1024;
/** About a page. */
const BUFFER_BYTES = 4096;
/** Text is written once it is this old, at the next event. */
const FLUSH_MS = 10;
/** The number of the track of the run loop: the ids of tasks do not reach it. */
const LOOP = 2_000_000_000;
/** The duration of what has none, in microseconds: the shortest that the viewers show. */
const INSTANT_MICROS = 0.001;

/** The absolute paths of the traces that go on. */
const isLive: Set<string> = new Set();

/**
 * Writes the trace of all runtimes of this thread to a file, until the result is disposed, the process exits, or the
 * file is full (`maxBytes`). Open the file in Perfetto (ui.perfetto.dev) or chrome://tracing. `GUILLOTINE_TRACE=path`
 * calls this with the first runtime; in a Worker it adds the number of the thread to the path. Two processes must not
 * write to one path: a child process inherits the variable.
 *
 * The file is written synchronously, at least each 10 ms while there are events, and is valid JSON after each write: a
 * process that is killed loses the events of the last few milliseconds. If the kill hits a write, the last line may be
 * cut, and the format allows the closing bracket to be missing. When a write fails, the trace ends with a warning.
 *
 * Throws TypeError for a bad path, RangeError for a bad option, Error if this thread already writes to the path, and
 * the error of Node's `openSync` (`ENOENT`, `EACCES`) if it cannot be created.
 *
 * @example
 * using trace = traceToFile("/tmp/trace.json");
 * yield* spawn(sleep(1), { name: "napper" });
 */
export function traceToFile(path: string, options: TraceFileOptions = {}): Disposable {
  if (typeof path !== "string" || path === "") {
    throw invalidType(`traceToFile: path must be a non-empty string; got ${describe(path)}`);
  }
  const { maxBytes = DEFAULT_MAX_BYTES } = options;
  if (typeof maxBytes !== "number" || !(maxBytes >= MIN_BYTES)) {
    throw outOfRange(
      `traceToFile: options.maxBytes must be a number >= ${MIN_BYTES}; got ${describe(maxBytes)}`,
    );
  }
  const resolved = process.getBuiltinModule("node:path").resolve(path);
  if (isLive.has(resolved)) {
    throw codedError(
      "ERR_TRACE_IN_USE",
      `traceToFile: this thread already writes a trace to ${path}`,
    );
  }
  return new TraceFile(resolved, maxBytes);
}

let hasStarted = false;

/** Starts the trace that `GUILLOTINE_TRACE` names. Called with each runtime. Idempotent. */
export function traceToFileFromEnvironment(path: string): void {
  if (hasStarted) return;
  hasStarted = true;
  const { threadId, isMainThread } = process.getBuiltinModule("node:worker_threads");
  try {
    traceToFile(isMainThread ? path : `${path}.${threadId}`);
  } catch (error) {
    // The operator who set the variable may not know what opens that file.
    if (error instanceof Error) error.message = `GUILLOTINE_TRACE: ${error.message}`;
    throw error;
  }
}

class TraceFile implements Disposable {
  private readonly path: string;
  private readonly maxBytes: number;
  private readonly fs = process.getBuiltinModule("node:fs");
  private readonly fd: number;
  private readonly stops: (() => void)[] = [];
  /** Events that are not written yet, each with its separator. */
  private text = "";
  /** Where the next event goes: what follows is the closing bracket. */
  private position = 0;
  private writtenMicros = 0;
  private lastFlow = 0;
  /** The runtimes and tasks whose tracks have a name. */
  private readonly named: Set<string> = new Set();
  /** The flows of wakes whose poll has not begun, by task. */
  private readonly flows: Map<string, number> = new Map();
  /** How many slices are open, by track: of a task, while its poll is on the stack. */
  private readonly open: Map<string, number> = new Map();
  /** The latest counters, by runtime. */
  private readonly counters: Map<number, string> = new Map();
  private isClosed = false;

  constructor(path: string, maxBytes: number) {
    this.path = path;
    this.maxBytes = maxBytes;
    this.fd = this.fs.openSync(path, "w");
    isLive.add(path);
    process.on("exit", this.close);
    this.on("block", ({ phase, runtime, name }) => this.slice(phase, runtime, LOOP, name));
    this.on("drain", ({ phase, runtime }) => this.slice(phase, runtime, LOOP, "microtasks"));
    this.on("park", ({ phase, runtime }) => {
      this.instant(runtime, LOOP, phase === "start" ? "park" : "unpark");
      if (phase === "start") this.write();
    });
    this.on("round", (round) => this.count(round));
    this.on("task", (task) => this.onTask(task));
    this.on("poll", (poll) => this.onPoll(poll));
    this.on("wake", (wake) => this.onWake(wake));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  private on<K extends keyof TraceEvents>(
    name: K,
    listener: (event: TraceEvents[K]) => void,
  ): void {
    const channel: TraceChannel<TraceEvents[K]> = traceChannel(name);
    channel.subscribe(listener);
    this.stops.push(() => void channel.unsubscribe(listener));
  }

  private onTask({ phase, runtime, id, name, parent, outcome }: TraceEvents["task"]): void {
    this.nameTask(runtime, id, name, parent);
    if (phase === "start") return;
    this.instant(runtime, id, `ended: ${outcome}`);
    this.named.delete(`${runtime}.${id}`);
    this.flows.delete(`${runtime}.${id}`);
  }

  private onPoll({ phase, runtime, id, name, parent, isAwait }: TracePoll): void {
    const track = id === 0 ? LOOP : id; // an await that no task owns
    if (phase === "start" && id !== 0) this.nameTask(runtime, id, name, parent);
    this.slice(phase, runtime, track, isAwait ? "await" : name);
    const key = `${runtime}.${id}`;
    if (phase === "end") return;
    const flow = this.flows.get(key);
    if (flow === undefined) return;
    this.flows.delete(key);
    this.add("f", runtime, track, "wake", `,"cat":"wake","id":${flow},"bp":"e"`);
  }

  private onWake({ runtime, id, name, by }: TraceEvents["wake"]): void {
    const key = `${runtime}.${id}`;
    if (this.flows.has(key)) return; // wakes before the poll coalesce
    const flow = ++this.lastFlow;
    this.flows.set(key, flow);
    // An async function wakes in a drain, not in a poll of its task.
    const isInPoll = by !== null && this.open.has(`${runtime}.${by}`);
    const track = isInPoll ? by : LOOP;
    this.nameRuntime(runtime);
    const micros = systemClock.now() * 1000;
    if (!isInPoll) {
      this.add("X", runtime, LOOP, `wake ${name}`, `,"dur":${INSTANT_MICROS}`, micros);
    }
    this.add("s", runtime, track, "wake", `,"cat":"wake","id":${flow}`, micros);
  }

  private count({ runtime, ready, alive, timers }: TraceEvents["round"]): void {
    const values = `{"ready":${ready},"alive":${alive}}|{"pending":${timers}}`;
    if (this.counters.get(runtime) === values) return;
    this.counters.set(runtime, values);
    this.nameRuntime(runtime);
    const [tasks, pending] = values.split("|");
    this.add("C", runtime, LOOP, "tasks", `,"args":${tasks}`);
    this.add("C", runtime, LOOP, "timers", `,"args":${pending}`);
  }

  private slice(phase: TracePhase, runtime: number, track: number, name: string): void {
    const key = `${runtime}.${track}`;
    const open = (this.open.get(key) ?? 0) + (phase === "start" ? 1 : -1);
    if (open < 0) return; // it began before this trace did, which another one made visible
    if (open === 0) this.open.delete(key);
    else this.open.set(key, open);
    this.nameRuntime(runtime);
    this.add(phase === "start" ? "B" : "E", runtime, track, name);
  }

  private instant(runtime: number, track: number, name: string): void {
    this.nameRuntime(runtime);
    this.add("i", runtime, track, name, `,"s":"t"`);
  }

  private nameTask(runtime: number, id: number, name: string, parent: number | null): void {
    const key = `${runtime}.${id}`;
    if (this.named.has(key)) return;
    this.named.add(key);
    this.nameRuntime(runtime);
    const label = name === `#${id}` ? name : `#${id} ${visibleName(name)}`;
    this.metadata(runtime, id, "thread_name", { name: label, ...(parent !== null && { parent }) });
  }

  private nameRuntime(runtime: number): void {
    if (this.named.has(`${runtime}`)) return;
    this.named.add(`${runtime}`); // first: naming it adds events
    this.metadata(runtime, LOOP, "process_name", { name: `runtime ${runtime}` });
    this.metadata(runtime, LOOP, "thread_name", { name: "run loop" });
    this.metadata(runtime, LOOP, "thread_sort_index", { sort_index: -1 });
  }

  private metadata(runtime: number, track: number, name: string, values: object): void {
    this.add("M", runtime, track, name, `,"args":${JSON.stringify(values)}`);
  }

  private add(
    kind: string,
    runtime: number,
    track: number,
    name: string,
    rest = "",
    micros: number = systemClock.now() * 1000,
  ): void {
    if (this.isClosed) return;
    const separator = this.position === 0 && this.text === "" ? "[\n" : ",\n";
    this.text += `${separator}{"ph":"${kind}","pid":${runtime},"tid":${track},"ts":${micros.toFixed(3)},"name":${JSON.stringify(visibleName(name))}${rest}}`;
    if (this.text.length >= BUFFER_BYTES || micros - this.writtenMicros >= FLUSH_MS * 1000) {
      this.writtenMicros = micros;
      this.write();
    }
  }

  private write(): void {
    if (this.isClosed || this.text === "") return;
    const bytes = Buffer.from(`${this.text}\n]\n`);
    this.text = "";
    if (this.position + bytes.length > this.maxBytes) {
      this.end(`has reached ${this.maxBytes} bytes, and ended`);
      return;
    }
    try {
      for (let done = 0; done < bytes.length; ) {
        done += this.fs.writeSync(this.fd, bytes, done, bytes.length - done, this.position + done);
      }
    } catch (error) {
      this.end(`could not be written, and ended: ${error}`);
      return;
    }
    this.position += bytes.length - "\n]\n".length;
  }

  /** Ends the trace early, and warns of it. An error in a listener would be an uncaughtException. */
  private end(why: string): void {
    this.close();
    process.emitWarning(`the trace ${this.path} ${why}`, { code: "GUILLOTINE_TRACE_ENDED" });
  }

  private readonly close = (): void => {
    if (this.isClosed) return;
    this.write();
    if (this.isClosed) return; // that write failed
    this.isClosed = true;
    process.off("exit", this.close);
    for (const stop of this.stops) stop();
    isLive.delete(this.path);
    this.fs.closeSync(this.fd);
  };
}
