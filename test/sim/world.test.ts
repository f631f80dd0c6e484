// simulate: time, hosts, links, faults, and what is refused.

import { describe, expect, test } from "bun:test";
import {
  AsyncFd,
  type Coroutine,
  Future,
  type IntoFuture,
  interval,
  intoFuture,
  join,
  Leaf,
  now,
  Pending,
  Runtime,
  type SysError,
  signal,
  sleep,
  spawn,
  spawnBlocking,
  TcpListener,
  TcpStream,
  UdpSocket,
  UncaughtTaskError,
} from "../../src/index.ts";
import { Disk, Host, SimulationError, simulate, World } from "../../src/sim/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { readAll } from "../support/sockets.ts";

/** Serves connections on port 7000, each by `serve`. */
function* serveEach(serve: (stream: TcpStream) => Coroutine<void>): Coroutine<void> {
  using listener = TcpListener.bind("0.0.0.0:7000");
  for (;;) {
    const stream = yield* listener.accept();
    spawn(function* () {
      using _ = stream;
      yield* serve(stream);
    });
  }
}

function* echo(stream: TcpStream): Coroutine<void> {
  for (;;) {
    const chunk = yield* stream.readChunk();
    if (chunk === null) return;
    yield* stream.writeAll(chunk);
  }
}

function* hold(): Coroutine<void> {
  yield* sleep(1e9);
}

const echoServer = () => serveEach(echo);
const holdServer = () => serveEach(hold);

function* ask(text: string): Coroutine<string> {
  using stream = yield* TcpStream.connect("server:7000");
  yield* stream.writeAll(text);
  stream.shutdown();
  return (yield* readAll(stream)).toString();
}

test("virtual time jumps to the next timer, and Date, performance.now and now() agree with it", () => {
  const seen = simulate({ date: Date.UTC(2031, 0, 1) }, function* (world) {
    const ticks = interval(3_600_000);
    for (let hour = 0; hour < 1000; hour++) yield* ticks.tick();
    const nanoseconds = [process.hrtime.bigint(), BigInt(Bun.nanoseconds())];
    expect(nanoseconds).toEqual([3_600_000_000_000_000n, 3_600_000_000_000_000n]);
    return [world.now(), performance.now(), now(), new Date().toISOString(), Date.now()];
  });
  const hours = 3_600_000_000;
  const date = Date.UTC(2031, 0, 1) + hours;
  expect(seen).toEqual([hours, hours, hours, new Date(date).toISOString(), date]);
});

test("a scenario may be an async function", () => {
  expect(
    simulate(async (world) => {
      await sleep(5000);
      const host = world.host("worker", async () => {
        await sleep(1000);
        return "done";
      });
      return [await host, world.now()];
    }),
  ).toEqual(["done", 6000]);
});

function* echoScenario(world: World): Coroutine<[string[], readonly string[]]> {
  world.host("server", echoServer);
  const client = world.host("client", function* () {
    yield* sleep(10);
    return yield* join(ask("a".repeat(2000)), ask("b"));
  });
  return [yield* client, world.log];
}

test("the same seed gives the same run to the byte of its log, and another seed another run", () => {
  const [answers, log] = simulate({ seed: 42 }, echoScenario);
  expect(answers).toEqual(["a".repeat(2000), "b"]);
  expect(log.length).toBeGreaterThan(100);
  expect(simulate({ seed: 42 }, echoScenario)[1]).toEqual(log);
  expect(simulate({ seed: 43 }, echoScenario)[1]).not.toEqual(log);
});

test("a connect and a transfer across a partition end in ETIMEDOUT when Linux gives up", () => {
  const seen = simulate({ link: { latencyMs: 0.5 } }, function* (world) {
    world.host("server", holdServer);
    const elapsed = function* (work: IntoFuture<unknown>): Coroutine<unknown> {
      const startMs = world.now();
      const error = yield* failureOf(intoFuture(work));
      return [
        (error as Error).message.split(" ").slice(0, 2).join(" "),
        Math.round(world.now() - startMs),
      ];
    };
    const client = world.host("client", function* () {
      yield* sleep(10);
      using stream = yield* TcpStream.connect("server:7000");
      yield* sleep(1000);
      return yield* join(
        elapsed(TcpStream.connect("server:7000")),
        elapsed(function* () {
          yield* stream.writeAll("lost");
          yield* stream.read(new Uint8Array(1));
        }),
      );
    });
    yield* sleep(500);
    world.partition(client, "server");
    return yield* client;
  });
  // 131 s for a SYN. 924.6 s after the first repetition of data, at the next repetition: 0.201 × 1023 + 6 × 120 s.
  expect(seen).toEqual([
    ["connect ETIMEDOUT", 131_000],
    ["recv ETIMEDOUT", 925_623],
  ]);
});

