import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  type ByteStream,
  duplex,
  fromReadable,
  fromWritable,
  intoFuture,
  Runtime,
  race,
  sleep,
  spawn,
  TcpListener,
  TcpStream,
  timeout,
  toReadable,
  toWritable,
  WebWriter,
} from "../../src/index.ts";
import { newFds, openFds } from "../support/fds.ts";
import { ambientWaits, untilAmbientIdle, untilIdle } from "../support/idle.ts";
import { run } from "../support/program.ts";
import { streamPair } from "../support/sockets.ts";
import { sleepThen } from "../support/work.ts";

const text = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString();

describe("toReadable", () => {
  test("returns the bytes up to the end, and leaves the stream open", async () => {
    const [ours, peer] = duplex({ capacity: 4 });
    const reading = new Response(toReadable(ours)).text();
    await peer.writeAll("hello world");
    peer.shutdown();
    expect(await reading).toBe("hello world");
    await ours.writeAll("yes");
    expect(text((await peer.readChunk()) ?? undefined)).toBe("yes");
  });

  test("closes the stream at the end if `closeAtEnd` is true", async () => {
    const [ours, peer] = duplex();
    peer.shutdown();
    await new Response(toReadable(ours, { closeAtEnd: true })).text();
    await expect(Promise.resolve(ours.writeAll("x"))).rejects.toMatchObject({
      code: "ERR_SOCKET_CLOSED",
    });
  });

  test("closes the stream after an error if `closeAtEnd` is true, and so does toWritable", async () => {
    for (const closeAtEnd of [true, false]) {
      let closes = 0;
      const fail = () =>
        intoFuture(function* () {
          yield* sleep(0);
          throw new Error("broken");
        });
      const failing = {
        readChunk: fail,
        writeAll: fail,
        close: () => closes++,
      };
      const reading = toReadable(failing as never, { closeAtEnd })
        .getReader()
        .read();
      await expect(reading).rejects.toThrow("broken");
      const writer = toWritable(failing as never, { closeAtEnd }).getWriter();
      writer.closed.catch(() => {});
      await expect(writer.write("x")).rejects.toThrow("broken");
      expect(closes).toBe(closeAtEnd ? 2 : 0);
    }
  });

  test("closes the stream after a chunk that a web stream refuses, and so does toWritable", async () => {
    let closes = 0;
    const stream = { readChunk: () => sleepThen(0, new Uint8Array(0)), writeAll: () => sleep(0) };
    const closable = { ...stream, close: () => closes++ } as never;
    const reader = toReadable(closable, { closeAtEnd: true }).getReader();
    await expect(reader.read()).rejects.toThrow(TypeError);
    expect(closes).toBe(1);
    const writer = toWritable(closable, { closeAtEnd: true }).getWriter();
    writer.closed.catch(() => {});
    await expect(writer.write(5 as never)).rejects.toThrow(TypeError);
    expect(closes).toBe(2);
  });

  test("fills the buffer of a BYOB read, and ends one that waits", async () => {
    const [ours, peer] = duplex({ capacity: 4 });
    const reader = toReadable(ours).getReader({ mode: "byob" });
    const first = reader.read(new Uint8Array(10));
    await untilAmbientIdle();
    await peer.writeAll("abcd");
    const { value } = await first;
    expect([text(value), value?.buffer.byteLength]).toEqual(["abcd", 10]);
    await peer.writeAll("efgh");
    expect(text((await reader.read(new Uint8Array(3))).value)).toBe("efg"); // the rest waits for the next read
    expect(text((await reader.read(new Uint8Array(3))).value)).toBe("h");
    const last = reader.read(new Uint8Array(3));
    await untilAmbientIdle();
    peer.shutdown();
    expect((await last).done).toBe(true);
    await reader.closed;
  });

  test("reads nothing before a consumer asks", async () => {
    const [ours, peer] = duplex({ capacity: 4 });
    const reader = toReadable(ours).getReader();
    await peer.writeAll("abcd");
    await untilAmbientIdle();
    const blocked = spawn(peer.writeAll("e"));
    await untilAmbientIdle();
    expect(blocked.isFinished).toBe(false); // the four bytes are still in the pipe
    expect(text((await reader.read()).value)).toBe("abcd");
    await blocked;
  });

  test.each([undefined, "byob"] as const)(
    "cancel() drops the read that waits and closes the stream (mode %p)",
    async (mode) => {
      const [ours, peer] = duplex();
      const stream = toReadable(ours);
      const reader = mode === undefined ? stream.getReader() : stream.getReader({ mode });
      const read = (reader as ReadableStreamBYOBReader).read(new Uint8Array(4));
      await untilAmbientIdle();
      expect(ambientWaits()).toEqual(["read of a duplex stream"]);
      await reader.cancel();
      expect((await read).done).toBe(true);
      await untilAmbientIdle();
      expect(ambientWaits()).toEqual([]);
      expect(await peer.readChunk()).toBeNull();
    },
  );

  test("an error of the reader errors the stream", async () => {
    const [ours] = duplex();
    ours.close();
    const reading = toReadable(ours).getReader().read();
    await expect(reading).rejects.toMatchObject({ code: "ERR_SOCKET_CLOSED" });
  });

  test("refuses what has no readChunk", () => {
    expect(() => toReadable({} as ByteStream)).toThrow(
      "toReadable: reader must have a method readChunk; got an instance of Object",
    );
  });
});

