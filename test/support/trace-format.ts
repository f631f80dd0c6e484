// Checks a trace against what Chrome's "Trace Event Format" requires of the events that we write, and what Perfetto
// needs to show them: docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU.

/** An event of the JSON Array Format. */
export interface ChromeEvent {
  readonly ph: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly name: string;
  readonly args?: { readonly name?: unknown; readonly [key: string]: unknown };
  readonly cat?: string;
  readonly id?: number;
  readonly bp?: string;
  readonly s?: string;
  readonly dur?: number;
}

/** Returns the events of a trace whose process was killed: the kill may have cut the last line. */
export function eventsAfterKill(text: string): ChromeEvent[] {
  if (text.endsWith("\n]\n")) return JSON.parse(text);
  const whole = text.slice(0, text.lastIndexOf("\n")).replace(/,$/, "");
  return JSON.parse(`${whole}]`);
}

const METADATA = new Set(["process_name", "thread_name", "thread_sort_index"]);

/** Returns what is wrong with the events of a trace; nothing if it is valid. */
export function violations(events: readonly ChromeEvent[]): string[] {
  const wrong: string[] = [];
  /** The names of the open slices of each track, the innermost last. */
  const open = new Map<string, string[]>();
  const closedAt = new Map<string, number>();
  const flows = new Map<number, "s" | "f">();
  const named = new Set<string>();
  let lastTs = 0;
  for (const [index, event] of events.entries()) {
    const fail = (rule: string): void =>
      void wrong.push(`${index}: ${rule}: ${JSON.stringify(event)}`);
    const track = `${event.pid}.${event.tid}`;
    const slices = open.get(track) ?? [];
    open.set(track, slices);
    for (const key of ["pid", "tid", "ts"] as const) {
      if (!Number.isFinite(event[key])) fail(`${key} must be a number`);
    }
    if (event.tid === 0) fail("thread 0 is the idle thread");
    if (typeof event.name !== "string") fail("name must be a string");
    if (event.ts < lastTs) fail("events are in the order of their times");
    lastTs = event.ts;
    if (event.ph !== "M" && !named.has(track)) fail("the track has no name yet");
    const isInSlice = slices.length > 0 || closedAt.get(track) === event.ts;
    switch (event.ph) {
      case "M":
        if (!METADATA.has(event.name)) fail("unknown metadata");
        if (event.args === undefined) fail("metadata has args");
        if (event.name === "thread_name") named.add(track);
        break;
      case "B":
        slices.push(event.name);
        break;
      case "E":
        if (slices.pop() !== event.name) fail("an E ends the innermost B of its track");
        break;
      case "X":
        if (!(typeof event.dur === "number" && event.dur > 0)) fail("an X has a duration");
        closedAt.set(track, event.ts);
        break;
      case "i":
        if (event.s !== "t") fail("an instant has the scope of its track");
        break;
      case "C": {
        const values = Object.values(event.args ?? {});
        if (values.length === 0 || values.some((value) => typeof value !== "number")) {
          fail("a counter has numbers");
        }
        break;
      }
      case "s":
        if (event.cat === undefined || event.id === undefined)
          fail("a flow has a category and an id");
        else if (flows.has(event.id)) fail("a flow starts once");
        else flows.set(event.id, "s");
        if (!isInSlice) fail("a flow starts in a slice");
        break;
      case "f":
        if (event.id === undefined || flows.get(event.id) !== "s")
          fail("a flow ends after its start, once");
        else flows.set(event.id, "f");
        if (event.bp !== "e") fail("a flow binds to the slice that encloses its end");
        if (slices.length === 0) fail("a flow ends in a slice");
        break;
      default:
        fail("unknown phase");
    }
  }
  return wrong;
}