test("data that a partition held back arrives after it is healed", () => {
  const answer = simulate(function* (world) {
    world.host("server", echoServer);
    const client = world.host("client", function* () {
      yield* sleep(10);
      return [yield* ask("through"), world.now() > 60_000];
    });
    world.partition("client", "server");
    yield* sleep(60_000);
    world.heal();
    return yield* client;
  });
  expect(answer).toEqual(["through", true]);
});

test("keepalive finds a dead peer: the idle time, then the probes", () => {
  const seen = simulate(function* (world) {
    world.host("server", holdServer);
    const client = world.host("client", function* () {
      yield* sleep(10);
      using stream = yield* TcpStream.connect("server:7000");
      stream.setKeepAlive({ idleMs: 10_000, intervalMs: 5000, count: 4 });
      const startMs = world.now();
      const error = yield* failureOf(stream.read(new Uint8Array(1)));
      return [(error as SysError).code, Math.round((world.now() - startMs) / 1000)];
    });
    yield* sleep(100);
    world.partition(client, "server");
    return yield* client;
  });
  expect(seen).toEqual(["ETIMEDOUT", 30]);
});

test.each([1, 2, 3])(
  "TCP delivers everything in order over a link that loses, with seed %d",
  (seed) => {
    const sent = Buffer.alloc(200_000, "0123456789abcdef");
    const received = simulate({ seed, link: { loss: 0.2, latencyMs: [1, 50] } }, function* (world) {
      const server = world.host("server", function* () {
        using listener = TcpListener.bind("0.0.0.0:7000");
        using stream = yield* listener.accept();
        return yield* readAll(stream);
      });
      world.host("client", function* () {
        yield* sleep(10);
        using stream = yield* TcpStream.connect("server:7000");
        yield* stream.writeAll(sent);
      });
      return yield* server;
    });
    expect(Buffer.compare(received, sent)).toBe(0);
  },
);

test("a link of limited bandwidth takes its time", () => {
  const elapsedMs = simulate(
    { link: { latencyMs: 1, bytesPerSecond: 1_000_000 } },
    function* (world) {
      const server = world.host("server", function* () {
        using listener = TcpListener.bind("0.0.0.0:7000");
        using stream = yield* listener.accept();
        yield* readAll(stream);
        return world.now();
      });
      world.host("client", function* () {
        using stream = yield* TcpStream.connect("server:7000");
        yield* stream.writeAll(new Uint8Array(2_000_000));
      });
      return yield* server;
    },
  );
  expect(elapsedMs).toBeGreaterThan(2000);
  expect(elapsedMs).toBeLessThan(2100);
});

