// `bun run bench`: all of them. Options: --quick, --rounds N, --json FILE, --only TEXT (tables whose
// title contains it), --peer TEXT (besides the first, only peers whose name contains it).

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
