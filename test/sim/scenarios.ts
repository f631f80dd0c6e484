// Scenarios for exploration: what applications do with this library, with an invariant each. `bun run sim` explores them
// for as long as you like.

import {
  AsyncFd,
  BufReader,
  type Coroutine,
  copyBidirectional,
  type Future,
  hedge,
  join,
  joinAll,
  lazy,
  lengthDelimited,
  lengthDelimitedWriter,
  type MpmcReceiver,
  Mutex,
  mpmc,
  mpsc,
  Notify,
  oneshot,
  orUndefined,
  pipe,
  RateLimiter,
  type Receiver,
  Runtime,
  RwLock,
  race,
  retry,
  Semaphore,
  type Sender,
  SysError,
  scope,
  serve,
  signal,
  singleFlight,
  sleep,
  spawn,
  TcpListener,
  TcpStream,
  TimeoutError,
  timeout,
  UdpSocket,
  UnixDatagram,
  UnixSeqpacket,
  UnixSeqpacketListener,
  yieldNow,
} from "../../src/index.ts";
import type { RunOptions, World } from "../../src/sim/index.ts";

export interface ExploredScenario extends Pick<RunOptions, "link" | "faults"> {
  readonly name: string;
  run(world: World): Coroutine<unknown> | Promise<unknown>;
}