describe("a host that stops", () => {
  /** Connects to the server, and returns what a read throws or returns after `stop` ran. */
  function readAfter(stop: (server: Host) => void): unknown {
    return simulate(function* (world) {
      const server = world.host("server", holdServer);
      const client = world.host("client", function* () {
        yield* sleep(10);
        using stream = yield* TcpStream.connect("server:7000");
        yield* sleep(5000);
        try {
          yield* stream.writeAll("are you there?");
          return yield* stream.read(new Uint8Array(1));
        } catch (error) {
          const { syscall, code } = error as SysError;
          return `${syscall} ${code}`;
        }
      });
      yield* sleep(1000);
      stop(server);
      return yield* client;
    });
  }

  test("by a crash tells its peers nothing until it is up again and resets their connections", () => {
    expect(readAfter((server) => server.crash())).toBe("recv ETIMEDOUT");
    const afterRestart = readAfter((server) => {
      server.crash();
      expect(server.isUp).toBe(false);
      server.restart();
    });
    expect(afterRestart).toBe("recv ECONNRESET");
  });

  test("by a kill closes its connections at once", () => {
    // The read sees the end. Its write reached a closed socket, but the reset is not here yet.
    expect(readAfter((server) => server.kill())).toBe(0);
  });

  test.each(["crash", "kill"] as const)("may stop itself by a %s, and start again", (how) => {
    const lives = simulate(function* (world) {
      let lives = 0;
      const host = world.host("host", function* (self) {
        lives++;
        using _listener = TcpListener.bind("0.0.0.0:7000");
        yield* sleep(1);
        if (lives < 3) {
          self[how]();
          self.restart();
          yield* sleep(1);
          throw new Error("the stopped process continues");
        }
        return "the third life";
      });
      return [yield* host, lives];
    });
    expect(lives).toEqual(["the third life", 3]);
  });

  test("by a kill leaves its kernel running, with the ports of its connections", () => {
    const codes = simulate(function* (world) {
      const server = world.host("server", function* () {
        const socket = UdpSocket.bind("0.0.0.0:7000"); // in use again at once: the old one is closed
        socket.close();
        using listener = TcpListener.bind("0.0.0.0:7000"); // sets SO_REUSEADDR
        using stream = yield* listener.accept();
        yield* stream.read(new Uint8Array(1));
      });
      const client = world.host("client", function* () {
        yield* sleep(10);
        using first = yield* TcpStream.connect("server:7000");
        const end = yield* first.read(new Uint8Array(1)); // the kernel of the killed process sends a FIN
        yield* sleep(10);
        using _second = yield* TcpStream.connect("server:7000");
        return end;
      });
      yield* sleep(100);
      server.kill();
      server.restart();
      return yield* client;
    });
    expect(codes).toBe(0);
  });

  test("runs no cleanup, forgets its memory, and keeps what its disk has synced", () => {
    const cleanups: string[] = [];
    const texts = simulate(function* (world) {
      const store = world.host("store", function* (host) {
        const before = host.disk.read("count");
        host.disk.write("count", Buffer.from(`${Number(Buffer.from(before ?? "0")) + 1}`));
        host.disk.sync();
        try {
          yield* sleep(1e9);
        } finally {
          cleanups.push("ran");
        }
      });
      for (let life = 0; life < 3; life++) {
        yield* sleep(1000);
        store.crash();
        store.restart();
      }
      yield* sleep(1000);
      return Buffer.from(store.disk.read("count")!).toString();
    });
    expect(texts).toBe("4");
    expect(cleanups).toEqual([]);
  });

  test("may lose what its disk has not synced", () => {
    const kept = new Set<boolean>();
    for (let seed = 0; seed < 20; seed++) {
      simulate({ seed }, function* (world) {
        const store = world.host("store", function* (host) {
          host.disk.write("a", new Uint8Array(1));
          yield* sleep(1e9);
        });
        yield* sleep(10);
        store.crash();
        kept.add(store.disk.read("a") !== null);
      });
    }
    expect([...kept].sort()).toEqual([false, true]);
  });
});

test("datagrams are lost, doubled and reordered as the link says", () => {
  const link = { loss: 0.2, duplication: 0.2, latencyMs: [1, 50] as const };
  const received = simulate({ seed: 1, link }, function* (world) {
    const server: Host<number[]> = world.host("server", function* () {
      using socket = UdpSocket.bind("0.0.0.0:7000");
      const seen: number[] = [];
      const buffer = new Uint8Array(8);
      const receiving = spawn(function* () {
        for (;;) {
          yield* socket.recvFrom(buffer);
          seen.push(buffer[0]!);
        }
      });
      yield* sleep(1000);
      receiving.abort();
      return seen;
    });
    world.host("client", function* () {
      using socket = UdpSocket.bind("0.0.0.0:0");
      yield* sleep(10);
      for (let n = 0; n < 100; n++)
        yield* socket.sendTo(new Uint8Array([n]), `${server.address}:7000`);
    });
    return yield* server;
  });
  expect(new Set(received).size).toBeLessThan(100);
  expect(received.length).toBeGreaterThan(new Set(received).size);
  expect(received).not.toEqual([...received].sort((a, b) => a - b));
});

