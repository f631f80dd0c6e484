// Sample programs with one planted bug each, which `isPlanted` switches on. Without it they are correct.

import {
  BufReader,
  type Coroutine,
  join,
  Mutex,
  race,
  sleep,
  spawn,
  TcpListener,
  TcpStream,
  TimeoutError,
  timeout,
  yieldNow,
} from "../../../src/index.ts";
import type { LinkOptions, World } from "../../../src/sim/index.ts";

export interface PlantedProgram {
  readonly name: string;
  readonly link?: LinkOptions;
  scenario(isPlanted: boolean): (world: World) => Coroutine<void>;
}

/** Accepts connections on port 7000 and serves each in a task. */
function* serveEach(serve: (stream: TcpStream) => Coroutine<void>): Coroutine<void> {
  using listener = TcpListener.bind("0.0.0.0:7000");
  for (;;) {
    const stream = yield* listener.accept();
    spawn(function* () {
      using _ = stream;
      try {
        yield* serve(stream);
      } catch {
        // the client has gone
      }
    });
  }
}

/** Two withdrawals read the balance, wait, and write it. */
const lostUpdate: PlantedProgram = {
  name: "a lost update across an await",
  scenario: (isPlanted) =>
    function* (world) {
      let balance = 100;
      const lock = new Mutex(null);
      yield* world.host("bank", function* () {
        const withdraw = function* (): Coroutine<void> {
          using _ = isPlanted ? null : yield* lock.lock();
          if (Math.random() < 0.5) yield* yieldNow(); // a cache that misses now and then
          const before = balance;
          if (world.pick(8) === 1) yield* sleep(1);
          balance = before - 10;
        };
        yield* join(spawn(withdraw), spawn(withdraw), spawn(withdraw));
      });
      if (balance !== 70) throw new Error(`the balance is ${balance}`);
    },
};

/** A proxy must pass on the end of each direction, and keep the other one. */
const halfClose: PlantedProgram = {
  name: "a forgotten half-close",
  scenario: (isPlanted) =>
    function* (world) {
      world.host("server", () =>
        serveEach(function* (stream) {
          let size = 0;
          for (;;) {
            const chunk = yield* stream.readChunk();
            if (chunk === null) break;
            size += chunk.length;
          }
          yield* stream.writeAll(`${size}\n`);
        }),
      );
      world.host("proxy", () =>
        serveEach(function* (client) {
          using server = yield* TcpStream.connect("server:7000");
          const copy = function* (from: TcpStream, to: TcpStream): Coroutine<void> {
            for (;;) {
              const chunk = yield* from.readChunk();
              if (chunk === null) break;
              yield* to.writeAll(chunk);
            }
            to.shutdown();
          };
          const up = copy(client, server);
          const down = copy(server, client);
          // The bug: the proxy hangs up as soon as one direction has ended, if the answer is not there by then.
          if (isPlanted) yield* race(spawn(down), spawn(up), sleep(60_000));
          else yield* join(spawn(up), spawn(down));
        }),
      );
      yield* sleep(50);
      const answer = yield* world.host("client", function* () {
        using stream = yield* TcpStream.connect("proxy:7000");
        yield* stream.writeAll("a question");
        stream.shutdown();
        return yield* new BufReader(stream).readLine();
      });
      if (answer !== "10") throw new Error(`the answer is ${answer}`);
    },
};

/** A client repeats a payment whose answer does not come in time. */
const doubledEffect: PlantedProgram = {
  name: "a retry that doubles an effect",
  link: { latencyMs: [1, 100], loss: 0.1 },
  scenario: (isPlanted) =>
    function* (world) {
      const seen = new Set<string>();
      let payments = 0;
      world.host("bank", () =>
        serveEach(function* (stream) {
          const id = yield* new BufReader(stream).readLine();
          if (id === null) return;
          if (isPlanted || !seen.has(id)) payments++;
          seen.add(id);
          yield* stream.writeAll("paid\n");
        }),
      );
      yield* sleep(10);
      yield* world.host("shop", function* () {
        for (;;) {
          try {
            return yield* timeout(400, function* () {
              using stream = yield* TcpStream.connect("bank:7000");
              yield* stream.writeAll("payment 1\n");
              yield* new BufReader(stream).readLine();
            });
          } catch (error) {
            if (!(error instanceof TimeoutError)) throw error;
          }
        }
      });
      if (payments !== 1) throw new Error(`paid ${payments} times`);
    },
};

const lockOrder: PlantedProgram = {
  name: "a lock taken in two orders",
  scenario: (isPlanted) =>
    function* (world) {
      yield* world.host("bank", function* () {
        const a = new Mutex(0, { name: "account a" });
        const b = new Mutex(0, { name: "account b" });
        const move = function* (first: Mutex<number>, second: Mutex<number>): Coroutine<void> {
          using _first = yield* first.lock();
          if (world.pick(4) === 1) yield* yieldNow();
          using _second = yield* second.lock();
          yield* yieldNow();
        };
        const back = isPlanted ? move(b, a) : move(a, b);
        yield* join(spawn(move(a, b)), spawn(back));
      });
    },
};

/** Clients reconnect after their server has crashed: with a pause that grows, or at once. */
const reconnectStorm: PlantedProgram = {
  name: "a reconnect storm",
  scenario: (isPlanted) =>
    function* (world) {
      const server = world.host("server", () =>
        serveEach(function* (stream) {
          for (;;) if ((yield* stream.readChunk()) === null) return;
        }),
      );
      let attempts = 0;
      for (let index = 0; index < 3; index++) {
        world.host(`client ${index}`, function* () {
          let pauseMs = 100;
          for (;;) {
            try {
              attempts++;
              using stream = yield* TcpStream.connect("server:7000");
              pauseMs = 100;
              yield* stream.read(new Uint8Array(1));
            } catch {
              // refused or reset
            }
            yield* sleep(isPlanted ? 0 : pauseMs);
            pauseMs = Math.min(pauseMs * 2, 10_000);
          }
        });
      }
      yield* sleep(100);
      if (world.pick(4) === 1) server.kill(); // its host refuses connections from now on
      yield* sleep(200);
      if (attempts > 20) throw new Error(`${attempts} attempts in 300 ms`);
    },
};

/** A pool of two connections. A checkout that times out must not lose the connection that arrives later. */
const leakedConnection: PlantedProgram = {
  name: "a timeout that leaks a connection",
  scenario: (isPlanted) =>
    function* (world) {
      let open = 0;
      world.host("server", () =>
        serveEach(function* (stream) {
          open++;
          try {
            for (;;) if ((yield* stream.readChunk()) === null) return;
          } finally {
            open--;
          }
        }),
      );
      yield* sleep(10);
      world.host("client", function* () {
        for (let count = 0; count < 5; count++) {
          const connecting = spawn(TcpStream.connect("server:7000"));
          // The bug: the timeout gives up the handle, and the task goes on to open its connection.
          const work = isPlanted ? connecting : connecting.abortOnDrop();
          try {
            const stream = yield* timeout(6, work);
            stream.close();
          } catch (error) {
            if (!(error instanceof TimeoutError)) throw error;
          }
        }
        yield* sleep(1e6);
      });
      yield* sleep(1000);
      if (open > 0) throw new Error(`${open} connections are left`);
    },
};

export const programs: readonly PlantedProgram[] = [
  lostUpdate,
  halfClose,
  doubledEffect,
  lockOrder,
  reconnectStorm,
  leakedConnection,
];
