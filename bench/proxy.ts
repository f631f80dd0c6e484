// A TCP proxy in front of an echo server in C: copyBidirectional, compared with Bun.listen, node:net, socat and tokio. The
// echo server shares the load's core, so that the proxy is what limits the rate.

import { compare, finish, isQuick, perSecond, rounds, skip } from "./harness.ts";
import { cProgram, freePort, here, rustPeers } from "./processes.ts";
import { Server, withStarted } from "./servers.ts";

const shapes: [name: string, connections: number, size: number, depth: number][] = [
  ["1 connection × 64 B", 1, 64, 1],
  ["50 connections × 64 B", 50, 64, 1],
  ["1 connection × 64 KiB", 1, 65_536, 1],
  ["50 connections × 64 KiB", 50, 65_536, 1],
];

/** Returns the shell command of a proxy by socat, which has a process per connection. It cannot print a port itself. */
function socat(port: number): string {
  const listen = `TCP-LISTEN:${port},bind=127.0.0.1,reuseaddr,fork,backlog=4096,nodelay`;
  return `echo port ${port}; exec socat -b 65536 ${listen} TCP:127.0.0.1:$0,nodelay`;
}

/** Returns the commands of all installed proxies, Bun's own first. Each expects the port of its upstream. */
function proxyCommands(): [name: string, command: string[]][] {
  const proxy = (name: string): string => `${here}peers/proxies/${name}`;
  const commands: [name: string, command: string[]][] = [
    ["Bun.listen", ["bun", proxy("bun.ts")]],
    ["guillotine, blockOn", ["bun", proxy("guillotine.ts"), "blockOn"]],
    ["guillotine, guest mode", ["bun", proxy("guillotine.ts"), "guest"]],
    ["node:net on Bun", ["bun", proxy("node.mjs")]],
  ];
  if (Bun.which("node") === null) skip("Node", "install Node");
  else commands.push(["node:net on Node", ["node", proxy("node.mjs")]]);
  if (Bun.which("socat") === null) skip("socat", "apt install socat");
  else commands.push(["socat, a process per connection", ["sh", "-c", socat(freePort())]]);
  const rust = rustPeers();
  if (rust !== null) commands.push(["tokio, current_thread", [rust, "proxy"]]);
  return commands;
}

const load = cProgram("load.c");
const echo = cProgram("peers/servers/epoll.c");
if (load === null || echo === null) {
  skip("all proxies: the load generator and the upstream are C", "install a C compiler (cc)");
} else {
  await withStarted([new Server("upstream", [echo, "tcp"], load, 1)], async ([upstream]) => {
    const proxies = proxyCommands().map(
      ([name, command]) => new Server(name, [...command, `${upstream!.port}`], load),
    );
    await withStarted(proxies, async (servers) => {
      for (const [name, ...shape] of shapes) {
        const work = {
          mode: "proxy",
          arguments: shape,
          milliseconds: isQuick ? 100 : 200,
        } as const;
        await compare("TCP proxy", name, work, servers, perSecond, rounds);
      }
    });
  });
  await finish();
}
