// A model test of Source: a stream and a datagram socket under random sequences of polls, drops, moves between runtimes
// and EINTR. The invariant: if a future waits and the kernel says that its fd is ready, the future has been woken. The
// reference is a second, level-triggered epoll.

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { type Future, Pending, TcpStream, UdpSocket } from "../../src/index.ts";
import { Source } from "../../src/io/source.ts";
import { Reactor } from "../../src/reactor/reactor.ts";
import {
  AF_INET,
  EAGAIN,
  EINTR,
  EPOLLIN,
  EPOLLOUT,
  EpollEvents,
  linux,
  SOCK_DGRAM,
  SockaddrBuffer,
} from "../../src/sys/index.ts";
import { FaultSys } from "../support/fault-sys.ts";
import { type ManualContext, ManualRuntime, manualContext } from "../support/manual.ts";
import { RawPeer, rawPair } from "../support/sockets.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const DIRECTIONS = { read: EPOLLIN, write: EPOLLOUT };
type Direction = keyof typeof DIRECTIONS;

interface Wait {
  readonly socket: number;
  readonly direction: Direction;
  readonly future: Future<unknown>;
  /** The context of the latest poll, and how often it had been woken by then. */
  cx: ManualContext;
  wakes: number;
}

const step = fc.record({
  do: fc.constantFrom("begin", "begin", "poll", "poll", "poll", "drop", "peer", "fill", "refuse"),
  socket: fc.nat(1),
  direction: fc.constantFrom<Direction>("read", "write"),
  runtime: fc.nat(1),
  at: fc.nat(20),
});

class World implements Disposable {
  readonly faults = new FaultSys();
  readonly runtimes = [0, 1].map(() => new ManualRuntime(new Reactor(this.faults.sys)));
  readonly #pair = rawPair();
  readonly #peer = new RawPeer(this.#pair[1]);
  readonly sources: Source[];
  readonly #stream: TcpStream;
  readonly #datagrams: UdpSocket;
  readonly #truth = linux().epollCreate();
  readonly #events = new EpollEvents(2);
  waits: Wait[] = [];

  constructor() {
    const { sys } = this.faults;
    const fd = linux().socket(AF_INET, SOCK_DGRAM);
    linux().bind(fd, new SockaddrBuffer().encode({ hostname: "127.0.0.1", port: 0 }));
    this.sources = [new Source(sys, this.#pair[0]), new Source(sys, fd, true)];
    this.#stream = TcpStream.create(this.sources[0]!, { hostname: "127.0.0.1", port: 0 });
    // @ts-expect-error: private; builds a socket on our source
    this.#datagrams = new UdpSocket(this.sources[1]!);
    for (const [slot, source] of this.sources.entries()) {
      linux().epollAdd(this.#truth, source.fd, EPOLLIN | EPOLLOUT, slot, 0);
    }
  }

  begin(socket: number, direction: Direction, at: number): Future<unknown> {
    if (socket === 1) {
      return direction === "read"
        ? this.#datagrams.recvFrom(new Uint8Array(1 + at))
        : this.#datagrams.sendTo(new Uint8Array(at), this.#datagrams.localAddress);
    }
    if (direction === "read") return this.#stream.read(new Uint8Array(1 + at ** 3));
    return this.#stream.writeAll(new Uint8Array(1_000_000));
  }

  poll(wait: Wait, runtime: number): void {
    wait.cx = manualContext(this.runtimes[runtime]).cx;
    this.runtimes[runtime]!.budget = 128; // as the executor does before each poll
    wait.wakes = 0;
    let isOver = true;
    try {
      isOver = wait.future.poll(wait.cx) !== Pending;
    } catch (error) {
      expect((error as Error).message).toContain("has waiters in another runtime");
      expect(this.waits.some((other) => other !== wait && other.socket === wait.socket)).toBe(true);
    }
    if (isOver) this.waits = this.waits.filter((other) => other !== wait);
  }

  /** The peer receives or sends. */
  peer(at: number): void {
    if (at % 2 === 0) this.#peer.recv();
    else this.#peer.send("x".repeat(at));
  }

  /** The datagram socket receives datagrams from itself. */
  fill(at: number): void {
    const to = new SockaddrBuffer().encode(this.#datagrams.localAddress);
    for (let count = 0; count < 2 * at; count++) {
      linux().sendto(this.sources[1]!.fd, new Uint8Array(count), 0, to);
    }
  }

  /** Every wait on a ready fd must have been woken. */
  check(): void {
    const count = linux().epollWait(this.#truth, this.#events, 0);
    for (const { reactor } of this.runtimes) (reactor as Reactor).turn(false);
    for (let index = 0; index < count; index++) {
      for (const { socket, direction, cx, wakes } of this.waits) {
        if (socket !== this.#events.slot(index) || cx.wakes > wakes) continue;
        expect([direction, this.#events.events(index) & DIRECTIONS[direction]]).toEqual([
          direction,
          0,
        ]);
      }
    }
  }

  [Symbol.dispose](): void {
    for (const source of this.sources) source.close();
    this.#peer.close();
    linux().close(this.#truth);
    for (const { cx, wakes, future } of this.waits) {
      expect(cx.wakes).toBeGreaterThan(wakes);
      future.drop();
    }
    for (const source of this.sources) expect(source.canWake()).toBe(false);
    for (const { reactor } of this.runtimes) {
      expect((reactor as Reactor).size).toBe(0);
      (reactor as Reactor).close();
    }
  }
}

test("property: every future that waits on a ready fd has been woken, and nothing leaks", () => {
  const steps = fc.array(step, { maxLength: 120, size: "max" });
  fc.assert(
    fc.property(steps, (list) => {
      using world = new World();
      for (const { do: what, socket, direction, runtime, at } of list) {
        const wait = world.waits[at % Math.max(1, world.waits.length)];
        if (what === "begin") {
          const most = socket === 1 && direction === "read" ? at : 0; // up to 21: enough to reach the inbox's batches
          for (let count = 0; count <= most; count++) {
            const future = world.begin(socket, direction, at);
            const { cx } = manualContext();
            world.waits.push({ socket, direction, future, cx, wakes: 0 });
            world.poll(world.waits.at(-1)!, runtime);
          }
        } else if (what === "poll" && wait !== undefined) {
          world.poll(
            wait,
            at < 18 ? world.runtimes.indexOf(wait.cx.runtime as ManualRuntime) : runtime,
          );
        } else if (what === "drop" && wait !== undefined) {
          wait.future.drop();
          world.waits.splice(world.waits.indexOf(wait), 1);
        } else if (what === "peer") world.peer(at);
        else if (what === "fill") world.fill(at);
        else if (what === "refuse") {
          world.faults
            .fail("sendto", -EINTR, -EAGAIN)
            .fail("recv", -EINTR)
            .fail("recvmmsg", -EINTR);
        }
        world.check();
      }
    }),
    { numRuns: 100 },
  );
});