test("a datagram to a closed port of another host fails with ECONNREFUSED", () => {
  const error = simulate(function* (world) {
    const { address } = world.host("server", () => sleep(1e6));
    const client = world.host("client", function* () {
      using socket = UdpSocket.bind("0.0.0.0:0");
      socket.connect(`${address}:7000`);
      yield* socket.send(new Uint8Array(1));
      return yield* failureOf(socket.recv(new Uint8Array(1)));
    });
    return yield* client;
  });
  expect(error).toMatchObject({ code: "ECONNREFUSED" });
});

test("system calls fail by chance as options.faults says, and the library retries", () => {
  const faults = { interrupts: 0.3, fdShortage: 0.3 };
  const [answer, log] = simulate({ seed: 2, faults }, function* (world) {
    const untilOpen = function* <T>(open: () => Coroutine<T>): Coroutine<T> {
      for (;;) {
        try {
          return yield* open();
        } catch (error) {
          expect(error).toMatchObject({ code: "EMFILE" });
          yield* sleep(1);
        }
      }
    };
    world.host("server", () => untilOpen(echoServer));
    const client = world.host("client", function* () {
      yield* sleep(50);
      return yield* untilOpen(() => ask("once more"));
    });
    return [yield* client, world.log.join("\n")];
  });
  expect(answer).toBe("once more");
  expect(log).toMatch(/choose fault 1 of 2/);
});

test("spawnBlocking calls the function at a virtual time, without outer variables", () => {
  const outer = Math.random();
  const result = simulate({ seed: 5 }, function* (world) {
    const sum = yield* spawnBlocking((a: number, b: number) => a + b, 1, 2);
    const error = yield* failureOf(spawnBlocking(() => outer));
    return [sum, (error as Error).name, world.now() > 0];
  });
  expect(result).toEqual([3, "ReferenceError", true]);
});

test("the failure of a host that nobody joins fails the run", () => {
  const fail = function* (): Coroutine<void> {
    yield* sleep(1);
    throw new Error("on purpose");
  };
  expect(() =>
    simulate(function* (world) {
      world.host("server", fail);
      yield* sleep(10);
    }),
  ).toThrow("on purpose");
  const joined = simulate(function* (world) {
    return yield* failureOf(world.host("server", fail));
  });
  expect(joined).toMatchObject({ message: "on purpose" });
});

test("the failure of a task that nobody joins fails the run", () => {
  const run = () =>
    simulate(function* (world) {
      world.host("server", function* () {
        spawn(function* () {
          yield* sleep(1);
          throw new Error("on purpose");
        });
        yield* sleep(1e6);
      });
      yield* sleep(10);
    });
  expect(run).toThrow(UncaughtTaskError);
  expect(run).toThrow("on purpose");
});

test("a signal reaches the hosts that wait for it, and ends one that does not", () => {
  const seen = simulate(function* (world) {
    const graceful = function* (): Coroutine<string> {
      yield* signal("SIGTERM");
      return `stopped at ${world.now()}`;
    };
    const [first, second] = [world.host("first", graceful), world.host("second", graceful)];
    const third = world.host("third", () => sleep(1e9));
    yield* sleep(1000);
    first.signal("SIGTERM");
    third.signal("SIGTERM");
    yield* sleep(1000);
    second.signal("SIGTERM");
    return [yield* first, yield* second, third.isUp];
  });
  expect(seen).toEqual(["stopped at 1000", "stopped at 2000", false]);
  expect(() =>
    simulate(function* (world) {
      world.host("host", () => sleep(1)).signal("SIGNOTHING" as "SIGTERM");
    }),
  ).toThrow('host.signal: name must name a signal; got "SIGNOTHING"');
});

