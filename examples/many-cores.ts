// A server on several cores: a Worker per core, each with a runtime and a listener of its own on the same port. The
// kernel spreads the connections over the listeners (SO_REUSEPORT in socket(7)).
//
// The main thread binds the listeners and keeps them open; a Worker accepts from one by its fd. So a restart loses no
// connection: the new Workers accept from the same listeners, and what waits in a backlog stays there until one does.
//
//   bun run examples/many-cores.ts [port] [workers]   # 127.0.0.1:7002 and a Worker per core by default
//   nc 127.0.0.1 7002                                 # several times: different Workers answer
//   kill -HUP PID                                     # a graceful restart: new Workers start, then the old ones stop
//
// `bun bench/cores.ts` measures how it scales.
//
// You will see: the process and the address, a line for each Worker that starts or stops, and, in nc, which Worker
// answers. Ctrl-C stops the server: it gives open connections two seconds to finish.

import {
  ctrlC,
  Runtime,
  race,
  serve,
  signal,
  spawn,
  TcpListener,
  type TcpStream,
} from "../src/index.ts";

/** What the main thread tells a Worker. */
type Order = { readonly name: string; readonly fd: number } | "stop";
/** What a Worker tells the main thread. */
type Report = "started" | "stopped";

declare const self: {
  onmessage: (event: { data: Order }) => void;
  postMessage(report: Report): void;
};

if (Bun.isMainThread) await main();
else work();

/** A Worker: serves until it is told to stop. */
function work(): void {
  const stop = new AbortController();
  self.onmessage = async ({ data }) => {
    if (data === "stop") return stop.abort();
    const listener = TcpListener.fromFd(data.fd);
    // The main thread owns the fd: at the end, this Worker stops accepting, and leaves the listener open.
    let isOver = false;
    const acceptor = {
      accept: () => listener.accept(),
      close() {
        if (!isOver) listener.release();
        isOver = true;
      },
    };
    self.postMessage("started");
    const answer = function* (stream: TcpStream) {
      yield* stream.writeAll(`${data.name} answers\n`);
      for (;;) {
        const chunk = yield* stream.readChunk();
        if (chunk === null) return;
        yield* stream.writeAll(chunk);
      }
    };
    await serve(acceptor, answer, { signal: stop.signal, graceMs: 2000 });
    self.postMessage("stopped");
  };
}

/** A Worker, as the main thread sees it. */
class Server {
  readonly #worker = new Worker(import.meta.url);
  readonly #name: string;
  readonly #stopped: Promise<void>;
  #onStarted = (): void => {};

  constructor(name: string) {
    this.#name = name;
    this.#stopped = new Promise((resolve) => {
      this.#worker.onmessage = ({ data }: { data: Report }) => {
        if (data === "stopped") resolve();
        else this.#onStarted();
      };
    });
  }

  /** Resolves once the Worker accepts connections. */
  start({ fd }: TcpListener): Promise<void> {
    return new Promise((resolve) => {
      this.#onStarted = () => {
        console.log(`${this.#name} started`);
        resolve();
      };
      this.#worker.postMessage({ name: this.#name, fd } satisfies Order);
    });
  }

  /** Resolves once the connections of the Worker have ended. */
  async stop(): Promise<void> {
    this.#worker.postMessage("stop" satisfies Order);
    await this.#stopped;
    this.#worker.terminate();
    console.log(`${this.#name} stopped`);
  }
}

async function main(): Promise<void> {
  const [, , portText = "7002", countText] = process.argv;
  const count = Number(countText ?? navigator.hardwareConcurrency);
  const hostname = "127.0.0.1";
  const first = TcpListener.bind({ hostname, port: Number(portText), reusePort: true });
  const { port } = first.localAddress; // the kernel chooses it, if it is 0
  const listeners = [first];
  while (listeners.length < count) {
    listeners.push(TcpListener.bind({ hostname, port, reusePort: true }));
  }
  let started = 0;
  const startAll = (): Promise<Server[]> =>
    Promise.all(
      listeners.map(async (listener) => {
        const server = new Server(`worker ${++started}`);
        await server.start(listener);
        return server;
      }),
    );
  await using runtime = new Runtime();
  await runtime.run(async () => {
    const nextSignal = () => spawn(race(ctrlC(), signal("SIGHUP")));
    let next = nextSignal();
    let servers = await startAll();
    console.log(`process ${process.pid} listening on 127.0.0.1:${port}`);
    while ((await next) === "SIGHUP") {
      next = nextSignal(); // a signal during the restart waits for its end; uncaught, it would end the process
      const old = servers;
      servers = await startAll();
      await Promise.all(old.map((server) => server.stop()));
    }
    await Promise.all(servers.map((server) => server.stop()));
    for (const listener of listeners) listener.close();
  });
}
