// A server on several cores: a Worker per core, each with a runtime and a listener of its own on the same port. The
// kernel spreads the connections over the listeners (SO_REUSEPORT in socket(7)).
//
//   bun run examples/many-cores.ts [port] [workers]   # 127.0.0.1:7002 and a Worker per core by default
//   nc 127.0.0.1 7002                                 # several times: different Workers answer
//   kill -HUP PID                                     # a graceful restart: new Workers start, then the old ones stop
//
// A connection that waits in the queue of an old Worker when it stops is reset, unless net.ipv4.tcp_migrate_req is 1: see
// ip-sysctl in the kernel's documentation.
//
// `bun bench/cores.ts` measures how it scales.
//
// You will see: the process and the address, a line for each Worker that starts or stops, and, in nc, which Worker
// answers. Ctrl-C stops the server: it gives open connections two seconds to finish.

import { ctrlC, Runtime, race, serve, signal, TcpListener, type TcpStream } from "../src/index.ts";

/** What the main thread tells a Worker. */
type Order = { readonly name: string; readonly port: number } | "stop";
/** What a Worker tells the main thread. */
type Report = { readonly port: number } | "stopped";

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
    const listener = TcpListener.bind({ hostname: "127.0.0.1", port: data.port, reusePort: true });
    self.postMessage({ port: listener.localAddress.port });
    const answer = function* (stream: TcpStream) {
      yield* stream.writeAll(`${data.name} answers\n`);
      for (;;) {
        const chunk = yield* stream.readChunk();
        if (chunk === null) return;
        yield* stream.writeAll(chunk);
      }
    };
    await serve(listener, answer, { signal: stop.signal, graceMs: 2000 });
    self.postMessage("stopped");
  };
}

/** A Worker, as the main thread sees it. */
class Server {
  readonly #worker = new Worker(import.meta.url);
  readonly #name: string;
  readonly #stopped: Promise<void>;
  #onStarted = (_port: number): void => {};

  constructor(name: string) {
    this.#name = name;
    this.#stopped = new Promise((resolve) => {
      this.#worker.onmessage = ({ data }: { data: Report }) => {
        if (data === "stopped") resolve();
        else this.#onStarted(data.port);
      };
    });
  }

  /** Resolves with the port once the Worker listens. */
  start(port: number): Promise<number> {
    return new Promise((resolve) => {
      this.#onStarted = (bound) => {
        console.log(`${this.#name} started`);
        resolve(bound);
      };
      this.#worker.postMessage({ name: this.#name, port } satisfies Order);
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
  let port = Number(portText);
  let started = 0;
  const startAll = async (): Promise<Server[]> => {
    const servers: Server[] = [];
    for (let index = 0; index < count; index++) {
      const server = new Server(`worker ${++started}`);
      port = await server.start(port); // the first one chooses the port, if it is 0
      servers.push(server);
    }
    return servers;
  };
  await using runtime = new Runtime();
  await runtime.run(async () => {
    let servers = await startAll();
    console.log(`process ${process.pid} listening on 127.0.0.1:${port}`);
    while ((await race(ctrlC(), signal("SIGHUP"))) === "SIGHUP") {
      const old = servers;
      servers = await startAll();
      await Promise.all(old.map((server) => server.stop()));
    }
    await Promise.all(servers.map((server) => server.stop()));
  });
}
