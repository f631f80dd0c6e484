import { describe, expect, test } from "bun:test";
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import fc from "fast-check";
import { Redis } from "ioredis";
import {
  type ByteStream,
  duplex,
  Runtime,
  sleep,
  spawn,
  TcpListener,
  TcpStream,
  toDuplex,
} from "../../src/index.ts";
import { newFds, openFds } from "../support/fds.ts";
import { ambientWaits, untilAmbientIdle } from "../support/idle.ts";
import { start } from "../support/program.ts";
import { streamPair } from "../support/sockets.ts";

/** Reads to the end. (`for await` would destroy the duplex at the end, with its writes.) */
async function bytesOf(stream: Duplex): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  stream.on("data", (chunk) => chunks.push(chunk));
  await once(stream, "end");
  return Buffer.concat(chunks);
}

describe("toDuplex", () => {
  test("reads to the end and writes, half-closes, and closes the stream once both sides have ended", async () => {
    const [ours, peer] = duplex({ capacity: 4 });
    const socket = toDuplex(ours, { allowHalfOpen: true });
    const received = spawn(async () => {
      let text = "";
      for (let chunk = await peer.readChunk(); chunk !== null; chunk = await peer.readChunk()) {
        text += Buffer.from(chunk).toString();
      }
      await peer.writeAll(`got ${text}`);
      peer.shutdown();
    });
    socket.write("hello ");
    socket.cork(); // makes one `writev` of two writes
    socket.write("wor");
    socket.write("ld");
    socket.uncork();
    socket.end("!");
    expect((await bytesOf(socket)).toString()).toBe("got hello world!");
    await received;
    if (!socket.closed) await once(socket, "close");
    await expect(Promise.resolve(ours.readChunk())).rejects.toMatchObject({
      code: "ERR_SOCKET_CLOSED",
    });
  });

  test("keeps the writable side open after the end if allowHalfOpen is true", async () => {
    for (const allowHalfOpen of [true, false]) {
      const [ours, peer] = duplex();
      const socket = toDuplex(ours, allowHalfOpen ? { allowHalfOpen } : {});
      peer.shutdown();
      socket.resume();
      await once(socket, "end");
      await untilAmbientIdle();
      expect([socket.writable, socket.destroyed]).toEqual([allowHalfOpen, !allowHalfOpen]);
      socket.destroy();
    }
  });

  test("a write waits until the peer has made room", async () => {
    const [ours, peer] = duplex({ capacity: 4 });
    const socket = toDuplex(ours);
    let isWritten = false;
    socket.write("12345678", () => {
      isWritten = true;
    });
    await untilAmbientIdle();
    expect([isWritten, socket.writableLength]).toEqual([false, 8]);
    while (!isWritten) await peer.readChunk();
    expect(socket.writableLength).toBe(0);
    socket.destroy();
  });

  test("stops reading once its buffer is full", async () => {
    const [ours, peer] = duplex({ capacity: 65_536 });
    const socket = toDuplex(ours);
    let written = 0;
    const writing = spawn(async () => {
      for (;;) {
        await peer.writeAll(new Uint8Array(65_536));
        written += 65_536;
      }
    });
    socket.once("readable", () => {});
    await untilAmbientIdle();
    expect(written).toBeLessThan(65_536 * 6);
    const before = written;
    await untilAmbientIdle();
    expect(written).toBe(before);
    socket.read();
    while (written === before) await Bun.sleep(0);
    writing.abort();
    socket.destroy();
    await writing.then(null, () => {});
  });

  test("destroy() drops what waits, closes the stream, and emits the error", async () => {
    const [ours, peer] = duplex({ capacity: 4 });
    const socket = toDuplex(ours);
    socket.resume();
    socket.write("12345678");
    await untilAmbientIdle();
    expect(ambientWaits().sort()).toEqual(["read of a duplex stream", "write to a duplex stream"]);
    const failed = once(socket, "error");
    socket.destroy(new Error("enough"));
    expect((await failed)[0].message).toBe("enough");
    await untilAmbientIdle();
    expect(ambientWaits()).toEqual([]);
    await peer.readChunk();
    expect(await peer.readChunk()).toBeNull();
  });

  test("an error of the stream destroys the duplex with it", async () => {
    const [reading] = duplex();
    reading.close();
    const readable = toDuplex(reading);
    readable.resume();
    expect((await once(readable, "error"))[0]).toMatchObject({ code: "ERR_SOCKET_CLOSED" });
    const [writing, peer] = duplex();
    peer.close();
    const writable = toDuplex(writing);
    writable.write("x");
    expect((await once(writable, "error"))[0]).toMatchObject({ code: "EPIPE" });
    expect([readable.destroyed, writable.destroyed]).toEqual([true, true]);
  });

  test("refuses what is not a byte stream", () => {
    expect(() => toDuplex({} as ByteStream)).toThrow(
      "toDuplex: stream must have a method readChunk",
    );
  });
});

