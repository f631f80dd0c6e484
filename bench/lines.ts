// A line server: BufReader and writeAll, compared with Bun.listen by hand and with node:readline.

import { compare, finish, isQuick, perSecond, rounds, skip } from "./harness.ts";
import { cProgram, here } from "./processes.ts";
import { Server, withStarted } from "./servers.ts";

const lines = (name: string): string => `${here}peers/lines/${name}`;
const commands: [name: string, command: string[]][] = [
  ["Bun.listen, split by hand", ["bun", lines("bun.ts")]],
  ["guillotine, coroutine", ["bun", lines("guillotine.ts"), "coroutine"]],
  ["guillotine, coroutine and BufWriter", ["bun", lines("guillotine.ts"), "buffered"]],
  ["guillotine, async function", ["bun", lines("guillotine.ts"), "async"]],
  ["node:readline on Bun", ["bun", lines("node.mjs"), "event"]],
  ["node:readline with for await on Bun", ["bun", lines("node.mjs"), "for-await"]],
];
if (Bun.which("node") === null) skip("Node", "install Node");
else commands.push(["node:readline on Node", ["node", lines("node.mjs"), "event"]]);

const load = cProgram("load.c");
if (load === null) skip("line servers: the load generator is C", "install a C compiler (cc)");
else {
  const servers = commands.map(([name, command]) => new Server(name, command, load));
  await withStarted(servers, async (started) => {
    for (const depth of [1, 16]) {
      const milliseconds = isQuick ? 100 : 200;
      const work = { mode: "tcp", arguments: [50, 64, depth], milliseconds } as const;
      const shape = `50 connections, ${depth} ${depth === 1 ? "line" : "lines"} of 64 B in flight`;
      await compare("Line server", shape, work, started, perSecond, rounds);
    }
  });
  await finish();
}