describe("toWritable", () => {
  test("writes bytes of every kind and text, waits for room, and shuts down at its close", async () => {
    const [ours, peer] = duplex({ capacity: 2 });
    const reading = new Response(toReadable(peer)).text();
    const writer = toWritable(ours).getWriter();
    await writer.write("é");
    await writer.write(Buffer.from("bc"));
    await writer.write(new DataView(new Uint8Array([0, 100, 101, 0]).buffer, 1, 2) as never);
    await writer.write(new Uint8Array([102]).buffer as never);
    await writer.close();
    expect(await reading).toBe("ébcdef");
    expect(await Promise.race([ours.readChunk().then(), Bun.sleep(0)])).toBeUndefined(); // still open
    ours.close();
  });

  test("a write waits until the peer has made room", async () => {
    const [ours, peer] = duplex({ capacity: 2 });
    const writer = toWritable(ours).getWriter();
    let isWritten = false;
    const write = writer.write("abc").then(() => {
      isWritten = true;
    });
    await untilAmbientIdle();
    expect([isWritten, writer.desiredSize]).toEqual([false, 0]);
    await peer.readChunk();
    await write;
  });

  test("abort() drops the write in progress, rejects it, and closes the stream", async () => {
    const [ours, peer] = duplex({ capacity: 2 });
    const writer = toWritable(ours).getWriter();
    writer.closed.catch(() => {});
    const write = writer.write("abc");
    const outcome = write.catch((error) => error);
    await untilAmbientIdle();
    expect(ambientWaits()).toEqual(["write to a duplex stream"]);
    await writer.abort("why");
    expect(await outcome).toBe("why");
    await untilAmbientIdle();
    expect(ambientWaits()).toEqual([]);
    expect(text((await peer.readChunk()) ?? undefined)).toBe("ab");
    expect(await peer.readChunk()).toBeNull();
  });

  test("a failed write errors the stream, and so does a chunk of another type", async () => {
    const [ours, peer] = duplex();
    peer.close();
    const writer = toWritable(ours).getWriter();
    writer.closed.catch(() => {});
    await expect(writer.write("x")).rejects.toMatchObject({ code: "EPIPE" });
    const [other] = duplex();
    const second = toWritable(other).getWriter();
    second.closed.catch(() => {});
    await expect(second.write(5 as never)).rejects.toThrow(TypeError);
  });
});

