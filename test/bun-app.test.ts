// examples/bun-app.ts under clients that vanish: nothing of their requests stays behind, here or in the upstream.

import { expect, setDefaultTimeout, test } from "bun:test";
import { type Program, start } from "./support/program.ts";

setDefaultTimeout(120_000); // the machine may be slow

const REQUESTS = 10_000;
const CLIENTS = 100;
/** How many of the requests come before the first count of fds. */
const WARM_UP = 500;
/** Fds that Bun itself may open or close meanwhile. A leak would be one per thousand requests or more. */
const SPARE_FDS = 4;

/** A server of prices. It answers `hold…` never, and each other symbol that ends in 7 at the second attempt. */
class Upstream implements AsyncDisposable {
  /** Symbols whose request the upstream holds, or has held. */
  readonly arrived = new Set<string>();
  /** Symbols whose request was aborted while the upstream held it. */
  readonly aborted = new Set<string>();
  readonly #onArrival = new Map<string, () => void>();
  readonly #refused = new Set<string>();
  readonly #server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    fetch: (request) => this.#answer(request, new URL(request.url).pathname.slice(1)),
  });

  get url(): string {
    return this.#server.url.origin;
  }

  /** Resolves when a request for this symbol is here. */
  arrival(symbol: string): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onArrival.set(symbol, resolve);
    return promise;
  }

  #answer(request: Request, symbol: string): Response | Promise<Response> {
    const headers = { connection: "close" }; // no idle connection in the pool of the application
    if (symbol.startsWith("hold")) {
      const { promise, resolve } = Promise.withResolvers<Response>();
      request.signal.addEventListener("abort", () => {
        this.aborted.add(symbol);
        resolve(new Response(null));
      });
      this.arrived.add(symbol);
      this.#onArrival.get(symbol)?.();
      return promise;
    }
    if (symbol.endsWith("7") && !this.#refused.has(symbol)) {
      this.#refused.add(symbol);
      return new Response("busy", { status: 503, headers });
    }
    return new Response(`${symbol.length}`, { headers });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.stop(true);
  }
}

/** An HTTP request on a connection of its own. */
interface Exchange {
  /** The response, head and body, once the server has closed the connection. */
  readonly response: Promise<string>;
  /** Closes the connection: with FIN, or with RST. */
  vanish(how: "fin" | "rst"): void;
}

async function send(port: number, path: string): Promise<Exchange> {
  const { promise: response, resolve, reject } = Promise.withResolvers<string>();
  const decoder = new TextDecoder();
  let text = "";
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      data(_, chunk) {
        text += decoder.decode(chunk, { stream: true });
      },
      close: () => resolve(text),
      error: (_, error) => reject(error),
    },
  });
  socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
  return { response, vanish: (how) => (how === "fin" ? socket.end() : socket.terminate()) };
}

async function bodyOf(port: number, path: string): Promise<string> {
  const { response } = await send(port, path);
  return (await response).split("\r\n\r\n")[1] ?? "";
}

interface Status {
  readonly tasks: readonly unknown[];
  readonly timers: number;
  readonly sources: number;
  readonly fds: number;
  readonly slots: number;
}

const statusOf = async (port: number): Promise<Status> => JSON.parse(await bodyOf(port, "/status"));

/** A third of the clients vanish: while the upstream works, by FIN or RST, or at once, wherever their request is then. */
async function request(index: number, port: number, upstream: Upstream): Promise<void> {
  if (index % 3 !== 0) {
    const body = await bodyOf(port, `/quote/s${index}`);
    expect(body).toBe(`S${index} ${`s${index}`.length}, asked 1 times\n`);
    return;
  }
  const symbol = `hold${index}`;
  const kind = (index / 3) % 3;
  const arrival = upstream.arrival(symbol);
  const { vanish } = await send(port, `/quote/${symbol}`);
  if (kind < 2) await arrival;
  vanish(kind === 0 ? "fin" : "rst");
}

async function portOf(app: Program): Promise<number> {
  return Number((await app.until(/listening on [\d.]+:(\d+)/))[1]);
}

test("of 10,000 requests, a third of them aborted, bun-app.ts keeps no task, fd, timer or slot", async () => {
  await using upstream = new Upstream();
  await using app = start(["bun", "run", "examples/bun-app.ts", "0", upstream.url], {
    REQUEST_MS: "3600000", // only the disconnect ends a request that the upstream holds
  });
  const port = await portOf(app);

  let next = 0;
  const requestsTo = async (end: number): Promise<void> => {
    const client = async (): Promise<void> => {
      while (next < end) await request(next++, port, upstream);
    };
    await Promise.all(Array.from({ length: CLIENTS }, client));
  };
  /**
   * Polls the application until only its own two tasks are left, and at most this number of fds. Gives up after a while,
   * so that a failure shows what is left.
   */
  const settled = async (maxFds: number): Promise<Status> => {
    for (let attempt = 0; ; attempt++) {
      const status = await statusOf(port);
      const isSettled = status.tasks.length <= 2 && status.fds <= maxFds;
      const haveAllAborted = upstream.aborted.size === upstream.arrived.size;
      if ((isSettled && haveAllAborted) || attempt === 500) return status;
      await Bun.sleep(50);
    }
  };
  await requestsTo(WARM_UP); // Bun and the runtime open some fds at first use, and keep them
  const before = await settled(Number.POSITIVE_INFINITY);
  await requestsTo(REQUESTS);
  const after = await settled(before.fds + SPARE_FDS);
  expect({ ...after, fds: 0 }).toEqual({ ...before, fds: 0 });
  expect(after.fds).toBeLessThanOrEqual(before.fds + SPARE_FDS);
  expect(after).toMatchObject({ timers: 0, slots: 64 });
  expect(upstream.aborted).toEqual(upstream.arrived);
  expect(upstream.arrived.size).toBeGreaterThan(REQUESTS / 5);

  process.kill(app.pid, "SIGTERM");
  expect(await app.exited).toBe(0);
  expect(app.output().split("\n").slice(1)).toEqual([
    "SIGTERM: finishing 0 requests",
    "stopped, 0 tasks left",
    "",
  ]);
});
