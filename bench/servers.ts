// Starts the echo servers and the load generator (load.c), each in a process of its own, on different cores.

import { type Peer, skip } from "./harness.ts";
import { Child, cProgram, here, pinned, rustPeers } from "./processes.ts";

/** A load for load.c: its mode, its arguments between the port and the duration, and the duration. */
export interface Load {
  readonly mode: "tcp" | "proxy" | "udp" | "connect";
  readonly arguments: readonly number[];
  readonly milliseconds: number;
}

/** How long a server is idle before its memory is read: until then, the threads of its JIT still use some. */
const SETTLE_MS = 1000;

/** An echo server process. */
export class Server implements Peer<Load> {
  readonly name: string;
  readonly #child: Child;
  readonly #load: string;
  readonly #isPinned: boolean;
  #port = 0;
  #count = 0;
  #userSeconds = 0;

  /** `core` null: neither the server nor its load is pinned. */
  constructor(name: string, command: readonly string[], load: string, core: number | null = 0) {
    this.name = name;
    this.#load = load;
    this.#isPinned = core !== null;
    this.#child = new Child([...(core === null ? [] : pinned(core)), ...command]);
  }

  get port(): number {
    return this.#port;
  }

  /** Waits until the server prints its port. Throws if it does not. */
  async ready(): Promise<this> {
    const line = await this.#child.line();
    this.#port = Number(/port (\d+)/.exec(line ?? "")?.[1]);
    if (Number.isNaN(this.#port)) throw new Error(`${this.name} did not start: ${line}`);
    return this;
  }

  /** Runs the load. Returns operations per second. */
  async measure({ mode, arguments: args, milliseconds }: Load): Promise<number> {
    const before = this.#child.userSeconds;
    const load = new Child(
      [
        ...(this.#isPinned ? pinned(1) : []),
        this.#load,
        mode,
        this.#port,
        ...args,
        milliseconds,
      ].map(String),
    );
    const line = await load.line();
    if (line === null) throw new Error(`load.c failed against ${this.name}`);
    const [count = 0, micros = 1] = line.split(" ").map(Number);
    this.#count += count;
    this.#userSeconds += this.#child.userSeconds - before;
    return (count / micros) * 1e6;
  }

  /** Returns the user CPU time per operation, in µs. The kernel's share is the same for all servers. */
  cost(): number {
    const micros = (this.#userSeconds / this.#count) * 1e6;
    this.#userSeconds = this.#count = 0;
    return micros;
  }

  /**
   * Returns the resident memory per idle connection, in bytes. Opens `connections` twice and measures the second time:
   * the first connections also allocate one-time memory, above all compiled code (12 MB).
   */
  async idleBytes(connections: number): Promise<number> {
    const loads: Child[] = [];
    const hold = async (): Promise<number> => {
      const load = new Child([this.#load, "idle", this.#port, connections].map(String));
      loads.push(load);
      if ((await load.line()) === null) throw new Error(`load.c failed against ${this.name}`);
      await Bun.sleep(SETTLE_MS);
      return this.#child.residentBytes;
    };
    try {
      const before = await hold();
      return ((await hold()) - before) / connections;
    } finally {
      for (const load of loads) load.stop();
    }
  }

  stop(): void {
    this.#child.stop();
  }
}

/** Returns the commands of all installed servers, Bun's own first, and of the load. Empty without a C compiler. */
export function serverCommands(protocol: "tcp" | "udp"): {
  commands: [name: string, command: string[]][];
  load: string;
} {
  const load = cProgram("load.c");
  if (load === null) {
    skip("all servers: the load generator is C", "install a C compiler (cc)");
    return { commands: [], load: "" };
  }
  const server = (name: string): string => `${here}peers/servers/${name}`;
  const ours = ["bun", server("guillotine.ts")];
  const inAsync = ["bun", server("guillotine-async.ts")];
  const inChunks = ["bun", server("guillotine-chunks.ts")];
  const chunkServers: [name: string, command: string[]][] = [
    ["guillotine, readChunk, blockOn", [...inChunks, "blockOn"]],
  ];
  const asyncServers: [name: string, command: string[]][] = [
    ["async functions, blockOn", [...inAsync, "blockOn"]],
    ["async functions, guest mode", [...inAsync, "guest"]],
    ["async functions, ambient", [...inAsync, "ambient"]],
    ["async functions, natural, blockOn", [...inAsync, "blockOn", "natural"]],
  ];
  const node = [server("node.mjs"), protocol];
  const forAwait = ["bun", server("node-for-await.ts")];
  const isUdp = protocol === "udp";
  const commands: [name: string, command: string[]][] = [
    [isUdp ? "Bun.udpSocket" : "Bun.listen", ["bun", server("bun.ts"), protocol]],
    ["guillotine, blockOn", [...ours, "blockOn", protocol]],
    ["guillotine, blockOn, 50 µs spin", [...ours, "blockOn", protocol, "50"]],
    ["guillotine, guest mode", [...ours, "guest", protocol]],
    ...(isUdp ? [] : chunkServers),
    ...(isUdp ? [] : asyncServers),
    [`${isUdp ? "node:dgram" : "node:net"} on Bun`, ["bun", ...node]],
  ];
  if (!isUdp) commands.push(["node:net with for await on Bun", forAwait]);
  if (Bun.which("node") === null) skip("Node", "install Node");
  else commands.push([`${isUdp ? "node:dgram" : "node:net"} on Node`, ["node", ...node]]);
  const epoll = cProgram("peers/servers/epoll.c");
  if (epoll !== null) commands.push(["C, epoll", [epoll, protocol]]);
  if (epoll !== null && !isUdp) commands.push(["C, epoll, 50 µs spin", [epoll, "tcp", "50"]]);
  if (!isUdp) commands.push(["TypeScript by hand, epoll", ["bun", server("by-hand.ts")]]);
  const byHandCoroutine = ["bun", server("by-hand-coroutine.ts")];
  if (!isUdp) commands.push(["coroutines by hand, epoll", byHandCoroutine]);
  const byHandAsync = ["bun", server("by-hand-async.ts")];
  if (!isUdp) commands.push(["async by hand, epoll", byHandAsync]);
  if (!isUdp) commands.push(["async by hand, with owners", [...byHandAsync, "owned"]]);
  if (!isUdp) commands.push(["async by hand, natural", [...byHandAsync, "natural"]]);
  const rust = isUdp ? null : rustPeers();
  if (rust !== null) {
    commands.push(["tokio, current_thread", [rust, "tokio"]], ["smol", [rust, "smol"]]);
  }
  return { commands, load };
}

/** Starts all servers for `protocol`, calls `use`, and stops them. */
export async function withServers(
  protocol: "tcp" | "udp",
  use: (servers: Server[]) => Promise<void>,
): Promise<void> {
  const { commands, load } = serverCommands(protocol);
  await withStarted(
    commands.map(([name, command]) => new Server(name, command, load)),
    use,
  );
}

/** Waits until the servers are ready, calls `use`, and stops them. */
export async function withStarted(
  servers: Server[],
  use: (servers: Server[]) => Promise<void>,
): Promise<void> {
  try {
    for (const one of servers) await one.ready();
    await use(servers);
  } finally {
    for (const one of servers) one.stop();
  }
}