describe("the web streams of a TcpStream", () => {
  test("are the same objects each time, and close the socket once both have ended", async () => {
    await using runtime = new Runtime();
    const before = openFds();
    await runtime.run(async () => {
      const [ours, peer] = await spawn(streamPair());
      expect(ours.readable).toBe(ours.readable);
      expect(ours.writable).toBe(ours.writable);
      const writer = ours.writable.getWriter();
      await writer.write("ping");
      await writer.close();
      expect(await new Response(peer.readable).text()).toBe("ping");
      await peer.writeAll("pong"); // its readable has ended, its writable was never used
      peer.close();
      expect(await new Response(ours.readable).text()).toBe("pong");
      expect(() => ours.localAddress).toThrow("closed");
    });
    expect(newFds(before).filter((target) => target.startsWith("socket"))).toEqual([]);
  });

  test("pipe into each other with pipeTo, in blockOn and in guest mode", async () => {
    const echo = async (): Promise<string> => {
      const [client, server] = await spawn(streamPair());
      const piping = server.readable.pipeTo(server.writable);
      const writing = (async () => {
        const writer = client.writable.getWriter();
        for (let count = 0; count < 100; count++) await writer.write("0123456789".repeat(100));
        await writer.close();
      })();
      const received = await new Response(client.readable).text();
      await Promise.all([piping, writing]);
      return received;
    };
    const expected = "0123456789".repeat(10_000);
    await using guest = new Runtime();
    expect(await guest.run(echo)).toBe(expected);
    using blocking = new Runtime();
    expect(blocking.blockOn(echo)).toBe(expected);
    expect(await echo()).toBe(expected);
  });

  test("move to the runtime that holds the thread", () => {
    const [ours, peer] = duplex({ capacity: 3 });
    const readable = toReadable(ours); // outside any runtime
    const writer = toWritable(peer).getWriter();
    using runtime = new Runtime();
    const received = runtime.blockOn(async () => {
      const writing = writer.write("hello").then(() => writer.close());
      let all = "";
      for await (const chunk of readable) all += text(chunk);
      await writing;
      return all;
    });
    expect(received).toBe("hello");
  });

  test("do not belong to the async function that reads: its cancellation loses no data", async () => {
    const [ours, peer] = duplex();
    const reader = toReadable(ours).getReader();
    let pending: Promise<{ value?: Uint8Array | undefined }> | undefined;
    const work = async () => {
      pending = reader.read();
      await sleep(60_000);
    };
    await expect(Promise.resolve(timeout(5, work))).rejects.toMatchObject({ name: "TimeoutError" });
    await peer.writeAll("kept");
    expect(text((await pending)?.value)).toBe("kept");
  });

  test("are the body of a Response that Bun.serve sends, to fetch and to curl", async () => {
    using listener = TcpListener.bind("127.0.0.1:0");
    const upstream = spawn(async () => {
      for await (const stream of listener) {
        await stream.writeAll("from upstream ".repeat(10_000));
        stream.close();
      }
    });
    await using server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      async fetch() {
        const stream = await TcpStream.connect(listener.localAddress);
        return new Response(toReadable(stream, { closeAtEnd: true }));
      },
    });
    const expected = "from upstream ".repeat(10_000);
    expect(await (await fetch(server.url)).text()).toBe(expected);
    if (Bun.which("curl") === null) console.log("skipped: curl is not installed");
    else {
      const { code, output } = await run(["curl", "-sS", "--noproxy", "*", String(server.url)]);
      expect(code).toBe(0);
      expect(output).toBe(expected);
    }
    upstream.abort();
    await expect(Promise.resolve(upstream)).rejects.toMatchObject({ name: "AbortError" });
  });

  test("end when the client of a Response goes away", async () => {
    await using runtime = new Runtime();
    await runtime.run(async () => {
      const [ours, peer] = await spawn(streamPair());
      await using server = Bun.serve({
        hostname: "127.0.0.1",
        port: 0,
        fetch: () => new Response(ours.readable),
      });
      const controller = new AbortController();
      const responding = fetch(server.url, { signal: controller.signal });
      await peer.writeAll("first"); // Bun sends the headers with the first chunk
      const response = await responding;
      const reader = response.body!.getReader();
      expect(text((await reader.read()).value)).toBe("first");
      controller.abort();
      expect(await peer.readChunk()).toBeNull(); // the server cancelled the body, which closed the stream
      peer.close();
    });
  });
});

