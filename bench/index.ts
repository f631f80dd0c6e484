// Runs all benchmarks: `bun run bench`. Options: --quick, --rounds N, --json FILE, --only TEXT (only tables whose title
// contains TEXT), --peer TEXT (only the first peer and the peers whose name contains TEXT).

for (const name of [
  "executor",
  "observe",
  "timers",
  "memory",
  "threads",
  "scale",
  "echo",
  "first-second",
  "proxy",
  "lines",
  "redis",
  "udp",
  "connect",
  "cores",
  "guest",
]) {
  await import(`./${name}.ts`);
}
