// Framing: frames and lines of a real peer, what the codecs refuse, and a codec of one's own.

import { expect, setDefaultTimeout, test } from "bun:test";
import {
  BufReader,
  BufWriter,
  type ByteStream,
  type Coroutine,
  delimited,
  delimitedWriter,
  duplex,
  frames,
  frameWriter,
  lengthDelimited,
  lengthDelimitedWriter,
  Runtime,
  spawn,
  TcpListener,
} from "../../src/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { start } from "../support/program.ts";
import { ScriptReader, ScriptWriter } from "../support/scripted-streams.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const hasPython = Bun.which("python3") !== null;
if (!hasPython)
  console.log("python3 is not installed: the tests with a peer in Python are skipped");

function run<T>(body: () => Coroutine<T>): T {
  using runtime = new Runtime();
  return runtime.blockOn(body);
}

/** Serves one connection with `serve`, and runs a Python program as its client. Returns what the program prints. */
async function withPython(
  serve: (stream: ByteStream) => Coroutine<void>,
  program: string,
): Promise<string> {
  await using runtime = new Runtime();
  return await runtime.run(async () => {
    using listener = TcpListener.bind("127.0.0.1:0");
    const server = spawn(function* () {
      using stream = yield* listener.accept();
      yield* serve(stream);
    });
    const { port } = listener.localAddress as { port: number };
    await using client = start(["python3", "-c", program, `${port}`]);
    const code = await client.exited;
    expect({ code, output: client.output() }).toMatchObject({ code: 0 });
    await server;
    return client.output();
  });
}

test.skipIf(!hasPython)("a Python client and a line server understand each other", async () => {
  const output = await withPython(
    function* (stream) {
      const reader = new BufReader(stream);
      const writer = new BufWriter(stream);
      for (let line = yield* reader.readLine(); line !== null; line = yield* reader.readLine()) {
        yield* writer.writeAll(`${line.toUpperCase()}|${line.length}\r\n`);
        if (reader.buffered === 0) yield* writer.flush();
      }
      yield* writer.flush();
      writer.shutdown();
    },
    `
import socket, sys
lines = ["hello", "", "größe €😀", "x" * 30000, "last"]
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
data = "\\r\\n".join(lines).encode() # the last line has no ending
for i in range(0, 60): s.sendall(data[i:i+1]) # every split of the first lines
s.sendall(data[60:])
s.shutdown(socket.SHUT_WR)
with s.makefile("r", encoding="utf-8", newline="") as f: got = f.read()
want = "".join(l.upper() + "|" + str(len(l.encode("utf-16-le")) // 2) + "\\r\\n" for l in lines)
print("same" if got == want else repr(got[:200]))
`,
  );
  expect(output).toBe("same\n");
});

test.skipIf(!hasPython)("a Python client and a frame server understand each other", async () => {
  const output = await withPython(
    function* (stream) {
      const requests = lengthDelimited(stream, { bytes: 4, endian: "big" });
      const replies = lengthDelimitedWriter(stream, { bytes: 2, endian: "little" });
      for (let frame = yield* requests.next(); frame !== null; frame = yield* requests.next()) {
        yield* replies.write(frame.toReversed());
      }
      yield* replies.flush();
      stream.shutdown();
    },
    `
import os, socket, struct, sys
frames = [b"a", b"", b"hello", os.urandom(60000), b"\\0" * 300]
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
data = b"".join(struct.pack(">I", len(f)) + f for f in frames)
for i in range(0, 30): s.sendall(data[i:i+1])
s.sendall(data[30:])
s.shutdown(socket.SHUT_WR)
with s.makefile("rb") as f: got = f.read()
want = b"".join(struct.pack("<H", len(f)) + f[::-1] for f in frames)
print("same" if got == want else repr(got[:200]))
`,
  );
  expect(output).toBe("same\n");
});