describe("fromReadable", () => {
  test("reads the body of a fetch", async () => {
    await using server = Bun.serve({ port: 0, fetch: () => new Response("a body") });
    const response = await fetch(server.url);
    using reader = fromReadable(response.body!);
    const chunks: string[] = [];
    for (;;) {
      const chunk = await reader.readChunk();
      if (chunk === null) break;
      chunks.push(text(chunk));
    }
    expect(chunks.join("")).toBe("a body");
    expect(await reader.read(new Uint8Array(1))).toBe(0);
  });

  test("keeps a chunk that arrives for a dropped read", async () => {
    let enqueue!: (chunk: unknown) => void;
    const readable = new ReadableStream({
      start: (controller) => {
        enqueue = (chunk) => controller.enqueue(chunk);
      },
    });
    using reader = fromReadable(readable);
    await expect(Promise.resolve(timeout(1, reader.readChunk()))).rejects.toMatchObject({
      name: "TimeoutError",
    });
    enqueue("first");
    enqueue(new Uint16Array([0x6261]));
    await Bun.sleep(0);
    expect(text((await reader.readChunk({ maxBytes: 2 })) ?? undefined)).toBe("fi");
    const buffer = new Uint8Array(16);
    expect(text(buffer.subarray(0, await reader.read(buffer)))).toBe("rst");
    expect(text((await reader.readChunk()) ?? undefined)).toBe("ab");
  });

  test("throws RangeError if the buffer shrinks to nothing while it waits, and leaves the data", async () => {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    using reader = fromReadable(readable);
    const buffer = new Uint8Array(new ArrayBuffer(8, { maxByteLength: 8 }));
    const reading = reader.read(buffer).then();
    buffer.buffer.resize(0);
    void writable.getWriter().write(Buffer.from("data"));
    await expect(reading).rejects.toThrow("buffer must hold at least one byte; got an empty one");
    expect(text((await reader.readChunk()) ?? undefined)).toBe("data");
  });

  test("throws the error of the stream each time, and refuses chunks that are not bytes", async () => {
    using failing = fromReadable(
      new ReadableStream({ start: (controller) => controller.error(new Error("broken")) }),
    );
    for (let count = 0; count < 2; count++) {
      await expect(Promise.resolve(failing.readChunk())).rejects.toThrow("broken");
    }
    using objects = fromReadable(
      new ReadableStream({ start: (controller) => controller.enqueue({ a: 1 }) }),
    );
    await expect(Promise.resolve(objects.readChunk())).rejects.toThrow("must be a Uint8Array");
  });

  test("close() cancels the stream, and a pending read throws ClosedError", async () => {
    let reason: unknown = "not cancelled";
    const reader = fromReadable(
      new ReadableStream({
        cancel: (given) => {
          reason = given;
        },
      }),
    );
    const read = reader.readChunk().then();
    reader.close();
    await expect(read).rejects.toMatchObject({ code: "ERR_SOCKET_CLOSED" });
    expect(reason).toBeUndefined();
  });

  test("warns in blockOn about a stream that needs Bun's own loop", () => {
    using runtime = new Runtime();
    using reader = fromReadable(new ReadableStream());
    expect(() => runtime.blockOn(reader.readChunk())).toThrow("needs Bun's own loop");
  });
});

