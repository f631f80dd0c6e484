// bun-guillotine/inspect: seeing a program run. The typed channels of the trace, the trace as a file, metrics, and the
// console.

export {
  type TraceBlock,
  type TraceChannel,
  type TraceDrain,
  type TraceEvents,
  type TracePark,
  type TracePhase,
  type TracePoll,
  type TraceRound,
  type TraceTask,
  type TraceWake,
  traceChannel,
} from "../runtime/trace.ts";
export { type Inspection, type InspectOptions, inspect } from "./console/console.ts";
export { type MetricsSource, toPrometheus } from "./prometheus.ts";
export { type TraceFileOptions, traceToFile } from "./trace-file.ts";
