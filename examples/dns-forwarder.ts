// A DNS forwarder: answers from a cache, asks an upstream server otherwise, and asks again if no answer comes.
//
//   bun run examples/dns-forwarder.ts [port] [upstream:port]     # 5353 and 127.0.0.53:53 by default; port 0: a free one
//   dig @127.0.0.1 -p 5353 example.com                           # in another terminal, twice
//
// You will see: "bound to 127.0.0.1:5353", and a line per query: "asked" with the attempt, "cached" for the second dig,
// "joined" for a query that came while the same one was in flight, or "failed" if the upstream server does not answer.

import {
  lookup,
  now,
  OnceCell,
  orUndefined,
  Runtime,
  type SocketAddress,
  spawn,
  UdpSocket,
} from "../src/index.ts";

const [port = "5353", upstream = "127.0.0.53:53"] = process.argv.slice(2);
const ATTEMPTS_MS = [500, 1000, 2000]; // how long each attempt waits
const MAX_CACHE_MS = 60_000;
const MAX_ENTRIES = 10_000;

/** An answer without its id, and when it expires. */
interface Entry {
  readonly answer: Uint8Array;
  readonly expiresMs: number;
}

const cache = new Map<string, Entry>();
/** The queries that wait for the upstream server. */
const inFlight = new Map<string, OnceCell<Uint8Array | undefined>>();

/** What was asked: all of a query but its id. It is the key of the cache. */
const keyOf = (query: Uint8Array): string => Buffer.from(query.subarray(2)).toString("latin1");

/**
 * Returns the query without the options of its OPT record (RFC 6891), which concern only the client and this server: with
 * the random cookie that dig sends (RFC 7873), no two queries would be alike. The rest of that record stays, because the
 * answer depends on it: whether there is one, the size of the answer, and the DO bit, which asks for signatures.
 */
function withoutOptions(query: Uint8Array): Uint8Array {
  let at = 12;
  while (query[at]) at += 1 + (query[at] ?? 0); // the labels of the name
  at += 5; // the end of the name, the type and the class
  const hasOnlyOpt = [0, 1, 0, 0, 0, 0, 0, 1].every((byte, index) => query[4 + index] === byte);
  if (!hasOnlyOpt || query[at] !== 0 || query[at + 1] !== 0 || query[at + 2] !== 41) return query;
  const copy = query.slice(0, at + 11);
  copy.fill(0, at + 9); // the length of the options
  return copy;
}

/** Returns `message` with the id of `query`. */
function withIdOf(query: Uint8Array, message: Uint8Array): Uint8Array {
  const copy = message.slice();
  copy.set(query.subarray(0, 2));
  return copy;
}

/** A SERVFAIL: the query itself, as a response with code 2. */
function failureOf(query: Uint8Array): Uint8Array {
  const copy = query.slice();
  copy[2] = (copy[2] ?? 0) | 0x80;
  copy[3] = ((copy[3] ?? 0) & 0xf0) | 2;
  return copy;
}

/** A SERVFAIL says nothing about the name: the next query may succeed. */
const isServerFailure = (answer: Uint8Array): boolean => ((answer[3] ?? 0) & 15) === 2;

/** A message of at least a header, and not a response: two servers that answer responses would never stop. */
const isQuery = (message: Uint8Array): boolean =>
  message.length >= 12 && ((message[2] ?? 0) & 0x80) === 0;

/** Asks the upstream server, again after each timeout, from a socket of its own: a random port makes forgery hard. */
function* ask(query: Uint8Array, server: SocketAddress) {
  const buffer = new Uint8Array(4096);
  for (const [attempt, timeoutMs] of ATTEMPTS_MS.entries()) {
    console.log(`asked upstream, attempt ${attempt + 1}`);
    const hostname = server.hostname.includes(":") ? "::" : "0.0.0.0";
    using socket = UdpSocket.bind({ hostname, port: 0 });
    socket.connect(server);
    try {
      const answer = yield* orUndefined(timeoutMs, function* () {
        yield* socket.send(query);
        for (;;) {
          const { bytes } = yield* socket.recv(buffer);
          // Another id is a late answer to somebody else, or a forgery.
          if (bytes >= 12 && buffer[0] === query[0] && buffer[1] === query[1])
            return buffer.slice(0, bytes);
        }
      });
      if (answer !== undefined) return answer;
    } catch (error) {
      console.log((error as Error).message); // ECONNREFUSED: no server there, for now
    }
  }
  console.log("failed: the upstream server does not answer");
  return undefined;
}

function* resolve(query: Uint8Array, server: SocketAddress) {
  const key = keyOf(query);
  const entry = cache.get(key);
  if (entry !== undefined && entry.expiresMs > now()) {
    console.log("cached");
    return withIdOf(query, entry.answer);
  }
  let cell = inFlight.get(key);
  if (cell === undefined) {
    cell = new OnceCell();
    inFlight.set(key, cell);
  } else console.log("joined a query in flight");
  try {
    const answer = yield* cell.getOrInit(() => ask(query, server));
    if (answer === undefined) return failureOf(query);
    if (isServerFailure(answer)) return withIdOf(query, answer);
    if (cache.size >= MAX_ENTRIES) cache.clear();
    // A real cache honors the TTLs of the records; this one keeps every answer for at most a minute.
    cache.set(key, { answer, expiresMs: now() + MAX_CACHE_MS });
    return withIdOf(query, answer);
  } finally {
    inFlight.delete(key);
  }
}

function* forward(
  socket: UdpSocket,
  query: Uint8Array,
  client: SocketAddress,
  server: SocketAddress,
) {
  try {
    yield* socket.sendTo(yield* resolve(query, server), client);
  } catch (error) {
    console.log(`${client.hostname}:${client.port}: ${(error as Error).message}`); // only this query fails
  }
}

using runtime = new Runtime({ onUncaught: "report" });
runtime.blockOn(function* () {
  const at = upstream.lastIndexOf(":");
  const [address] = yield* lookup(upstream.slice(0, at).replace(/^\[|\]$/g, ""));
  const server = { hostname: address?.address ?? "", port: Number(upstream.slice(at + 1)) };
  using socket = UdpSocket.bind({ hostname: "127.0.0.1", port: Number(port) });
  console.log(`bound to 127.0.0.1:${socket.localAddress.port}`);
  for (;;) {
    for (const { data, address } of yield* socket.recvMany()) {
      const query = withoutOptions(data);
      if (isQuery(query)) spawn(() => forward(socket, query, address, server)).detach();
    }
  }
});