describe("refused by name", () => {
  const open = (): UdpSocket =>
    UdpSocket.bind({ hostname: "127.0.0.1", port: 0, options: { receiveErrors: true } });
  const segments = { address: "127.0.0.1:1", segmentBytes: 1 };
  const dormant = new Runtime();
  const refusals: readonly (readonly [what: string, use: () => unknown])[] = [
    ["fetch", () => fetch("http://127.0.0.1/")],
    ["setTimeout", () => setTimeout(() => {}, 1)],
    ["setInterval", () => setInterval(() => {}, 1)],
    ["Worker", () => new Worker("data:text/javascript,")],
    ["AbortSignal.timeout", () => AbortSignal.timeout(1)],
    ["Bun.sleep", () => Bun.sleep(1)],
    ["Bun.file", () => Bun.file("/dev/null")],
    ["fd 1, which was opened outside the simulation,", () => new AsyncFd(1)],
    ["packet info or segments", () => open().sendMessage(new Uint8Array(2), segments)],
    ["the errors of sent datagrams", () => open().recvError()],
    ["new Runtime()", () => new Runtime()],
    ["Runtime.blockOn()", () => dormant.blockOn(sleep(1))],
    ["spawnBlocking of a module", () => spawnBlocking(new URL("./x.ts", import.meta.url), "x")],
  ];

  test.each(refusals)("%s", (what, use) => {
    const error = caught(() =>
      simulate(function* () {
        const used = use();
        if (used instanceof Future) yield* used;
        yield* sleep(1);
      }),
    );
    expect(error).toBeInstanceOf(SimulationError);
    expect((error as Error).message).toContain(what);
  });

  test("a waker in another thread", () => {
    class ToHandle extends Leaf<never> {
      protected override attempt(cx: Parameters<Leaf<never>["poll"]>[0]): Pending {
        cx.waker.toHandle();
        return Pending;
      }
      override describe(): string {
        return "a handle";
      }
    }
    expect(() => simulate(() => new ToHandle())).toThrow("a waker in another thread");
  });

  test("a promise that nothing in the world settles", () => {
    const foreign = new Promise<void>(() => {});
    expect(() => simulate(async () => foreign)).toThrow(
      "main waits on a promise that this runtime did not make",
    );
  });

  test("a world in which nothing can happen any more, with what each task waits for", () => {
    const stuck = () =>
      simulate(function* (world) {
        const server = world.host("server", function* () {
          using listener = TcpListener.bind("0.0.0.0:7000");
          yield* listener.accept();
        });
        yield* server;
      });
    expect(stuck).toThrow(SimulationError);
    expect(stuck).toThrow(
      /world: main waits on host server.*server: main waits on accept 0.0.0.0:7000/,
    );
  });
});

test("everything a run replaces is restored, also when it fails", () => {
  const before = [
    Date,
    performance.now,
    Math.random,
    crypto.getRandomValues,
    fetch,
    setTimeout,
    Bun.sleep,
  ];
  expect(() =>
    simulate(function* () {
      yield* sleep(1);
      throw new Error("on purpose");
    }),
  ).toThrow("on purpose");
  expect([
    Date,
    performance.now,
    Math.random,
    crypto.getRandomValues,
    fetch,
    setTimeout,
    Bun.sleep,
  ]).toEqual(before);
  expect(new Date().getFullYear()).toBeLessThan(2030);
  using runtime = new Runtime();
  runtime.blockOn(sleep(0));
});

test("random numbers of a run follow from its seed", () => {
  const draw = (seed: number): unknown =>
    simulate({ seed }, function* () {
      return [Math.random(), crypto.randomUUID(), crypto.getRandomValues(new Uint8Array(4))];
    });
  expect(draw(7)).toEqual(draw(7));
  expect(draw(7)).not.toEqual(draw(8));
});

test("a run without a log keeps none", () => {
  const scenario = function* (world: World): Coroutine<number> {
    yield* sleep(1);
    return world.log.length;
  };
  expect(simulate({ log: false }, scenario)).toBe(0);
  expect(simulate(scenario)).toBeGreaterThan(0);
});

test("a scenario that never ends fails after maxTurns", () => {
  expect(() =>
    simulate({ maxTurns: 1000 }, function* () {
      for (;;) yield* sleep(10);
    }),
  ).toThrow("the scenario has not ended after 1000 turns");
});

test("the constructors of World, Host and Disk are not for users", () => {
  for (const [kind, instead] of [
    [World, "simulate(scenario)"],
    [Host, "world.host(name, work)"],
    [Disk, "host.disk"],
  ] as const) {
    const construct = () => new (kind as unknown as new () => object)();
    expect(construct).toThrow(`this constructor is not for users; call ${instead}`);
  }
});
