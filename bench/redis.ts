// examples/mini-redis.ts, compared with redis-server and with GET and SET by hand on Bun.listen. The load is
// redis-benchmark.

import { compare, finish, isQuick, type Peer, perSecond, rounds, skip } from "./harness.ts";
import { Child, freePort, here, pinned } from "./processes.ts";

interface Load {
  readonly command: "set" | "get";
  readonly pipeline: number;
}

class RedisServer implements Peer<Load> {
  readonly name: string;
  readonly #child: Child;
  #port: string;

  constructor(name: string, command: readonly string[], port = "") {
    this.name = name;
    this.#port = port;
    this.#child = new Child([...pinned(0), ...command]);
  }

  /** Waits until the server listens. */
  async ready(): Promise<this> {
    for (;;) {
      const line = await this.#child.line();
      if (line === null) throw new Error(`${this.name} ended before it listened`);
      this.#port ||= /listening on 127\.0\.0\.1:(\d+)/.exec(line)?.[1] ?? "";
      if (line.includes("listening on") || line.includes("Ready to accept")) return this;
    }
  }

  /** Returns requests per second. */
  async measure({ command, pipeline }: Load): Promise<number> {
    const requests = (isQuick ? 20_000 : 50_000) * (pipeline > 1 ? 4 : 1);
    const load = new Child([
      ...[...pinned(1), "redis-benchmark", "-p", this.#port, "-t", command, "--csv"],
      ...["-P", `${pipeline}`, "-n", `${requests}`, "-c", "50"],
    ]);
    for (;;) {
      const line = await load.line();
      if (line === null) throw new Error(`redis-benchmark failed against ${this.name}`);
      const rate = new RegExp(`^"${command.toUpperCase()}","([\\d.]+)"`).exec(line)?.[1];
      if (rate !== undefined) return Number(rate);
    }
  }

  stop(): void {
    this.#child.stop();
  }
}

if (Bun.which("redis-server") === null || Bun.which("redis-benchmark") === null) {
  skip("mini-redis", "apt install redis-server redis-tools");
} else {
  const port = `${freePort()}`;
  const options = ["--port", port, "--bind", "127.0.0.1", "--save", ""];
  const servers = [
    new RedisServer("redis-server", ["redis-server", ...options], port),
    new RedisServer("examples/mini-redis.ts", ["bun", `${here}../examples/mini-redis.ts`, "0"]),
    new RedisServer("Bun.listen, GET and SET by hand", ["bun", `${here}peers/redis/bun.ts`]),
  ];
  try {
    for (const server of servers) await server.ready();
    for (const pipeline of [1, 16]) {
      for (const command of ["set", "get"] as const) {
        const shape = `${command.toUpperCase()}, 50 connections, ${pipeline} in flight`;
        await compare("Redis", shape, { command, pipeline }, servers, perSecond, rounds);
      }
    }
  } finally {
    for (const server of servers) server.stop();
  }
  await finish();
}
