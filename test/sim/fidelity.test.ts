// The simulated kernel answers as the real one does. docs/simulation.md lists what the comparison leaves out.
//
// `GUILLOTINE_FIDELITY_RUNS=100000 bun test test/sim/fidelity.test.ts` compares that many random scripts.

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { firstDifference, type Step, scripts } from "../support/kernel-script.ts";
import { root, run } from "../support/program.ts";

setDefaultTimeout(600_000);

const numRuns = Number(process.env.GUILLOTINE_FIDELITY_RUNS ?? 2000);
/** CI runs the same scripts each time; a long run tries new ones. */
const seed = process.env.GUILLOTINE_FIDELITY_RUNS === undefined ? 22 : Date.now();

/** A busy machine may deliver a loopback packet late: only a difference that persists counts. */
const TRIES = 10;

function persistentDifference(script: readonly Step[]): ReturnType<typeof firstDifference> {
  let difference: ReturnType<typeof firstDifference> = null;
  for (let tries = 0; tries < TRIES; tries++) {
    difference = firstDifference(script);
    if (difference === null) return null;
  }
  return difference;
}

test("random scripts of system calls have the same results, errors and epoll events as on Linux", () => {
  fc.assert(
    fc.property(scripts, (script) => {
      expect(persistentDifference(script)).toBeNull();
    }),
    { numRuns, seed },
  );
});

test.each([0, 1, 2])("a listener that was shut down passes that on to its connections", (how) => {
  const script: readonly Step[] = [
    ["socket", 0, 0, 1],
    ["shutdown", 0, 0, how],
    ["listen", 0, 0, 1],
    ["socket", 0, 0, 1],
    ["connect", 1, 0, 0],
    ["accept", 0, 0, 0],
    ["add", 2, 2, 0],
    ["send", 1, 0, 1],
    ["send", 2, 0, 1],
    ["recv", 1, 0, 1],
    ["recv", 2, 0, 1],
  ];
  expect(persistentDifference(script)).toBeNull();
});

test("accept names the peer of a connection that was reset", () => {
  const script: readonly Step[] = [
    ["socket", 0, 0, 1],
    ["listen", 0, 0, 1],
    ["socket", 0, 0, 1],
    ["linger", 1, 0, 1],
    ["connect", 1, 0, 0],
    ["close", 1, 0, 0],
    ["accept", 0, 0, 0],
    ["peer", 2, 0, 0],
  ];
  expect(persistentDifference(script)).toBeNull();
});

/** Tests that need what the simulated kernel does not have: other processes, fds and files of other code, urgent data. */
const NOT_SIMULATED: readonly string[] = [
  "a Python client and a frame server understand each other",
  "a Python client and a line server understand each other",
  "a Python client exchanges datagrams with the socket",
  "a connect that is dropped or fails closes its fd",
  "a dropped lookup leaves the others waiting, and the last one closes the fd at once",
  "a link-local address without a scope is an error that says so",
  "a link-local address works with the name of its interface and with its index",
  "a pipe's fds are close-on-exec and non-blocking, and close with their objects",
  "carries open files: close-on-exec",
  "ioredis talks to a Redis server over toDuplex",
  "other programs",
  "owns the pidfd of its sender",
  "reads and writes of a reset connection throw, and SIGPIPE does not kill the process",
  "reads continue past TCP's urgent mark",
  "the credentials and the pidfd of the peer are those of its process",
  "the group ff02",
  "the file of a socket (has|is|stays|that no process|needs)",
  "the helper closes its end of a lookup that was dropped",
  "urgent data makes reads sticky until the reads have passed it, and one byte of it costs nothing later",
];

test("the tests of sockets, pipes and byte streams pass on the simulated kernel", async () => {
  const folders = ["test/net", "test/io"];
  // Left out: fds of other code, TLS (on Bun's loop, in real time), the effects of options, control messages of UDP,
  // families other than IP and unix, and hosts that the kernel makes.
  const others = ["async-fd", "tls", "options", "inherited", "two-hosts"];
  const families = ["raw", "ping", "netlink", "vsock", "can"];
  const ignored = [...others, "udp-message", "udp-error", ...families].join(",");
  const command = [
    ...["bun", "test", "--preload", `${root}test/support/on-sim.ts`],
    `--test-name-pattern=^(?!.*(${NOT_SIMULATED.join("|")}))`,
    `--path-ignore-patterns=**/{${ignored}}.test.ts`,
    ...folders.map((folder) => root + folder),
  ];
  const { output } = await run(command, { env: { GUILLOTINE_CONNECTS: "1000" } });
  const failed = [...output.matchAll(/^\(fail\) (.*?)(?: \[[\d.]+ms\])?$/gm)].map(
    ([, name]) => name,
  );
  expect(failed).toEqual([]);
  expect(Number(/^ (\d+) pass$/m.exec(output)?.[1])).toBeGreaterThan(200);
});
