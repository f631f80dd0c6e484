// split: the halves of a stream.

import { expect, test } from "bun:test";
import {
  type ByteStream,
  ClosedError,
  copy,
  duplex,
  Runtime,
  SysError,
  spawn,
  split,
} from "../../src/index.ts";
import { caught } from "../support/caught.ts";
import { untilIdle } from "../support/idle.ts";
import { streamAndPeer, streamPair } from "../support/sockets.ts";

test("two tasks own the halves, and the stream closes with the second", () => {
  using runtime = new Runtime();
  const { stream, source, peer } = streamAndPeer();
  const [reader, writer] = split(stream);
  runtime.blockOn(function* () {
    const writing = spawn(function* () {
      using _ = writer;
      yield* writer.writeAll("first ");
      yield* writer.writev!(["sec", "ond"]);
      expect(yield* writer.write(new Uint8Array([33]))).toBe(1);
    });
    const reading = spawn(function* () {
      using _ = reader;
      const buffer = new Uint8Array(4);
      expect(yield* reader.read(buffer)).toBe(4);
      expect(yield* reader.readChunk()).toEqual(new Uint8Array([33, 33]));
    });
    yield* writing;
    expect(peer.recv()).toBe("first second!");
    expect(peer.recv()).toBe(""); // closing the half has shut the writing side down
    expect(source.isClosed).toBe(false);
    peer.send("done!!");
    yield* reading;
    expect(source.isClosed).toBe(true);
  });
  peer.close();
});

test("closing the reading half is invisible to the peer, and the other half still writes", () => {
  using runtime = new Runtime();
  const { stream, source, peer } = streamAndPeer();
  const [reader, writer] = split(stream);
  reader.close();
  reader.close(); // idempotent: it does not count as the second half
  peer.send("not read");
  runtime.blockOn(writer.writeAll("still here"));
  expect(peer.recv()).toBe("still here");
  expect(source.isClosed).toBe(false);
  writer.close();
  writer.close();
  expect(source.isClosed).toBe(true);
  peer.close();
});

test("a closed half throws ClosedError, and the other half works", () => {
  using runtime = new Runtime();
  const [ours, theirs] = duplex();
  const [reader, writer] = split(ours);
  writer.close();
  for (const call of [
    () => writer.write(new Uint8Array(1)),
    () => writer.writeAll("x"),
    () => writer.writev!(["x"]),
    () => writer.shutdown(),
    () => copy(reader, writer),
  ]) {
    expect(caught(call)).toBeInstanceOf(ClosedError);
  }
  runtime.blockOn(theirs.writeAll("hi"));
  expect(runtime.blockOn(reader.readChunk())).toEqual(new Uint8Array([104, 105]));
  reader.close();
  expect(caught(() => reader.read(new Uint8Array(1)))).toBeInstanceOf(ClosedError);
  expect(caught(() => reader.readChunk())).toMatchObject({ code: "ERR_SOCKET_CLOSED" });
  expect(caught(() => runtime.blockOn(theirs.writeAll("x")))).toBeInstanceOf(SysError); // EPIPE: closed
});

test("a read that waits in its half continues when the other half closes", () => {
  using runtime = new Runtime();
  const { stream, peer } = streamAndPeer();
  const [reader, writer] = split(stream);
  const reading = runtime.spawn(reader.readChunk());
  untilIdle(runtime);
  writer.close();
  peer.send("late");
  expect(Buffer.from(runtime.blockOn(reading)!).toString()).toBe("late");
  reader.close();
  peer.close();
});

test("closing the writing half does not throw if the peer has reset the connection, or the stream is closed", () => {
  using runtime = new Runtime();
  const { stream, source, peer } = streamAndPeer();
  const [reader, writer] = split(stream);
  runtime.blockOn(writer.writeAll("never read"));
  peer.close(); // with unread input: the kernel sends RST
  expect(caught(() => runtime.blockOn(reader.readChunk()))).toBeInstanceOf(SysError);
  reader.close();
  writer.close();
  expect(source.isClosed).toBe(true);

  const { stream: other, peer: otherPeer } = streamAndPeer();
  const [, half] = split(other);
  other.close();
  half.close();
  otherPeer.close();
});

test("a half closes although the stream's shutdown fails, and reports the failure", () => {
  let closes = 0;
  const broken = {
    readChunk: () => {},
    shutdown() {
      throw new TypeError("a bug");
    },
    close: () => closes++,
  } as unknown as ByteStream;
  const [reader, writer] = split(broken);
  expect(writer.writev).toBeUndefined();
  reader.close();
  expect(() => writer.close()).toThrow("a bug");
  expect(closes).toBe(1);
  expect(() => split(7 as never)).toThrow("split: stream must be a ByteStream; got 7");
});

test("a copy from a half of a socket to another moves everything between the fds", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    const [client, a] = yield* streamPair();
    const [b, server] = yield* streamPair();
    const [reader, unused] = split(a);
    const [other, writer] = split(b);
    const copying = spawn(copy(reader, writer));
    yield* client.writeAll("through halves");
    client.shutdown();
    expect(yield* copying).toBe(14);
    for (const half of [reader, unused, other, writer]) half.close();
    expect(yield* server.readChunk()).toEqual(new Uint8Array(Buffer.from("through halves")));
    expect(yield* server.readChunk()).toBeNull();
    client.close();
    server.close();
  });
});
