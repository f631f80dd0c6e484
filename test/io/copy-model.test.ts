// A model test of copyBidirectional: two sockets without a kernel, under every chunking, short write, EAGAIN, EINTR, end,
// reset and drop. Both ways of copying run: between fds, and through the futures of the streams.

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import {
  type ByteReader,
  type ByteWriter,
  type Clock,
  CopyError,
  copy,
  copyBidirectional,
  type Future,
  Pending,
} from "../../src/index.ts";
import { Reactor } from "../../src/reactor/reactor.ts";
import { byteAt, type FakeSocket, FakeSockets } from "../support/fake-sockets.ts";
import { ManualRuntime, manualContext } from "../support/manual.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

/** A clock that stands still, and needs no timerfd. */
const clock: Clock = { now: () => 0, advanceTo() {} };

/** Hides the fd of a stream, so that a copy uses its futures. */
function withoutFd(stream: ByteReader & ByteWriter): ByteReader & ByteWriter {
  return {
    read: (buffer) => stream.read(buffer),
    readChunk: (options) => stream.readChunk(options),
    write: (data) => stream.write(data),
    writeAll: (data, length) => stream.writeAll(data, length),
    shutdown: () => stream.shutdown(),
  };
}

/** One direction as the test knows it: what the pump has taken from one socket, and given to another. */
interface Lane {
  readonly from: FakeSocket;
  readonly to: FakeSocket;
  /** The positions that a drop has lost: read and not written. */
  readonly lost: [from: number, to: number][];
}

class World {
  readonly net = new FakeSockets();
  readonly a: FakeSocket = this.net.socket();
  readonly b: FakeSocket = this.net.socket();
  readonly lanes: readonly Lane[];
  readonly runtimes = [0, 1].map(() => new ManualRuntime(new Reactor(this.net.sys, clock)));
  /** The context that polls, and the runtime that it belongs to. */
  manual = manualContext(this.runtimes[0]);
  readonly isBoth: boolean;
  readonly hasFds: boolean;
  future: Future<unknown>;
  outcome: { value: unknown } | { error: unknown } | null = null;
  /** What the sockets had sent when the latest copy began. */
  #before: readonly number[] = [0, 0];

  constructor(isBoth: boolean, hasFds: boolean) {
    this.isBoth = isBoth;
    this.hasFds = hasFds;
    const [a, b] = [this.a, this.b];
    const there = { from: a, to: b, lost: [] };
    this.lanes = isBoth ? [there, { from: b, to: a, lost: [] }] : [there];
    this.future = this.begin();
  }

  begin(): Future<unknown> {
    this.#before = this.lanes.map(({ to }) => to.sent.length);
    const [a, b] = [this.a, this.b].map(({ stream }) => (this.hasFds ? stream : withoutFd(stream)));
    return this.isBoth ? copyBidirectional(a!, b!, { idleMs: 1e9 }) : copy(a!, b!);
  }

  get reactors(): Reactor[] {
    return this.runtimes.map(({ reactor }) => reactor as Reactor);
  }

  /**
   * The copy moves to a task of the other runtime, which polls it. (Not between other streams: the futures of two
   * directions wait for one fd there, and an fd with waiters does not move.)
   */
  move(): void {
    if (!this.hasFds) return;
    const [first, second] = this.runtimes;
    this.manual = manualContext(this.manual.runtime === first ? second : first);
    this.poll();
  }

