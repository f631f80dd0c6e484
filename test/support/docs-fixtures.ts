// The names that the documentation's examples use without declaring them.

import {
  type ByteReader,
  type ByteWriter,
  type Future,
  Runtime,
  TcpListener,
  TcpStream,
} from "../../src/index.ts";
import { sleepThen } from "./work.ts";

// An example would import this from node:fs.
export { openSync } from "node:fs";
export { sleepThen };

export interface Page {
  readonly text: string;
}

/** The values that examples passed to `show`. */
export const shown: unknown[] = [];

export const runtime: Runtime = new Runtime();
export const listener: TcpListener = TcpListener.bind("127.0.0.1:0");
export const port: number = (listener.localAddress as { port: number }).port;
/** Connected to the backlog of `listener`: the kernel accepts, and no task reads. */
export const stream: TcpStream = runtime.blockOn(
  TcpStream.connect({ hostname: "127.0.0.1", port }),
);

const requestBytes = new TextEncoder().encode("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
const served = new WeakSet<object>();
/** Each BufReader, which passes options of its own, reads one request and then the end. Writes go nowhere. */
export const connection: ByteReader & ByteWriter = {
  read: () => sleepThen(0, 0),
  readChunk(options = {}) {
    const chunk = served.has(options) ? null : requestBytes.slice();
    served.add(options);
    return sleepThen(0, chunk);
  },
  write: (data) => sleepThen(0, data.length),
  writeAll: () => sleepThen(0, undefined),
  shutdown() {},
};

export const mirrors: string[] = ["a", "b"];
export const urls: string[] = ["a", "b", "c"];
export const question = "?";
export const statistics: Map<string, number> = new Map();
export const stopped: Promise<void> = Promise.resolve();
export const request: Request = new Request("http://127.0.0.1/");

export async function ask(..._: unknown[]): Promise<string> {
  return "answer";
}
export async function load(url: string): Promise<Page> {
  return { text: url };
}
export const loadPage = (): Promise<Page> => load("page");
export const loadUser = (): Promise<Page> => load("user");
export function readLine(_: TcpStream): Future<string> {
  return sleepThen(0, "line");
}
export async function report(_: unknown): Promise<void> {}
export async function talk(_: unknown): Promise<void> {}
export function show(value: unknown): void {
  shown.push(value);
}
export async function work(): Promise<void> {}
