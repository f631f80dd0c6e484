// examples/mini-redis.ts beside the real Redis: the same bytes to both must return the same bytes. And with redis-cli and
// redis-benchmark as its clients.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { connect, type Socket } from "node:net";
import fc from "fast-check";
import { type Program, run, start } from "./support/program.ts";
import { freePort } from "./support/sockets.ts";

setDefaultTimeout(60_000); // the machine may be slow

const isInstalled = ["redis-server", "redis-cli", "redis-benchmark"].every((name) =>
  Bun.which(name),
);
if (!isInstalled)
  console.log(
    "skipped: tests with redis-server, redis-cli and redis-benchmark, which are not installed",
  );

async function startMiniRedis(): Promise<{ server: Program; port: number }> {
  const server = start(["bun", "run", "examples/mini-redis.ts", "0"]);
  const [, port] = await server.until(/listening on 127\.0\.0\.1:(\d+)/);
  return { server, port: Number(port) };
}

/** Starts a real Redis on a port that was free. */
async function startRedis(): Promise<{ server: Program; port: number }> {
  const port = freePort();
  const server = start(["redis-server", "--port", `${port}`, "--save", "", "--bind", "127.0.0.1"]);
  await server.until(/Ready to accept connections/);
  return { server, port };
}

/** A client that sends bytes and returns what comes back until a reply to `ECHO <marker>`, or the end. */
class Client {
  readonly #socket: Socket;
  #received = "";
  #wake = (): void => {};
  hasEnded = false;

  constructor(port: number) {
    this.#socket = connect(port, "127.0.0.1");
    this.#socket.setEncoding("latin1");
    this.#socket.on("data", (text) => {
      this.#received += text;
      this.#wake();
    });
    this.#socket.on("error", () => {});
    this.#socket.on("close", () => {
      this.hasEnded = true;
      this.#wake();
    });
  }

  send(text: string): void {
    this.#socket.write(text, "latin1");
  }

  /** Returns everything received until `text` has come, or until the server has closed the connection. */
  async until(text: string): Promise<string> {
    while (!this.#received.includes(text) && !this.hasEnded) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const received = this.#received;
    this.#received = "";
    return received;
  }

  /** Stops reading, as a client that is too slow does. */
  pause(): void {
    this.#socket.pause();
  }

  close(): void {
    this.#socket.destroy();
  }
}

