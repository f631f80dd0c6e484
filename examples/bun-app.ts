// A web application whose work ends when its client goes away. Each request asks an HTTP upstream (fetch, with retries)
// and a TCP service (sockets of this library) at the same time, and counts itself in a database (Bun.sql, SQLite in
// memory). A semaphore limits how many requests work at once.
//
//   bun run examples/bun-app.ts [port] [upstream]   # 127.0.0.1:3000 by default; 0 picks a free port
//   curl http://127.0.0.1:3000/quote/ada            # in another terminal: a price, a name, and how often it was asked
//   curl -m 0.2 http://127.0.0.1:3000/quote/slow    # curl goes away after 0.2 s, and everything behind it ends
//   curl http://127.0.0.1:3000/status               # tasks, timers, sources and fds
//   kill -TERM <pid>                                # open requests may finish, for at most a second
//
// `upstream` is the URL of a server of prices; without it, the program starts one. A request may take REQUEST_MS
// milliseconds (an environment variable; 10,000).
//
// You will see: the address it listens on and its pid; after the signal, how many requests it finishes, and that no task
// is left.

import { readdirSync } from "node:fs";
import {
  BufReader,
  ctrlC,
  fromPromise,
  isDisconnect,
  join,
  orUndefined,
  Runtime,
  race,
  retry,
  Semaphore,
  serve,
  signal,
  sleep,
  spawn,
  TcpListener,
  TcpStream,
  TimeoutError,
  timeout,
  withSignal,
} from "../src/index.ts";

const [port = "3000", upstreamUrl] = process.argv.slice(2);
const requestMs = Number(process.env.REQUEST_MS ?? 10_000);
const MAX_WORKING = 64;

// The names: a TCP service that answers each line in capitals. For "slow" it waits a minute first, or until its client
// goes away.
const nameListener = TcpListener.bind("127.0.0.1:0");

async function answerNames(stream: TcpStream): Promise<void> {
  const reader = new BufReader(stream);
  for await (const line of reader.lines({ maxBytes: 1024 })) {
    if (line.startsWith("slow")) await race(sleep(60_000), reader.fill());
    await stream.writeAll(`${line.toUpperCase()}\n`);
  }
}

async function nameOf(symbol: string): Promise<string> {
  using stream = await TcpStream.connect(nameListener.localAddress);
  await stream.writeAll(`${symbol}\n`);
  const name = await new BufReader(stream).readLine({ maxBytes: 1024 });
  if (name === null) throw new Error("the service of names answered nothing");
  return name;
}

// The prices: an HTTP upstream.
class UpstreamError extends Error {
  override readonly name = "UpstreamError";
}

/** Returns whether a service behind this one failed: it may answer next time. */
function isUpstreamFailure(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return error instanceof UpstreamError || isDisconnect(error) || code === "ECONNREFUSED";
}

async function priceOf(symbol: string): Promise<number> {
  const url = `${upstream}/${encodeURIComponent(symbol)}`;
  const response = await fromPromise((signal) => fetch(url, { signal }));
  if (!response.ok) throw new UpstreamError(`the upstream answered ${response.status}`);
  return Number(await fromPromise(response.text()));
}

// The counts: a table in memory.
const db = new Bun.SQL(":memory:");
await db`create table counts (symbol text primary key, count integer not null)`;

async function count(symbol: string): Promise<number> {
  const [row] = await db`
    insert into counts values (${symbol}, 1)
    on conflict (symbol) do update set count = count + 1
    returning count`;
  return row.count;
}

const slots = new Semaphore(MAX_WORKING, { name: "slots" });

async function quote(symbol: string): Promise<string> {
  using _ = await slots.acquire(); // a request that is cancelled leaves the queue, or releases its slot
  const [price, name] = await join(
    retry(() => priceOf(symbol), { times: 3, backoffMs: 10, jitter: 0.5, when: isUpstreamFailure }),
    () => nameOf(symbol),
  );
  return `${name} ${price}, asked ${await count(symbol)} times\n`;
}

function status(): Response {
  const { timers, sources } = Runtime.ambient().metrics();
  const fds = readdirSync("/proc/self/fd").length;
  const tasks = Runtime.ambient().tasks();
  return Response.json({ tasks, timers, sources, fds, slots: slots.available });
}

async function handle(request: Request): Promise<Response> {
  const { pathname } = new URL(request.url);
  if (pathname === "/status") return status();
  const match = /^\/quote\/([\w-]{1,50})$/.exec(pathname);
  if (match?.[1] === undefined) return new Response("not found\n", { status: 404 });
  const symbol = match[1];
  try {
    const quoting = withSignal(request.signal, () => quote(symbol));
    return new Response(await timeout(requestMs, quoting));
  } catch (error) {
    if (request.signal.aborted) return new Response(null, { status: 499 }); // nobody receives it
    if (error instanceof TimeoutError) return new Response("too late\n", { status: 504 });
    if (!isUpstreamFailure(error)) throw error;
    return new Response(`${(error as Error).message}\n`, { status: 502 });
  }
}

const stop = new AbortController();
const names = spawn(serve(nameListener, answerNames, { signal: stop.signal, graceMs: 0 }));
const ownUpstream =
  upstreamUrl === undefined
    ? Bun.serve({
        hostname: "127.0.0.1",
        port: 0,
        fetch: ({ url }) => new Response(`${new URL(url).pathname.length}`),
      })
    : null;
const upstream = ownUpstream?.url.origin ?? upstreamUrl;
const server = Bun.serve({ hostname: "127.0.0.1", port: Number(port), fetch: handle });
console.log(`listening on ${server.hostname}:${server.port}, pid ${process.pid}`);

const received = await race(ctrlC(), signal("SIGTERM"));
console.log(`${received}: finishing ${server.pendingRequests} requests`);
await orUndefined(1000, server.stop());
await server.stop(true);
stop.abort();
await names;
await ownUpstream?.stop(true);
await db.close();
console.log(`stopped, ${Runtime.ambient().tasks().length} tasks left`);