function expectEqual(actual: unknown, expected: unknown, what: string): void {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${what}: expected ${b}, got ${a}`);
}

/** The server of examples/tcp.ts. */
function* echoServer(): Coroutine<void> {
  using listener = TcpListener.bind("0.0.0.0:7000");
  for (;;) {
    const stream = yield* listener.accept();
    spawn(() => echo(stream)).detach();
  }
}

function* echo(stream: TcpStream): Coroutine<void> {
  using _ = stream;
  const buffer = new Uint8Array(4096);
  try {
    for (;;) {
      const count = yield* stream.read(buffer);
      if (count === 0) break;
      yield* stream.writeAll(buffer, count);
    }
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
  }
}

const pattern = (length: number, from: number): Uint8Array =>
  Uint8Array.from({ length }, (_, index) => (from + index) & 255);

/** The stream ended early. */
class TruncatedError extends Error {
  override readonly name = "TruncatedError";
}

/** Thrown by work that a scenario lets fail. */
class FailureOnPurpose extends Error {
  override readonly name = "FailureOnPurpose";
}

/** True for the errors of a peer that is slow, or that has crashed. */
function isTransient(error: unknown): boolean {
  return [SysError, TimeoutError, TruncatedError].some((kind) => error instanceof kind);
}

/** Sends `length` bytes to an echo server in pieces, and checks what comes back. */
function* exchange(world: World, length: number, server = "server:7000"): Coroutine<void> {
  using stream = yield* TcpStream.connect(server);
  const sent = pattern(length, length);
  const write = function* (): Coroutine<void> {
    for (let at = 0; at < length; ) {
      const piece = sent.subarray(at, at + 1 + world.pick(400));
      yield* stream.writeAll(piece);
      at += piece.length;
    }
    stream.shutdown();
  };
  const read = function* (): Coroutine<void> {
    let at = 0;
    for (;;) {
      const chunk = yield* stream.readChunk();
      if (chunk === null) break;
      for (const byte of chunk) if (byte !== sent[at++]) throw new Error(`byte ${at} is wrong`);
    }
    if (at < length) throw new TruncatedError(); // the kernel of a killed server ends the stream cleanly
  };
  yield* join(write, read);
}

/** Repeats `work` until it succeeds; an attempt may take 30 s. */
const persist = <T>(work: () => Coroutine<T>): Coroutine<T> =>
  persistently(() => timeout(30_000, work));

function* persistently<T>(work: () => Coroutine<T> | Future<T>): Coroutine<T> {
  for (;;) {
    try {
      return yield* work();
    } catch (error) {
      if (!isTransient(error)) throw error;
      yield* sleep(100);
    }
  }
}

/** Returns true once `sending` has ended. */
function* sendThenTrue(sending: Future<void>): Coroutine<true> {
  yield* sending;
  return true;
}

const clients = (world: World, work: (index: number) => Coroutine<void>, count = 2) =>
  joinAll(
    Array.from({ length: count }, (_, index) => world.host(`client ${index}`, () => work(index))),
  );

export const scenarios: readonly ExploredScenario[] = [
  {
    name: "an echo server over a link that loses packets, with interrupted calls",
    link: { loss: 0.02, latencyMs: [0.2, 20] },
    faults: { interrupts: 0.02 },
    *run(world) {
      world.host("server", echoServer);
      yield* sleep(1);
      yield* clients(world, (index) => exchange(world, 500 + index * 300));
    },
  },
  {
    name: "an echo server that is killed, crashes and is restarted",
    *run(world) {
      const server = world.host("server", echoServer);
      const all = spawn(clients(world, (index) => persist(() => exchange(world, 300 + index))));
      for (let times = world.pick(3); times > 0; times--) {
        yield* sleep(world.pick(50));
        if (world.pick(2) === 0) server.kill();
        else server.crash();
        yield* sleep(world.pick(50));
        server.restart();
      }
      yield* all;
    },
  },
  {
    name: "an echo server behind partitions, short of fds",
    faults: { fdShortage: 0.05 },
    *run(world) {
      world.host("server", () => persist(echoServer));
      yield* sleep(1);
      const all = spawn(clients(world, () => persist(() => exchange(world, 400))));
      for (let times = world.pick(3); times > 0; times--) {
        world.partition(`client ${world.pick(2)}`, "server");
        yield* sleep(world.pick(2000));
        world.heal();
        yield* sleep(world.pick(100));
      }
      yield* all;
    },
  },
  {
    name: "a proxy that copies both ways, between clients and a server",
    link: { loss: 0.01, latencyMs: [0.2, 20] },
    faults: { interrupts: 0.02 },
    *run(world) {
      world.host("server", echoServer);
      world.host("proxy", function* () {
        const relay = function* (client: TcpStream): Coroutine<void> {
          using upstream = yield* TcpStream.connect("server:7000");
          const { aToB, bToA } = yield* copyBidirectional(client, upstream);
          expectEqual(bToA, aToB, "the bytes that the server returned");
        };
        yield* serve(TcpListener.bind("0.0.0.0:8000"), relay);
      });
      yield* sleep(1);
      yield* clients(world, (index) => exchange(world, 500 + index * 300, "proxy:8000"));
    },
  },
  {
    name: "frames through a BufWriter and a BufReader, whose operations are dropped",
    link: { latencyMs: [0.2, 5] },
    *run(world) {
      const receiving = world.host("server", function* () {
        using listener = TcpListener.bind("0.0.0.0:7000");
        using stream = yield* listener.accept();
        const frames = lengthDelimited(stream, { bytes: 2 });
        const received: string[] = [];
        for (;;) {
          try {
            const frame = yield* timeout(world.pick(4), frames.next());
            if (frame === null) return received;
            received.push(new TextDecoder().decode(frame));
          } catch (error) {
            if (!(error instanceof TimeoutError)) throw error;
          }
        }
      });
      yield* sleep(1);
      const sent = Array.from({ length: 30 }, (_, index) => `${index} `.repeat(1 + (index % 7)));
      yield* world.host("client", function* () {
        using stream = yield* TcpStream.connect("server:7000");
        const writer = lengthDelimitedWriter(stream, { bytes: 2 });
        for (const text of sent) {
          yield* writer.write(text);
          yield* orUndefined(world.pick(2), writer.flush());
        }
        yield* writer.flush();
        stream.shutdown();
      });
      expectEqual(yield* receiving, sent, "the frames");
    },
  },
  {
    name: "an mpmc channel whose receivers give up",
    *run(world) {
      const { sender, receiver } = mpmc<number>(2);
      const received: number[] = [];
      const consume = function* (mine: MpmcReceiver<number>): Coroutine<void> {
        using _ = mine;
        for (;;) {
          const next = yield* orUndefined(world.pick(3), mine.recv());
          if (next?.done) return;
          if (next !== undefined) received.push(next.value);
        }
      };
      const consumers = joinAll([receiver.clone(), receiver].map((mine) => spawn(consume(mine))));
      for (let n = 0; n < 30; ) {
        const sending = sender.send(n);
        if ((yield* orUndefined(world.pick(3), sendThenTrue(sending))) === true) n++;
      }
      sender.close();
      yield* consumers;
      expectEqual(
        received.toSorted((a, b) => a - b),
        Array.from({ length: 30 }, (_, n) => n),
        "the messages",
      );
    },
  },
  {
    name: "the datagram server of examples/udp.ts, with repetition",
    link: { loss: 0.2, duplication: 0.1, latencyMs: [1, 30] },
    *run(world) {
      const server = world.host("server", function* () {
        using socket = UdpSocket.bind("0.0.0.0:7000");
        const buffer = new Uint8Array(65_536);
        for (;;) {
          const { bytes, address } = yield* socket.recvFrom(buffer);
          yield* socket.sendTo(buffer.subarray(0, bytes), address);
        }
      });
      yield* sleep(1);
      yield* clients(world, function* (index) {
        using socket = UdpSocket.bind("0.0.0.0:0");
        socket.connect(`${server.address}:7000`);
        const buffer = new Uint8Array(8);
        for (let n = 0; n < 10; ) {
          yield* socket.send(new Uint8Array([n, index]));
          try {
            yield* timeout(100, socket.recv(buffer));
            expectEqual(buffer[1], index, "the client of the answer");
            if (buffer[0] === n) n++;
          } catch (error) {
            if (!(error instanceof TimeoutError)) throw error;
          }
        }
      });
    },
  },
  {
    name: "a server that stops gracefully on SIGTERM answers what it has accepted",
    *run(world) {
      let served = 0;
      const server = world.host("server", function* () {
        const stop = new AbortController();
        using listener = TcpListener.bind("0.0.0.0:7000");
        const serving = spawn(
          serve(
            listener,
            function* (stream: TcpStream) {
              const line = yield* new BufReader(stream).readLine();
              if (line === null) return;
              yield* sleep(world.pick(20));
              yield* stream.writeAll(`${line}\n`);
              served++;
            },
            { signal: stop.signal, graceMs: 10_000, onError: () => {} },
          ),
        );
        yield* signal("SIGTERM");
        stop.abort();
        yield* serving;
        expectEqual(Runtime.current().tasks().length, 1, "the tasks after the stop");
      });
      yield* sleep(1);
      let answered = 0;
      const asking = spawn(
        clients(
          world,
          function* () {
            for (let n = 0; n < 5; n++) {
              try {
                using stream = yield* TcpStream.connect("server:7000");
                yield* stream.writeAll("hello\n");
                const answer = yield* new BufReader(stream).readLine();
                if (answer === null) continue; // accepted, and closed before it was read
                expectEqual(answer, "hello", "the answer");
                answered++;
              } catch (error) {
                if (!(error instanceof SysError)) throw error;
              }
            }
          },
          3,
        ),
      );
      yield* sleep(world.pick(100));
      server.signal("SIGTERM");
      yield* timeout(20_000, server);
      yield* asking;
      if (answered > served) throw new Error(`${answered} answers, ${served} served`);
    },
  },
  {
    name: "lines through a BufReader, in an async function",
    async run(world) {
      world.host("server", async () => {
        using listener = TcpListener.bind("0.0.0.0:7000");
        for (;;) {
          const stream = await listener.accept();
          spawn(async () => {
            using _ = stream;
            const reader = new BufReader(stream);
            for (;;) {
              const line = await reader.readLine();
              if (line === null) return;
              await stream.writev([line.toUpperCase(), "\n"]);
            }
          }).detach();
        }
      });
      await sleep(1);
      await world.host("client", async () => {
        using stream = await TcpStream.connect("server:7000");
        const reader = new BufReader(stream);
        for (let n = 0; n < 8; n++) {
          const line = "abc".repeat(world.pick(30));
          await stream.writeAll(`${line}\n`);
          expectEqual(await reader.readLine(), line.toUpperCase(), "the answer");
        }
      });
    },
  },
  {
    name: "reads that race with timers lose no byte",
    *run(world) {
      world.host("server", function* () {
        using listener = TcpListener.bind("0.0.0.0:7000");
        using stream = yield* listener.accept();
        for (let n = 0; n < 40; n++) {
          yield* stream.writeAll(pattern(7, n * 7));
          if (world.pick(3) === 1) yield* sleep(world.pick(4));
        }
      });
      yield* sleep(1);
      yield* world.host("client", function* () {
        using stream = yield* TcpStream.connect("server:7000");
        const buffer = new Uint8Array(5);
        for (let at = 0; ; ) {
          const count = yield* race(stream.read(buffer), sleep(world.pick(3)));
          if (count === undefined) continue;
          if (count === 0) return expectEqual(at, 280, "the length");
          for (const byte of buffer.subarray(0, count)) {
            if (byte !== (at++ & 255)) throw new Error(`byte ${at} is wrong`);
          }
        }
      });
    },
  },
  {
    name: "the pipeline of examples/pipeline.ts, with stages that are cancelled",
    *run(world) {
      const printed: number[] = [];
      const make = function* (sender: Sender<number>): Coroutine<void> {
        using _ = sender;
        for (let number = 1; number <= 20; number++) yield* sender.send(number);
      };
      const square = function* (
        receiver: Receiver<number>,
        sender: Sender<number>,
      ): Coroutine<void> {
        using _ = sender;
        for (;;) {
          // Gives up now and then: the message must stay in the channel.
          const next = yield* race(receiver.recv(), sleep(world.pick(2)));
          if (next === undefined) continue;
          if (next.done) return;
          yield* sender.send(next.value ** 2);
        }
      };
      yield* scope(function* (stages) {
        const numbers = mpsc<number>(2);
        const squares = mpsc<number>(2);
        stages.spawn(make(numbers.sender));
        stages.spawn(square(numbers.receiver, squares.sender));
        stages.spawn(function* () {
          for (;;) {
            const next = yield* squares.receiver.recv();
            if (next.done) return;
            printed.push(next.value);
          }
        });
      });
      const squares = Array.from({ length: 20 }, (_, index) => (index + 1) ** 2);
      expectEqual(printed, squares, "what was printed");
    },
  },
  {
    name: "locks whose waiters give up",
    *run(world) {
      const mutex = new Mutex(0);
      const lock = new RwLock(0);
      const semaphore = new Semaphore(2);
      let inside = 0;
      let readers = 0;
      let writers = 0;
      const work = function* (): Coroutine<void> {
        for (let round = 0; round < 4; round++) {
          try {
            yield* timeout(world.pick(4), function* () {
              using _permit = yield* semaphore.acquire();
              using _guard = yield* mutex.lock();
              if (++inside > 1) throw new Error("two tasks hold the mutex");
              try {
                yield* yieldNow();
                if (world.pick(3) === 1) yield* sleep(1);
              } finally {
                inside--;
              }
            });
            if (world.pick(2) === 0) {
              using _read = yield* lock.read();
              readers++;
              if (writers > 0) throw new Error("a reader and a writer");
              yield* yieldNow();
              readers--;
            } else {
              using _write = yield* lock.write();
              if (readers > 0 || ++writers > 1) throw new Error("a writer is not alone");
              yield* yieldNow();
              writers--;
            }
          } catch (error) {
            if (!(error instanceof TimeoutError)) throw error;
          }
        }
      };
      yield* joinAll(Array.from({ length: 4 }, () => spawn(work)));
      expectEqual(semaphore.available, 2, "the permits at the end");
      mutex.tryLock()![Symbol.dispose]();
      lock.tryWrite()![Symbol.dispose]();
    },
  },
  {
    name: "channels whose tasks are aborted",
    *run(world) {
      const { sender, receiver } = mpsc<number>(2);
      const accepted: number[] = [];
      const received: number[] = [];
      const producers = [0, 1, 2].map((producer) => {
        const own = sender.clone();
        return spawn(function* () {
          using _ = own;
          for (let n = 0; n < 6; n++) {
            yield* own.send(producer * 100 + n);
            accepted.push(producer * 100 + n);
          }
        });
      });
      sender.close();
      const consumer = spawn(function* () {
        for (;;) {
          const next = yield* receiver.recv();
          if (next.done) return;
          received.push(next.value);
          if (world.pick(4) === 1) yield* sleep(1);
        }
      });
      // Not before it has started: a task that never starts does not close what it was given (docs/cancellation.md).
      yield* sleep(1 + world.pick(3));
      if (world.pick(2) === 1) producers[world.pick(3)]!.abort();
      yield* consumer;
      expectEqual([...received].sort(), [...accepted].sort(), "what was received");
    },
  },
  {
    name: "notifications and oneshots that are given up",
    *run(world) {
      const changed = new Notify();
      let taken = 0;
      const waiters = Array.from({ length: 3 }, () =>
        spawn(function* () {
          try {
            yield* timeout(world.pick(5), changed.notified());
            taken++;
          } catch (error) {
            if (!(error instanceof TimeoutError)) throw error;
          }
        }),
      );
      for (let count = 0; count < 2; count++) {
        yield* sleep(world.pick(3));
        changed.notifyOne();
      }
      for (const waiter of waiters) yield* waiter;
      // A notification that no waiter has taken is stored for the next one.
      if (taken === 0) yield* timeout(1000, changed.notified());
      const { sender, receiver } = oneshot<string>();
      const answer = spawn(receiver);
      if (world.pick(2) === 1) yield* yieldNow();
      sender.send("here");
      expectEqual(yield* answer, "here", "the answer");
    },
  },
  {
    name: "scopes that fail leave no task",
    *run(world) {
      const ended: number[] = [];
      const failing = world.pick(5);
      const running = spawn(
        scope(function* (tasks) {
          for (let index = 0; index < 5; index++) {
            tasks.spawn(function* () {
              try {
                for (let count = 0; count < 3; count++) {
                  if (world.pick(2) === 1) yield* sleep(world.pick(3));
                  else yield* yieldNow();
                  if (index === failing && count === 1) throw new Error("on purpose");
                }
              } finally {
                yield* yieldNow();
                ended.push(index);
              }
            });
          }
          yield* sleep(1);
        }),
      );
      try {
        yield* running;
      } catch (error) {
        if ((error as Error).message !== "on purpose") throw error;
      }
      expectEqual(world.scenario.runtime.tasks().length, 1, "the tasks that are left");
      expectEqual(new Set(ended).size, ended.length, "each task ends once");
    },
  },
  {
    name: "retries with an idempotency key, over a link that fails",
    link: { loss: 0.05, latencyMs: [1, 40] },
    *run(world) {
      const paid = new Map<string, number>();
      world.host("bank", function* () {
        yield* serve(TcpListener.bind("0.0.0.0:7000"), function* (stream: TcpStream) {
          const id = yield* new BufReader(stream).readLine();
          if (id === null) return;
          if (!paid.has(id)) paid.set(id, 1);
          yield* stream.writeAll("paid\n");
        });
      });
      yield* sleep(1);
      const pay = function* (index: number): Coroutine<void> {
        const starts: number[] = [];
        const ends: number[] = [];
        const attempt = function* (number: number): Coroutine<string | null> {
          starts.push(world.now());
          expectEqual(number, starts.length, "the number of the attempt");
          try {
            return yield* timeout(300, function* () {
              using stream = yield* TcpStream.connect("bank:7000");
              yield* stream.writeAll(`${index}\n`);
              const answer = yield* new BufReader(stream).readLine();
              if (answer === null) throw new TruncatedError();
              return answer;
            });
          } finally {
            ends.push(world.now());
          }
        };
        try {
          const options = { times: 5, backoffMs: 50, maxMs: 150, jitter: 0.5, when: isTransient };
          expectEqual(yield* retry(attempt, options), "paid", "the answer");
          expectEqual(paid.get(String(index)), 1, "what was paid");
        } catch (error) {
          if (!isTransient(error)) throw error;
          expectEqual(starts.length, 5, "the attempts before it gives up");
        }
        const pauses = starts.slice(1).map((startMs, n) => startMs - ends[n]!);
        for (const [n, pauseMs] of pauses.entries()) {
          const longestMs = Math.min(50 * 2 ** n, 150);
          const isInside = pauseMs >= longestMs / 2 - 0.001 && pauseMs <= longestMs + 1;
          if (!isInside) throw new Error(`pause ${n} took ${pauseMs} ms`);
        }
      };
      const all = spawn(clients(world, pay));
      for (let times = world.pick(3); times > 0; times--) {
        world.partition(`client ${world.pick(2)}`, "bank");
        yield* sleep(world.pick(400));
        world.heal();
        yield* sleep(world.pick(100));
      }
      yield* all;
    },
  },
  {
    name: "hedged questions to two replicas, which may be killed",
    link: { latencyMs: [1, 60] },
    *run(world) {
      const replicas = [0, 1].map((index) =>
        world.host(`replica-${index}`, function* () {
          const answer = function* (stream: TcpStream): Coroutine<void> {
            const line = yield* new BufReader(stream).readLine();
            if (world.pick(3) === 1) yield* sleep(world.pick(80));
            yield* stream.writeAll(`${line} from ${index}\n`);
          };
          const onError = (): void => {}; // a client that gives up
          yield* serve(TcpListener.bind("0.0.0.0:7000"), answer, { onError });
        }),
      );
      yield* sleep(1);
      const asks = clients(world, function* (client) {
        let asking = 0;
        for (let n = 0; n < 4; n++) {
          const started: number[] = [];
          const ask = function* (attempt: number): Coroutine<string> {
            started.push(attempt);
            asking++;
            try {
              using stream = yield* TcpStream.connect(`replica-${attempt - 1}:7000`);
              yield* stream.writeAll(`${client} ${n}\n`);
              const line = yield* new BufReader(stream).readLine();
              if (line === null) throw new TruncatedError();
              return line;
            } finally {
              try {
                yield* yieldNow(); // may be cancelled, too
              } finally {
                asking--;
              }
            }
          };
          try {
            const line = yield* timeout(5000, hedge(ask, { afterMs: 20 + world.pick(40) }));
            expectEqual(/^(.*) from [01]$/.exec(line)?.[1], `${client} ${n}`, "the answer");
          } catch (error) {
            const errors = error instanceof AggregateError ? error.errors : [error];
            if (!errors.every(isTransient)) throw error;
          }
          expectEqual(asking, 0, "the attempts that go on");
          expectEqual(started, [1, 2].slice(0, started.length), "the attempts");
        }
      });
      const all = spawn(asks);
      yield* sleep(world.pick(200));
      if (world.pick(2) === 1) replicas[world.pick(2)]!.kill();
      yield* all;
    },
  },
  {
    name: "lazy values and single flights whose callers give up",
    *run(world) {
      let started = 0;
      let ended = 0;
      const values: number[] = [];
      const create = function* (): Coroutine<number> {
        started++;
        try {
          for (let steps = world.pick(4); steps > 0; steps--) yield* sleep(world.pick(3));
          if (world.pick(4) === 1) throw new FailureOnPurpose();
          values.push(values.length + 1);
          return values.length;
        } finally {
          try {
            yield* yieldNow(); // may be cancelled, too
          } finally {
            ended++;
          }
        }
      };
      const value = lazy(create);
      const once = singleFlight<string, number>();
      const received: number[] = [];
      const call = function* (work: () => Future<number>): Coroutine<number | undefined> {
        try {
          return yield* orUndefined(world.pick(6), work());
        } catch (error) {
          if (!(error instanceof FailureOnPurpose)) throw error;
        }
      };
      const caller = function* (): Coroutine<void> {
        for (let n = 0; n < 3; n++) {
          if (world.pick(3) === 1) yield* sleep(world.pick(4));
          const found = yield* call(value);
          if (found !== undefined) received.push(found);
        }
      };
      yield* joinAll(Array.from({ length: 4 }, () => spawn(caller)));
      // Without a reset and a limit of its age there is one value: whoever receives one receives that.
      if (received.length > 0) expectEqual(new Set(received).size, 1, "the lazy values");
      expectEqual(ended, started, "the runs that ended");

      const flights = new Map<string, number>();
      const flight = function* (): Coroutine<void> {
        for (let n = 0; n < 3; n++) {
          const key = `key ${world.pick(2)}`;
          const asked = flights.get(key) ?? 0;
          const found = yield* call(() =>
            once(key, function* () {
              const number = yield* create();
              flights.set(key, number);
              return number;
            }),
          );
          // Nothing is cached: the run ended after the call began.
          if (found !== undefined && found <= asked) throw new Error("an old value");
        }
      };
      yield* joinAll(Array.from({ length: 4 }, () => spawn(flight)));
      expectEqual(ended, started, "the flights that ended");
      expectEqual(world.scenario.runtime.tasks().length, 1, "the tasks that are left");
    },
  },
  {
    name: "a rate limiter whose callers give up",
    *run(world) {
      const [burst, msPerToken] = [5, 2];
      const limiter = new RateLimiter({ tokens: burst, perMs: burst * msPerToken });
      const taken: { atMs: number; count: number; turn: number }[] = [];
      let turns = 0;
      const caller = function* (): Coroutine<void> {
        for (let n = 0; n < 5; n++) {
          const count = 1 + world.pick(burst);
          const turn = turns++;
          let isTaken = true;
          const how = world.pick(4);
          if (how === 0)
            yield* limiter.acquire(count); // a lost wake would leave it waiting
          else if (how === 1) isTaken = limiter.tryAcquire(count);
          else {
            const taking = sendThenTrue(limiter.acquire(count));
            isTaken = (yield* orUndefined(1 + world.pick(12), taking)) === true;
          }
          if (isTaken) taken.push({ atMs: world.now(), count, turn });
          if (world.pick(3) === 1) yield* sleep(world.pick(10));
        }
      };
      yield* joinAll(Array.from({ length: 4 }, () => spawn(caller)));
      for (const [first, { atMs: fromMs }] of taken.entries()) {
        let sum = 0;
        for (const { atMs, count } of taken.slice(first)) {
          sum += count;
          const limit = burst + (atMs - fromMs) / msPerToken;
          if (sum > limit + 0.001) throw new Error(`${sum} tokens, of ${limit}`);
        }
      }
      yield* sleep(burst * msPerToken);
      expectEqual(limiter.available, burst, "the tokens after a pause");
    },
  },
  {
    name: "writers that downgrade read what they wrote",
    *run(world) {
      const lock = new RwLock(0);
      let writers = 0;
      let readers = 0;
      const write = function* (): Coroutine<void> {
        for (let round = 0; round < 3; round++) {
          try {
            yield* timeout(1 + world.pick(6), function* () {
              using writing = yield* lock.write();
              writers++;
              try {
                if (writers > 1 || readers > 0) throw new Error("a writer is not alone");
                if (world.pick(2) === 1) yield* sleep(world.pick(2));
                writing.value++;
              } finally {
                writers--;
              }
              const written = writing.value;
              using reading = writing.downgrade();
              readers++;
              try {
                for (let steps = world.pick(4); steps > 0; steps--) yield* yieldNow();
                expectEqual(reading.value, written, "the value after the downgrade");
              } finally {
                readers--;
              }
            });
          } catch (error) {
            if (!(error instanceof TimeoutError)) throw error;
          }
        }
      };
      const read = function* (): Coroutine<void> {
        for (let round = 0; round < 4; round++) {
          using reading = yield* lock.read();
          readers++;
          const { value } = reading;
          if (writers > 0) throw new Error("a reader and a writer");
          if (world.pick(2) === 1) yield* sleep(world.pick(2));
          else yield* yieldNow();
          expectEqual(reading.value, value, "the value during a read");
          readers--;
        }
      };
      yield* joinAll([write, write, write, read, read].map((work) => spawn(work)));
      lock.tryWrite()![Symbol.dispose]();
    },
  },
  {
    name: "the agent of examples/unix-agent.ts, which crashes and leaves its file",
    faults: { interrupts: 0.02, fdShortage: 0.02 },
    *run(world) {
      const path = "/run/agent.sock";
      const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
      const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
      const answer = function* (client: UnixSeqpacket): Coroutine<void> {
        const { pid } = client.peerCredentials();
        const buffer = new Uint8Array(64);
        for (;;) {
          using request = yield* client.recv(buffer, { maxFds: 0 });
          if (request.bytes === 0) return;
          const name = decode(buffer.subarray(0, request.bytes));
          const { reader, writer } = pipe();
          using _writer = writer;
          using _reader = reader;
          yield* writer.writeAll(encode(`${name} for ${pid}`));
          yield* client.send(encode("ok"), { fds: [reader] });
        }
      };
      const open = function* (name: string): Coroutine<string> {
        using agent = yield* UnixSeqpacket.connect(path);
        yield* agent.send(encode(name));
        const buffer = new Uint8Array(64);
        using reply = yield* agent.recv(buffer);
        const [file] = reply.fds;
        const isIgnored = world.pick(8) === 1; // then disposing the reply closes the file
        if (file === undefined || isIgnored) throw new TruncatedError();
        using opened = new AsyncFd(file.release());
        let text = "";
        for (;;) {
          const chunk = yield* opened.readChunk();
          if (chunk === null) return text;
          text += decode(chunk);
        }
      };
      const machine = world.host("machine", function* (host) {
        const stop = new AbortController();
        const serving = spawn(
          persistently(function* () {
            const listener = UnixSeqpacketListener.bind({ path, replaceStale: true });
            yield* serve(listener, answer, { signal: stop.signal, onError: () => {} });
          }),
        );
        const work = function* (index: number): Coroutine<void> {
          for (let n = 0; n < 4; n++) {
            const name = `file ${index}.${n}`;
            const text = yield* persistently(() => timeout(1 + world.pick(20), open(name)));
            expectEqual(text, `${name} for ${host.pid}`, "what the file holds");
          }
        };
        yield* joinAll([0, 1, 2].map((index) => spawn(work(index))));
        stop.abort();
        yield* serving;
        expectEqual(host.process!.kernel.programFds, [], "the fds that are left");
      });
      for (let times = world.pick(3); times > 0; times--) {
        yield* sleep(world.pick(20));
        if (!machine.isUp) break;
        if (world.pick(2) === 1) machine.crash();
        else machine.kill();
        machine.restart();
      }
      yield* machine;
    },
  },
  {
    name: "unix datagrams of many senders to one receiver, which is slow",
    faults: { interrupts: 0.02 },
    *run(world) {
      const name = "\0receiver";
      const received = new Map<number, number>();
      const receiver = spawn(function* () {
        using socket = UnixDatagram.bind(name);
        const buffer = new Uint8Array(8);
        for (let count = 0; count < 3 * 20; count++) {
          if (world.pick(8) === 1) yield* sleep(world.pick(4));
          using message = yield* socket.recv(buffer);
          expectEqual(message.bytes, 2, "the length");
          const [sender, n] = buffer;
          expectEqual(n, received.get(sender!) ?? 0, "the order of a sender's datagrams");
          received.set(sender!, n! + 1);
        }
      });
      const send = function* (sender: number): Coroutine<void> {
        using socket = UnixDatagram.open();
        if (sender > 0) socket.connect(name);
        for (let n = 0; n < 20; ) {
          const data = new Uint8Array([sender, n]);
          const sending = sender > 0 ? socket.send(data) : socket.sendTo(data, name);
          const isPatient = world.pick(2) === 0; // a lost wake would leave it waiting
          const sent = yield* isPatient ? sending : orUndefined(world.pick(5), sending);
          if (sent !== undefined) n++;
        }
      };
      yield* yieldNow();
      yield* sleep(1);
      yield* joinAll([0, 1, 2].map((sender) => spawn(send(sender))));
      yield* receiver;
    },
  },
];
