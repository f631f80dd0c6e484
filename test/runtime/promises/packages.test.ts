// Queues, limits, locks and pools from npm, with a timeout around each job: only a request that is late fails.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { AsyncLocalStorage, AsyncResource } from "node:async_hooks";
import { Mutex, Semaphore } from "async-mutex";
import { createPool } from "generic-pool";
import pLimit from "p-limit";
import PQueue from "p-queue";
import { Runtime, sleep, spawn, TcpListener, TcpStream, timeout } from "../../../src/index.ts";
import { newFds, openFds } from "../../support/fds.ts";
import { JobQueue } from "../../support/job-queue.ts";
import { silenceWarnings } from "../../support/output.ts";

setDefaultTimeout(60_000); // the machine may be slow

type Job<T> = () => Promise<T>;
/** Performs jobs, at most `concurrency` at a time. */
type Queue = <T>(job: Job<T>) => Promise<T>;

const packages: [string, (concurrency: number) => Queue][] = [
  [
    "p-queue",
    (concurrency) => {
      const queue = new PQueue({ concurrency });
      return (job) => queue.add(job);
    },
  ],
  [
    "p-limit",
    (concurrency) => {
      const limit = pLimit(concurrency);
      return (job) => limit(job);
    },
  ],
  [
    "async-mutex",
    (concurrency) => {
      const lock = concurrency === 1 ? new Mutex() : new Semaphore(concurrency);
      return <T>(job: Job<T>) => lock.runExclusive(job) as Promise<T>;
    },
  ],
  [
    "generic-pool",
    (concurrency) => {
      const create = async (): Promise<object> => {
        await sleep(0);
        return {};
      };
      const pool = createPool(
        { create, destroy: async () => await sleep(0) },
        { max: concurrency },
      );
      return async (job) => await pool.use(job);
    },
  ],
];

/** Runs `work` in one of the three ways; then nothing may be left in its runtime. */
const ways: [string, <T>(work: () => Promise<T>) => Promise<T>][] = [
  [
    "in guest mode",
    async (work) => {
      await using runtime = new Runtime();
      const value = await runtime.run(work);
      expectNothingLeft(runtime);
      return value;
    },
  ],
  [
    "on the ambient runtime",
    async (work) => {
      const value = await work();
      expectNothingLeft(Runtime.ambient());
      return value;
    },
  ],
  [
    "with blockOn",
    async (work) => {
      using runtime = new Runtime();
      const value = runtime.blockOn(work);
      expectNothingLeft(runtime);
      return value;
    },
  ],
];

function expectNothingLeft(runtime: Runtime): void {
  expect(runtime.tasks()).toEqual([]);
  expect(runtime.metrics()).toMatchObject({ timers: 0, jobs: 0 });
  expect(runtime.foreignPromises).toBe(0);
}

/** Sends a byte to the server and returns its echo. */
async function ask(server: TcpListener, value: number): Promise<number> {
  using stream = await TcpStream.connect(server.localAddress);
  await stream.writeAll(Uint8Array.of(value));
  const buffer = new Uint8Array(1);
  await stream.read(buffer);
  return buffer[0]!;
}

/** Serves `count` connections, each of which sends one byte. */
function serve(listener: TcpListener): () => Promise<void> {
  const server = spawn(async () => {
    for (;;) {
      const stream = await listener.accept();
      spawn(async () => {
        using _ = stream;
        const buffer = new Uint8Array(1);
        if ((await stream.read(buffer)) > 0) await stream.writeAll(buffer);
      }).detach();
    }
  });
  return async () => {
    server.abort();
    await server.then(null, () => {});
  };
}

describe.each(packages)("%s", (_name, open) => {
  describe.each(ways)("%s", (_way, perform) => {
    test.each([[1], [3]])(
      "with %d jobs at a time: only a late request fails",
      async (concurrency) => {
        using _ = silenceWarnings(); // blockOn warns of promises of others
        const before = openFds();
        const results = await perform(async () => {
          const queue = open(concurrency);
          using listener = TcpListener.bind("127.0.0.1:0");
          const close = serve(listener);
          let active = 0;
          let mostActive = 0;
          const cleanups: number[] = [];
          const request = async (id: number): Promise<number | string> => {
            const isLate = id % 3 === 0;
            const job = async (): Promise<number> => {
              mostActive = Math.max(mostActive, ++active);
              try {
                await sleep(isLate ? 30 : 1);
                return await ask(listener, id);
              } finally {
                await ask(listener, id);
                cleanups.push(id);
                active--;
              }
            };
            try {
              return await timeout(isLate ? 5 : 60_000, () => queue(job));
            } catch (error) {
              return (error as Error).name;
            }
          };
          const ids = Array.from({ length: 12 }, (_, id) => id);
          const results = await Promise.all(ids.map(request));
          expect(await request(100)).toBe(100); // the queue goes on
          expect(mostActive).toBe(concurrency);
          // A job whose request was late before it began still runs, as with promises.
          while (active > 0 || cleanups.length < 13) await sleep(1);
          expect(cleanups.toSorted((a, b) => a - b)).toEqual([...ids, 100]);
          await close();
          return results;
        });
        expect(results).toEqual(
          Array.from({ length: 12 }, (_, id) => (id % 3 === 0 ? "TimeoutError" : id)),
        );
        expect(newFds(before).filter((target) => target.startsWith("socket:"))).toEqual([]);
      },
    );
  });
});

describe("a job that runs in the async context of another request", () => {
  /**
   * Request 1 goes on after its own job; then it times out. The job of request 2 runs at that moment. Returns how
   * request 2 ended, and in whose context its job ran.
   */
  async function neighbors(queue: Queue, bind: <T>(job: Job<T>) => Job<T>): Promise<string[]> {
    await using runtime = new Runtime();
    const requests = new AsyncLocalStorage<string>();
    let context = "";
    const first = async (): Promise<void> => {
      await queue(async () => await sleep(1));
      await sleep(1e6);
    };
    const second = async (): Promise<string> => {
      const job = async (): Promise<string> => {
        context = requests.getStore() ?? "none";
        await sleep(60);
        return "served";
      };
      try {
        return await timeout(60_000, () => queue(bind(job)));
      } catch (error) {
        return `${(error as Error).name}: ${(error as Error).message}`;
      }
    };
    const [late, result] = await Promise.all([
      requests
        .run("request 1", () => runtime.run(timeout(20, first)))
        .catch((error: Error) => error.name),
      requests.run("request 2", () => runtime.run(second)),
    ]);
    expectNothingLeft(runtime);
    return [late as string, context, result];
  }
  const unbound = <T>(job: Job<T>): Job<T> => job;
  const bound = <T>(job: Job<T>): Job<T> => AsyncResource.bind(job);
  /** A queue that starts a job in the context of the one before it. */
  const naive = (): Queue => {
    const queue = new JobQueue();
    return (job) => queue.add(job);
  };

  test("is cancelled with that request", async () => {
    expect(await neighbors(naive(), unbound)).toEqual([
      "TimeoutError",
      "request 1",
      expect.stringContaining("AbortError: async function first was cancelled (TimeoutError"),
    ]);
  });

  test("is not if the caller binds it to its own context: AsyncResource.bind(job)", async () => {
    expect(await neighbors(naive(), bound)).toEqual(["TimeoutError", "request 2", "served"]);
  });

  test.each(packages)(
    "does not occur in %s, which starts each job in its own context",
    async (_, open) => {
      expect(await neighbors(open(1), unbound)).toEqual(["TimeoutError", "request 2", "served"]);
    },
  );
});