test("lines and frames share one BufReader, so a handshake may precede the frames", () => {
  run(function* () {
    const [near, far] = duplex();
    const writer = new BufWriter(near);
    yield* writer.writeAll("HELLO 1\r\n");
    const out = lengthDelimitedWriter(writer, { bytes: 1 });
    for (const frame of ["one", "two"]) yield* out.write(frame);
    yield* out.flush();
    near.shutdown();
    const reader = new BufReader(far);
    expect(yield* reader.readLine()).toBe("HELLO 1");
    const incoming = lengthDelimited(reader, { bytes: 1 });
    expect(Buffer.from((yield* incoming.next())!).toString()).toBe("one");
    expect(reader.buffered).toBe(4);
    expect(Buffer.from((yield* incoming.next())!).toString()).toBe("two");
    expect(yield* incoming.next()).toBeNull();
  });
});

test("frames are async iterables, and leaving the loop loses none", async () => {
  const reader = delimited(
    new ScriptReader([Buffer.from("a;b;"), "wait", Buffer.from("c;d;")]),
    ";",
  );
  const seen: string[] = [];
  for await (const frame of reader) {
    seen.push(Buffer.from(frame).toString());
    if (seen.length === 2) break;
  }
  for await (const frame of reader) seen.push(Buffer.from(frame).toString());
  expect(seen).toEqual(["a", "b", "c", "d"]);
});

test("a length above the limit is refused before the frame arrives", () => {
  run(function* () {
    for (const [bytes, header] of [
      [4, [0, 1, 0, 0]],
      [8, [255, 255, 255, 255, 255, 255, 255, 255]],
    ] as const) {
      const reader = lengthDelimited(new ScriptReader([new Uint8Array(header)]), {
        bytes,
        maxBytes: 1000,
      });
      const error = yield* failureOf(reader.next());
      expect(error).toMatchObject({ code: "ERR_MESSAGE_TOO_LONG", maxBytes: 1000 });
      expect((error as Error).message).toContain("more than maxBytes, 1000");
    }
  });
});

test("a writer refuses a frame that its length or its delimiter cannot express", () => {
  const to = new ScriptWriter();
  const byte = lengthDelimitedWriter(to, { bytes: 1 });
  expect(caught(() => byte.write(new Uint8Array(256)))).toMatchObject({ maxBytes: 255 });
  expect(caught(() => byte.write(1 as never))).toBeInstanceOf(TypeError);
  const lines = delimitedWriter(to, "aa");
  for (const frame of ["xaay", "xa"]) {
    expect(caught(() => lines.write(frame))).toMatchObject({
      name: "RangeError",
      message: "delimitedWriter: a frame must not contain the delimiter; this one has it at byte 1",
    });
  }
});

test("a decoder that fails, or consumes what is not there, loses no byte", () => {
  run(function* () {
    const source = new BufReader(new ScriptReader([Buffer.from("abc")]));
    const failing = frames(source, () => {
      throw new SyntaxError("not a frame");
    });
    expect(yield* failureOf(failing.next())).toBeInstanceOf(SyntaxError);
    for (const consumed of [0, 4, 1.5]) {
      const lying = frames(source, () => ({ value: 1, consumed }));
      expect(((yield* failureOf(lying.next())) as Error).message).toBe(
        `readFrame: consumed must be an integer from 1 to the number of bytes, 3; got ${consumed}`,
      );
    }
    expect(Buffer.from(yield* source.readExact(3)).toString()).toBe("abc");
  });
});

test("bad options throw errors that name the rule", () => {
  const from = new ScriptReader([]);
  const message = (call: () => unknown): string => (caught(call) as Error).message;
  expect(message(() => lengthDelimited(from, { bytes: 3 as never }))).toBe(
    "lengthDelimited: bytes must be 1, 2, 4 or 8; got 3",
  );
  expect(message(() => lengthDelimited(from, { endian: "middle" as never }))).toBe(
    'lengthDelimited: endian must be "big" or "little"; got "middle"',
  );
  expect(message(() => lengthDelimited(from, { maxBytes: 0 }))).toContain("maxBytes");
  expect(message(() => delimited(from, ""))).toBe("delimited: delimiter must not be empty");
  expect(message(() => frames(from, 1 as never))).toContain("decode must be a function; got 1");
  expect(message(() => frames(from, () => null, { maxBytes: 0 }))).toContain("frames: maxBytes");
  expect(message(() => frameWriter(new ScriptWriter(), 1 as never))).toContain(
    "frameWriter: encode must be a function; got 1",
  );
});
