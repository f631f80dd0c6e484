// stream.finish: closes a connection without losing what was written.

import { expect, setDefaultTimeout, test } from "bun:test";
import { type Clock, ClosedError, Runtime, spawn, timeout } from "../../src/index.ts";
import type { SysError } from "../../src/sys/errno.ts";
import { SHUT_WR } from "../../src/sys/socket.ts";
import { caught, failureOf } from "../support/caught.ts";
import { FaultSys } from "../support/fault-sys.ts";
import { untilIdle } from "../support/idle.ts";
import { root, run } from "../support/program.ts";
import { type RawPeer, streamAndPeer } from "../support/sockets.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

test("a client that keeps talking receives all of an answer that ends with finish", async () => {
  const program = `${root}test/support/programs/close-loses.ts`;
  expect(await run(["bun", program, "finish"])).toEqual({
    code: 0,
    output: "2097152 of 2097152 bytes\n",
  });
});

test("finish ends the writes, discards what arrives, and closes when the peer ends its side", () => {
  using runtime = new Runtime();
  const { stream, source, peer } = streamAndPeer();
  peer.send("unread ".repeat(20_000));
  const finishing = runtime.spawn(function* () {
    yield* stream.writeAll("the end");
    return yield* stream.finish();
  });
  untilIdle(runtime);
  expect(peer.recv()).toBe("the end");
  expect(peer.recv()).toBe(""); // our end, not a reset
  peer.send("more");
  untilIdle(runtime);
  expect(source.isClosed).toBe(false);
  peer.shutdown(SHUT_WR);
  expect(runtime.blockOn(finishing)).toBe(true);
  expect(source.isClosed).toBe(true);
  expect(runtime.reactor.timers.size).toBe(0);
  peer.close();
});

test("finish closes at its deadline and returns false, also while the peer sends without end", () => {
  const clock: Clock & { nowMs: number } = {
    nowMs: 0,
    now: () => clock.nowMs,
    advanceTo(ms) {
      clock.nowMs = ms;
    },
  };
  using runtime = new Runtime({ clock });
  const { stream: silent, source: first, peer } = streamAndPeer();
  expect(runtime.blockOn(silent.finish())).toBe(false);
  expect([clock.nowMs, first.isClosed]).toEqual([5000, true]);
  peer.close();

  const faults = new FaultSys().on("recv", (_, __, buffer) => buffer.length);
  using busy = new Runtime({ sys: faults.sys });
  const { stream: flooded, source: second, peer: flooder } = streamAndPeer(faults.sys);
  expect(busy.blockOn(flooded.finish({ timeoutMs: 5 }))).toBe(false);
  expect(second.isClosed).toBe(true);
  flooder.close();
});

test("finish returns false when the peer resets the connection, before it or during it", () => {
  using runtime = new Runtime();
  const reset = (peer: RawPeer): void => peer.close(); // with unread input, the kernel sends RST
  runtime.blockOn(function* () {
    const { stream: first, peer: one } = streamAndPeer();
    yield* first.writeAll("never read");
    reset(one);
    expect(yield* first.finish()).toBe(false);

    const { stream: second, source, peer: two } = streamAndPeer();
    yield* second.writeAll("never read");
    const finishing = spawn(second.finish());
    yield* untilIdle();
    reset(two);
    expect(yield* finishing).toBe(false);
    expect(source.isClosed).toBe(true);
  });
});

test("finish returns true when both sides have ended the connection before it", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    for (const isOursFirst of [true, false]) {
      const { stream, source, peer } = streamAndPeer();
      if (isOursFirst) stream.shutdown();
      peer.send("unread");
      peer.shutdown(SHUT_WR);
      expect(yield* stream.read(new Uint8Array(2))).toBe(2);
      if (!isOursFirst) {
        yield* untilIdle();
        stream.shutdown();
        yield* untilIdle();
      }
      expect(() => stream.shutdown()).toThrow("shutdown ENOTCONN");
      expect(yield* stream.finish()).toBe(true);
      expect(source.isClosed).toBe(true);
      peer.close();
    }
  });
});

test("finish returns false after a reset that the kernel does not report any more", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    for (const hasEnded of [true, false]) {
      for (const isReported of [true, false]) {
        const { stream, peer } = streamAndPeer();
        yield* stream.writeAll("never read");
        if (hasEnded) {
          peer.shutdown(SHUT_WR);
          expect(yield* stream.readChunk()).toBeNull();
        } else stream.shutdown();
        peer.close(); // with unread input, the kernel sends RST
        yield* untilIdle();
        if (isReported) {
          const failing = hasEnded ? stream.writeAll("more") : stream.readChunk();
          const { code } = yield* failureOf<SysError>(failing);
          expect(code).toBe(hasEnded ? "EPIPE" : "ECONNRESET");
        }
        expect(yield* stream.finish()).toBe(false);
      }
    }
  });
});

test("a dropped finish closes the stream, unless it was never polled", () => {
  using runtime = new Runtime();
  const { stream, source, peer } = streamAndPeer();
  stream.finish().drop();
  expect(source.isClosed).toBe(false);
  expect(() => runtime.blockOn(timeout(1, stream.finish()))).toThrow(
    "waiting on finish 127.0.0.1:0 (fd ",
  );
  expect(source.isClosed).toBe(true);
  expect(runtime.reactor.timers.size).toBe(0);
  peer.close();
});

test("finish of a closed stream throws ClosedError, and bad options throw at the call", () => {
  using runtime = new Runtime();
  const { stream, peer } = streamAndPeer();
  expect(() => stream.finish({ timeoutMs: -1 })).toThrow(
    "finish: timeoutMs must be a number >= 0; got -1",
  );
  expect(() => stream.finish(5 as never)).toThrow("finish: options must be an object; got 5");
  stream.close();
  expect(caught(() => runtime.blockOn(stream.finish()))).toBeInstanceOf(ClosedError);
  peer.close();
});