  /** What the current copy has written, by its direction. */
  get counts(): number[] {
    return this.lanes.map(({ to }, index) => to.sent.length - this.#before[index]!);
  }

  poll(): void {
    if (this.outcome !== null) return;
    const { runtime } = this.manual;
    runtime.budget = 128; // as the executor does before each poll
    this.manual.target.wakes = 0;
    const before = this.moved;
    const interrupts = [this.a, this.b].filter(({ isInterrupted }) => isInterrupted).length;
    try {
      const value = this.future.poll(this.manual.cx);
      if (value !== Pending) this.outcome = { value };
    } catch (error) {
      this.outcome = { error };
    }
    // A copy that waits makes no more calls than the bytes and interrupts need: it does not loop over a full writer.
    const chunks = Math.ceil((this.moved - before) / 65_536);
    expect(128 - runtime.budget).toBeLessThanOrEqual(12 + 6 * chunks + interrupts);
  }

  private get moved(): number {
    return this.lanes.reduce((sum, { from, to }) => sum + from.taken + to.sent.length, 0);
  }

  /** Another task tries to write while there is no room. It finds that out for all users of the socket. */
  writeInVain({ stream, room }: FakeSocket): void {
    if (room > 0) return;
    const other = stream.write(new Uint8Array(1));
    try {
      other.poll(manualContext(this.manual.runtime).cx);
    } catch {} // the connection was reset
    other.drop();
  }

  /** Drops the copy. Begins another on the same streams: they must still be usable. */
  drop(): void {
    this.future.drop();
    this.future.drop(); // idempotent
    this.checkNoWaiters();
    for (const lane of this.lanes) {
      const unwritten = this.unwritten(lane);
      // At most one chunk is lost, and only while the writer is full.
      expect(unwritten).toBeLessThanOrEqual(65_536);
      if (unwritten > 0) lane.lost.push([lane.from.taken - unwritten, lane.from.taken]);
    }
    this.outcome = null;
    this.future = this.begin();
    const before = this.lanes.map(({ from, to }) => ({ taken: from.taken, room: to.room }));
    this.poll();
    if (!this.hasFds) return;
    // Nothing is read for a writer that is known to be full: a second drop would lose it.
    for (const [index, { from, to, lost }] of this.lanes.entries()) {
      const { taken, room } = before[index]!;
      if (to.isReset) continue; // not full: its error is to be seen
      if (room === 0 && lost.at(-1)?.[1] === taken) expect(from.taken).toBe(taken);
    }
  }

  /** The bytes that the pump has read, and neither written nor lost. */
  unwritten({ from, to, lost }: Lane): number {
    return from.taken - to.sent.length - lost.reduce((sum, [start, end]) => sum + end - start, 0);
  }

  /** Every byte arrives once, in order, except for those that a drop has lost. */
  checkBytes(): void {
    for (const { from, to, lost } of this.lanes) {
      let position = 0;
      const gaps = [...lost];
      for (const byte of to.sent) {
        while (gaps[0] !== undefined && position === gaps[0][0]) position = gaps.shift()![1];
        if (byte !== byteAt(position++)) throw new Error(`a wrong byte at ${position - 1}`);
      }
      expect(position).toBeLessThanOrEqual(from.taken);
    }
  }

  /** A copy that could make a step must have been woken. */
  checkWakes(): void {
    if (this.outcome !== null || this.manual.target.wakes > 0) return;
    for (const lane of this.lanes) {
      const { from, to } = lane;
      // A full writer that an earlier copy has found full is waited for before the reader.
      const isWriterFull = to.room === 0 && !to.isReset;
      if (isWriterFull) continue;
      expect(this.unwritten(lane)).toBe(0);
      const isDone = from.hasEnded && to.isShutDown && from.taken === from.arrived;
      if (!isDone) expect(from.arrived > from.taken || from.hasEnded || from.isReset).toBe(false);
    }
  }

  checkNoWaiters(): void {
    expect(this.a.source.canWake() || this.b.source.canWake()).toBe(false);
    for (const { timers } of this.reactors) expect(timers.size).toBe(0);
  }

  checkOutcome(): void {
    if (this.outcome === null) return;
    this.checkNoWaiters();
    const [aToB = 0, bToA = 0] = this.counts;
    if ("value" in this.outcome) {
      expect(this.outcome.value).toEqual(this.isBoth ? { aToB, bToA } : aToB);
      for (const lane of this.lanes) {
        expect(this.unwritten(lane)).toBe(0);
        expect([lane.from.hasEnded, lane.from.taken]).toEqual([true, lane.from.arrived]);
        expect(lane.to.isShutDown).toBe(this.isBoth);
      }
      return;
    }
    const { error } = this.outcome;
    if (!(error instanceof CopyError)) throw error;
    expect(error.bytes).toBe(aToB + bToA);
    if (this.isBoth) expect([error.aToB, error.bToA]).toEqual([aToB, bToA]);
    const failed = error.side === "a" || error.side === "reader" ? this.a : this.b;
    expect(failed.isReset).toBe(true);
    expect(error.code).toBe(error.operation === "read" ? "ECONNRESET" : "EPIPE");
    expect(error.cause).toMatchObject({ code: error.code, name: "SysError" });
    expect(error.message).toContain(
      `the ${error.operation} of "${error.side}" failed after ${aToB} bytes`,
    );
  }

  check(): void {
    for (const reactor of this.reactors) reactor.turn(false);
    this.checkBytes();
    this.checkWakes();
    this.checkOutcome();
  }
}

const step = fc.record({
  do: fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom("arrive", "grant", "poll", "poll") },
    { weight: 1, arbitrary: fc.constantFrom("end", "interrupt", "drop", "move", "write in vain") },
  ),
  side: fc.nat(1),
  bytes: fc.oneof(fc.nat(20), fc.constantFrom(65_535, 65_536, 65_537, 150_000)),
});

test.each([
  ["both ways between fds", true, true],
  ["both ways between other streams", true, false],
  ["one way between fds", false, true],
  ["one way between other streams", false, false],
])("property: copying %s loses, repeats and miscounts nothing", (_, isBoth, hasFds) => {
  const reset = fc.option(fc.record({ side: fc.nat(1), at: fc.nat(40) }), { freq: 2 });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40, size: "max" }), reset, (list, failure) => {
      const world = new World(isBoth, hasFds);
      const sockets = [world.a, world.b];
      world.poll();
      for (const [index, { do: what, side, bytes }] of list.entries()) {
        const socket = sockets[side]!;
        if (failure?.at === index) sockets[failure.side]!.reset();
        else if (what === "arrive") socket.arrive(bytes);
        else if (what === "grant") socket.grant(bytes);
        else if (what === "end") socket.end();
        else if (what === "interrupt") socket.isInterrupted = true;
        else if (what === "drop") world.drop();
        else if (what === "move") world.move();
        else if (what === "write in vain") world.writeInVain(socket);
        else world.poll();
        world.check();
        if (world.outcome !== null) return;
      }
      for (const socket of sockets) {
        socket.grant(1e9);
        socket.end();
      }
      for (let polls = 0; world.outcome === null; polls++) {
        expect(polls).toBeLessThan(100);
        world.check();
        expect(world.manual.target.wakes).toBeGreaterThan(0);
        world.poll();
      }
      world.check();
    }),
    { numRuns: 300 },
  );
});
