// `bun run bench` runs all benchmarks. Options: --quick, --rounds N, --json FILE, --only TEXT (tables whose
// title contains the text), --peer TEXT (the first peer, and those whose name contains the text).

for (const name of [
  "executor",
  "timers",
  "memory",
  "threads",
  "scale",
  "echo",
  "udp",
  "connect",
  "guest",
]) {
  await import(`./${name}.ts`);
}