describe("fromWritable", () => {
  test("writes through a CompressionStream", async () => {
    const { readable, writable } = new CompressionStream("gzip");
    const compressed = new Response(readable).bytes();
    using writer = fromWritable(writable as WritableStream<Uint8Array>);
    await writer.writeAll("hello ");
    await writer.writeAll(Buffer.from("world!!"), 5);
    expect(await writer.write(Buffer.from("."))).toBe(1);
    writer.shutdown();
    expect(text(Bun.gunzipSync(new Uint8Array(await compressed)))).toBe("hello world.");
    await expect(Promise.resolve(writer.writeAll("x"))).rejects.toMatchObject({
      code: "ERR_SOCKET_CLOSED",
    });
  });

  test("a dropped write has written nothing, and what it was to write may change afterwards", async () => {
    const written: string[] = [];
    let release!: () => void;
    const writable = new WritableStream<Uint8Array>({
      async write(chunk) {
        if (written.length === 0) await new Promise<void>((resolve) => (release = resolve));
        written.push(text(chunk));
      },
    });
    const writer = fromWritable(writable);
    const data = Buffer.from("a");
    await writer.write(data);
    data.fill("x");
    await expect(Promise.resolve(timeout(1, writer.write(Buffer.from("lost"))))).rejects.toThrow();
    release();
    await writer.writeAll("b");
    expect(written).toEqual(["a", "b"]);
  });

  test("a write whose data shrinks to nothing while it waits throws RangeError, and writes nothing", async () => {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    using reader = fromReadable(readable);
    using writer = fromWritable(writable);
    expect(await writer.write(Buffer.from("first"))).toBe(5);
    const data = new Uint8Array(new ArrayBuffer(8, { maxByteLength: 8 }));
    const writing = writer.write(data).then();
    data.buffer.resize(0);
    expect(text((await reader.readChunk()) ?? undefined)).toBe("first");
    await expect(writing).rejects.toThrow("data must hold at least one byte; got an empty one");
    writer.shutdown();
    expect(await reader.readChunk()).toBeNull();
  });

  test("writes to a stream without room share one wait, also when they are dropped", async () => {
    let waits = 0;
    let desiredSize = 0;
    const pending = new Promise<void>(() => {});
    let room = Promise.withResolvers<void>();
    const writer = new WebWriter({
      get ready() {
        waits++;
        return room.promise;
      },
      get desiredSize() {
        return desiredSize;
      },
      closed: pending,
      write: () => pending,
      close: () => pending,
      abort: () => pending,
    });
    for (let count = 0; count < 3; count++) {
      expect(await race(writer.write(Buffer.from("lost")), sleep(0))).toBeUndefined();
    }
    const waiting = spawn(writer.write(Buffer.from("a")));
    await untilAmbientIdle();
    expect([waits, waiting.isFinished]).toEqual([1, false]);
    desiredSize = 1;
    room.resolve();
    expect(await waiting).toBe(1);
    desiredSize = 0;
    room = Promise.withResolvers();
    expect(await race(writer.write(Buffer.from("lost")), sleep(0))).toBeUndefined();
    expect(waits).toBe(2);
  });

  test("throws the error of the sink, and close() aborts", async () => {
    const failing = fromWritable(
      new WritableStream({
        write: () => Promise.reject(new Error("full")),
      }),
    );
    await expect(Promise.resolve(failing.writeAll("x"))).rejects.toThrow("full");
    await expect(Promise.resolve(failing.writeAll("y"))).rejects.toThrow("full");
    let reason: unknown;
    const writer = fromWritable(
      new WritableStream({
        abort: (given) => {
          reason = given;
        },
      }),
    );
    writer.close();
    await expect(Promise.resolve(writer.writeAll("x"))).rejects.toMatchObject({
      code: "ERR_SOCKET_CLOSED",
    });
    expect(reason).toMatchObject({ code: "ERR_SOCKET_CLOSED" });
  });
});

test("any chunks arrive unchanged through all four adapters, also when reads are dropped at any moment", async () => {
  const chunks = fc.array(fc.uint8Array({ minLength: 1, maxLength: 50 }), { maxLength: 20 });
  const drops = fc.infiniteStream(fc.boolean());
  await fc.assert(
    fc.asyncProperty(
      chunks,
      fc.integer({ min: 1, max: 64 }),
      fc.integer({ min: 1, max: 64 }),
      drops,
      async (pieces, capacity, maxBytes, shouldDrop) => {
        const runtime = new Runtime();
        const [near, far] = duplex({ capacity });
        const received = runtime.blockOn(async () => {
          using writer = fromWritable(toWritable(far));
          using reader = fromReadable(toReadable(near));
          const writing = spawn(async () => {
            for (const piece of pieces) await writer.writeAll(piece);
            writer.shutdown();
          });
          const all: Uint8Array[] = [];
          for (;;) {
            if (shouldDrop.next().value) {
              const dropped = reader.readChunk({ maxBytes });
              const reading = spawn(dropped);
              await sleep(0);
              reading.abort();
              const chunk = await reading.then(
                (value) => value,
                () => undefined,
              );
              if (chunk === null) break;
              if (chunk !== undefined) all.push(chunk);
              continue;
            }
            const chunk = await reader.readChunk({ maxBytes });
            if (chunk === null) break;
            expect(chunk.length).toBeLessThanOrEqual(maxBytes);
            all.push(chunk);
          }
          await writing;
          return Buffer.concat(all);
        });
        expect(received).toEqual(Buffer.concat(pieces));
        runtime.blockOn(untilIdle());
        expect(runtime.tasks()).toHaveLength(0);
        runtime[Symbol.dispose]();
      },
    ),
    { numRuns: 100 },
  );
});