test("two duplexes over TCP pipe into each other and leave no fd", async () => {
  await using runtime = new Runtime();
  const before = openFds();
  const data = Buffer.alloc(1_000_000, "0123456789");
  await runtime.run(async () => {
    const [client, server] = await spawn(streamPair());
    const socket = toDuplex(client, { allowHalfOpen: true });
    const echoing = toDuplex(server, { allowHalfOpen: true });
    const echo = pipeline(echoing, echoing);
    socket.end(data);
    expect((await bytesOf(socket)).equals(data)).toBe(true);
    await echo;
  });
  expect(newFds(before).filter((target) => target.startsWith("socket"))).toEqual([]);
});

test("any chunks and capacities arrive unchanged, in both directions", async () => {
  const chunks = fc.array(fc.uint8Array({ minLength: 1, maxLength: 50 }), { maxLength: 15 });
  await fc.assert(
    fc.asyncProperty(
      chunks,
      chunks,
      fc.integer({ min: 1, max: 64 }),
      async (there, back, capacity) => {
        const [ours, peer] = duplex({ capacity });
        const sockets = [ours, peer].map((one) => toDuplex(one, { allowHalfOpen: true }));
        const received = await Promise.all(
          sockets.map(async (socket, index) => {
            for (const chunk of index === 0 ? there : back) socket.write(chunk);
            socket.end();
            return await bytesOf(socket);
          }),
        );
        expect(received).toEqual([Buffer.concat(back), Buffer.concat(there)]);
      },
    ),
    { numRuns: 50 },
  );
  await untilAmbientIdle();
  expect(ambientWaits()).toEqual([]);
});

const redisServer = Bun.which("redis-server");
if (redisServer === null)
  console.log("skipped: ioredis over toDuplex: redis-server is not installed");

test.skipIf(redisServer === null)("ioredis talks to a Redis server over toDuplex", async () => {
  const port = (() => {
    using listener = TcpListener.bind("127.0.0.1:0");
    return listener.localAddress.port;
  })();
  const config = [
    "--port",
    String(port),
    "--bind",
    "127.0.0.1",
    "--save",
    "",
    "--appendonly",
    "no",
  ];
  await using server = start(["redis-server", ...config]);
  await using runtime = new Runtime();
  await runtime.run(async () => {
    for (;;) {
      try {
        (await TcpStream.connect({ hostname: "127.0.0.1", port })).close();
        break;
      } catch {
        await sleep(10); // it is not listening yet
      }
    }
    const sockets: Duplex[] = [];
    class Connector {
      check(): boolean {
        return true;
      }
      async connect(): Promise<Duplex> {
        const socket = toDuplex(await TcpStream.connect({ hostname: "127.0.0.1", port }));
        sockets.push(socket);
        return socket;
      }
      disconnect(): void {
        for (const socket of sockets) socket.end();
      }
    }
    const redis = new Redis({ Connector: Connector as never, keepAlive: 60_000 });
    expect(await redis.set("key", "value")).toBe("OK");
    expect(await redis.get("key")).toBe("value");
    const large = "x".repeat(1_000_000);
    await redis.set("large", large);
    expect(await redis.get("large")).toBe(large);
    const many = await Promise.all(Array.from({ length: 500 }, () => redis.incr("counter")));
    expect(many.at(-1)).toBe(500);
    await redis.quit();
    for (const socket of sockets) if (!socket.closed) await once(socket, "close");
  });
  expect(server.output()).toContain("Ready to accept connections");
});