const resp = (words: string[]): string =>
  `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word, "latin1")}\r\n${word}\r\n`).join("")}`;

const key = fc.constantFrom("a", "b", "c", "\x00\xff\r\n");
const value = fc.oneof(
  fc.constantFrom("0", "41", "-7", "9223372036854775807", "x", ""),
  fc.string(),
);
const words = fc.oneof(
  fc.tuple(fc.constant("SET"), key, value),
  fc.tuple(fc.constant("set"), key, value, fc.constantFrom("NX", "XX", "nx", "WRONG")),
  fc.tuple(
    fc.constant("SET"),
    key,
    value,
    fc.constantFrom("EX", "PX"),
    fc.constantFrom("1000000", "0", "-1", "x"),
  ),
  fc.tuple(fc.constant("GET"), key),
  fc.tuple(fc.constant("DEL"), key, key),
  fc.tuple(fc.constant("EXISTS"), key, key),
  fc.tuple(fc.constant("INCR"), key),
  fc.tuple(fc.constant("EXPIRE"), key, fc.constantFrom("1000000", "0", "-5", "x")),
  fc.tuple(fc.constant("TTL"), key),
  fc.tuple(fc.constant("ECHO"), value),
  fc.tuple(fc.constant("PING")),
  fc.tuple(fc.constant("PUBLISH"), key, value),
  fc.tuple(
    fc.constantFrom("GET", "SET", "INCR", "TTL", "EXPIRE", "DEL", "ECHO", "PUBLISH", "SUBSCRIBE"),
  ),
  fc.tuple(fc.constant("NOSUCH"), fc.constantFrom("x", "y z")),
) as fc.Arbitrary<string[]>;

describe.skipIf(!isInstalled)("beside redis-server", () => {
  test("any pipeline of commands returns the same bytes, however it is split", async () => {
    const mini = await startMiniRedis();
    await using _mini = mini.server;
    const redis = await startRedis();
    await using _redis = redis.server;
    const clients = [new Client(mini.port), new Client(redis.port)];
    let round = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(words, { maxLength: 30 }),
        fc.array(fc.integer({ min: 1, max: 200 }), { maxLength: 5 }),
        async (commands, splits) => {
          const marker = `end of round ${++round}`;
          const reset = resp(["DEL", "a", "b", "c", "\x00\xff\r\n"]);
          const text = [reset, ...commands.map(resp), resp(["ECHO", marker])].join("");
          const replies = await Promise.all(
            clients.map(async (client) => {
              let at = 0;
              for (const size of splits) {
                client.send(text.slice(at, at + size));
                at += size;
                await new Promise((resolve) => setImmediate(resolve));
              }
              client.send(text.slice(at));
              return await client.until(marker);
            }),
          );
          expect(replies[0]).toBe(replies[1] as string);
        },
      ),
      { numRuns: 200 },
    );
    for (const client of clients) client.close();
  });

  test.each([
    ["*1\r\n+PING\r\n"],
    ["*-x\r\n"],
    ["*99999999999\r\n"],
    ["*1\r\n$-1\r\n"],
    ["*1\r\n$x\r\n"],
    ["PING\r\n*2\r\n$4\r\nECHO\r\n!\r\n"],
  ])(
    "a protocol error, %j, gets the same answer, and closes only that connection",
    async (text) => {
      const mini = await startMiniRedis();
      await using _mini = mini.server;
      const redis = await startRedis();
      await using _redis = redis.server;
      const replies = await Promise.all(
        [mini.port, redis.port].map(async (port) => {
          const client = new Client(port);
          client.send(text);
          const reply = await client.until("never");
          expect(client.hasEnded).toBe(true);
          return reply;
        }),
      );
      expect(replies[0]).toBe(replies[1] as string);
      const { output } = await run(["redis-cli", "-p", `${mini.port}`, "ping"]);
      expect(output).toBe("PONG\n");
    },
  );

  test("redis-cli publishes to redis-cli, and inline commands end with LF or CRLF", async () => {
    const { server, port } = await startMiniRedis();
    await using _ = server;
    await using subscriber = start(["redis-cli", "-p", `${port}`, "subscribe", "news", "more"]);
    await subscriber.until(/more\n2\n/);
    const { output } = await run(["redis-cli", "-p", `${port}`, "publish", "news", "hello there"]);
    expect(output).toBe("1\n");
    await subscriber.until(/message\nnews\nhello there\n/);
    const client = new Client(port);
    client.send("SET  k   v\nGET k\r\n\r\nNOSUCH\nQUIT\nGET k\n");
    expect(await client.until("never")).toBe(
      "+OK\r\n$1\r\nv\r\n-ERR unknown command 'NOSUCH', with args beginning with: \r\n+OK\r\n",
    );
  });

  test("redis-benchmark completes with and without pipelining", async () => {
    const { server, port } = await startMiniRedis();
    await using _ = server;
    for (const pipeline of ["1", "16"]) {
      const { code, output } = await run([
        ...["redis-benchmark", "-p", `${port}`, "-t", "ping_inline,ping_mbulk,set,get,incr"],
        ...["-n", "5000", "-P", pipeline, "-q"],
      ]);
      expect(code).toBe(0);
      expect([...output.matchAll(/requests per second/g)]).toHaveLength(5);
    }
    expect(server.output()).not.toContain("failed");
  });
});

test("a protocol error is answered although the client still sends", async () => {
  const { server, port } = await startMiniRedis();
  await using _ = server;
  const client = new Client(port);
  client.send(`*1\r\n$${1024 * 1024 + 1}\r\n`);
  client.send("x".repeat(3_000_000));
  expect(await client.until("\r\n")).toBe("-ERR Protocol error: invalid bulk length\r\n");
  client.close();
});

test("a subscriber that reads receives a pipeline of publishes, and stays connected", async () => {
  const { server, port } = await startMiniRedis();
  await using _ = server;
  const subscriber = new Client(port);
  subscriber.send("SUBSCRIBE news\r\n");
  await subscriber.until(":1\r\n");
  const publisher = new Client(port);
  publisher.send(`${resp(["PUBLISH", "news", "x"]).repeat(20_000)}PUBLISH news last\r\n`);
  const message = resp(["message", "news", "x"]);
  expect((await subscriber.until("last\r\n")).length).toBe(
    20_000 * message.length + resp(["message", "news", "last"]).length,
  );
  for (const client of [subscriber, publisher]) client.close();
});

test("a subscriber that does not read is disconnected, and others still receive", async () => {
  const { server, port } = await startMiniRedis();
  await using _ = server;
  const slow = new Client(port);
  slow.send("SUBSCRIBE news\r\n");
  await slow.until("news");
  slow.pause();
  const fast = new Client(port);
  fast.send("SUBSCRIBE news\r\n");
  await fast.until("news");
  const publisher = new Client(port);
  const message = "x".repeat(100_000);
  let received = 0;
  for (let subscribers = 2; subscribers > 1; ) {
    publisher.send(resp(["PUBLISH", "news", message]));
    subscribers = Number(/:(\d)/.exec(await publisher.until("\r\n"))?.[1]);
    received += (await fast.until(message)).length;
  }
  expect(received).toBeGreaterThan(32 * 1024 * 1024);
  for (const client of [slow, fast, publisher]) client.close();
});

test("Ctrl-C stops the server, with clients connected", async () => {
  const { server, port } = await startMiniRedis();
  await using _ = server;
  const client = new Client(port);
  client.send("PING\r\n");
  await client.until("PONG");
  process.kill(server.pid, "SIGINT");
  expect(await server.exited).toBe(0);
  client.close();
});
