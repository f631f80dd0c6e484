// Network namespaces: hosts of a test's own, whose interfaces, addresses and routes the test sets up. See
// network_namespaces(7).

import { run } from "./program.ts";

const CABLE = "ip link add left type veth peer name right";

const canRun = (command: string): boolean =>
  Bun.which("unshare") !== null &&
  Bun.which("ip") !== null &&
  Bun.spawnSync(["unshare", "-rn", "sh", "-ec", command]).success;

/** Whether this process may create network namespaces. Prints the reason if it may not. */
export const hasNamespaces: boolean = canRun("true");
/** Whether it may connect two of them. */
export const hasTwoHosts: boolean = canRun(CABLE);
if (!hasNamespaces) console.log("skipped: this process may not create a network namespace");
else if (!hasTwoHosts) console.log("skipped: this kernel has no virtual network cables (veth)");

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

const runScript = (lines: readonly string[]): Promise<{ code: number; output: string }> =>
  run(["unshare", "-rn", "sh", "-ec", lines.join("\n")]);

/** Runs the commands of `setup` and then `program` in a new network namespace. Returns what the program prints. */
export function runInNamespace(
  setup: readonly string[],
  program: string,
): Promise<{ code: number; output: string }> {
  return runScript([...setup, `exec bun -e ${quote(program)}`]);
}

/**
 * Runs two programs on two hosts with a cable between them. The first one's host has the interface `left` with 10.9.0.1 and
 * fd09::1, the second one's has `right` with 10.9.0.2 and fd09::2. Returns what they print.
 */
export function runOnTwoHosts(
  left: string,
  right: string,
): Promise<{ code: number; output: string }> {
  const up = (name: string, last: number): string =>
    [
      "ip link set lo up",
      `ip addr add 10.9.0.${last}/24 dev ${name}`,
      `ip addr add fd09::${last}/64 dev ${name} nodad`,
      `ip link set ${name} up`,
    ].join(" && ");
  const onRight = (command: string): string => `nsenter -t $host -n sh -ec ${quote(command)}`;
  return runScript([
    "unshare -n sleep 60 & host=$!", // the second namespace lives as long as this process
    "trap 'kill $host' EXIT",
    'until [ "$(readlink /proc/$host/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.01; done',
    CABLE,
    "ip link set right netns $host",
    up("left", 1),
    onRight(up("right", 2)),
    `${onRight(`exec timeout 50 bun -e ${quote(right)}`)} & program=$!`, // one that waits for the other ends
    `timeout 50 bun -e ${quote(left)}`,
    "wait $program",
  ]);
}
