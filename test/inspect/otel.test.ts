// Spans of OpenTelemetry, by its own SDK: the span that is active at a spawn is the parent of what runs in the task.
// docs/tracing.md has a span per task, and test/docs.test.ts runs it.

import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { context } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import { Runtime, sleep, spawn, yieldNow } from "../../src/index.ts";

setDefaultTimeout(60_000); // the machine may be slow

const exporter = new InMemorySpanExporter();
const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
const tracer = provider.getTracer("test");
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());

afterAll(async () => {
  context.disable();
  await provider.shutdown();
});

/** The ended spans as `name < name of the parent`. */
function endedSpans(): string[] {
  const spans = exporter.getFinishedSpans();
  const names = new Map(spans.map((span) => [span.spanContext().spanId, span.name]));
  exporter.reset();
  return spans
    .map(({ name, parentSpanContext }) => `${name} < ${names.get(parentSpanContext?.spanId ?? "")}`)
    .sort();
}

test("a span around a spawn is the parent of the spans in coroutines, async functions and their tasks", async () => {
  await using runtime = new Runtime();
  await tracer.startActiveSpan("request", async (request) => {
    const coroutine = runtime.spawn(function* () {
      yield* sleep(1);
      tracer.startSpan("query").end();
      yield* spawn(function* () {
        yield* yieldNow();
        tracer.startSpan("inner").end();
      });
    });
    const asyncFunction = runtime.spawn(async () => {
      await sleep(1);
      tracer.startSpan("fetch").end();
    });
    await coroutine;
    await asyncFunction;
    request.end();
  });
  expect(endedSpans()).toEqual([
    "fetch < request",
    "inner < request",
    "query < request",
    "request < undefined",
  ]);
});

test("the spans of two interleaved requests do not mix", () => {
  using runtime = new Runtime();
  const request = (name: string) =>
    tracer.startActiveSpan(name, (span) =>
      runtime.spawn(function* () {
        for (let step = 0; step < 2; step++) {
          yield* yieldNow();
          tracer.startSpan(`${name} step`).end();
        }
        span.end();
      }),
    );
  request("a");
  request("b");
  runtime.block();
  expect(endedSpans()).toEqual([
    "a < undefined",
    "a step < a",
    "a step < a",
    "b < undefined",
    "b step < b",
    "b step < b",
  ]);
});
