// Explores the project's own scenarios in the simulated world: `bun run sim --runs 100000`. Prints the runs and their
// speed; exits with 1 and the report of the failure if one is found.
//
//     bun run sim [--runs N] [--seed N] [--only TEXT] [--power] [--speed]
//
// --power counts instead how many runs each strategy needs to find the planted bugs. --speed measures the simulation.

import { parseArgs } from "node:util";
import { interval, sleep, TcpListener, TcpStream } from "../src/index.ts";
import { ExplorationError, explore, simulate } from "../src/sim/index.ts";
import { SimSys } from "../src/sim/kernel/sim-sys.ts";
import { AF_INET, SOCK_DGRAM } from "../src/sys/index.ts";
import { planted, type Strategy } from "../test/sim/planted/find.ts";
import { scenarios } from "../test/sim/scenarios.ts";

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "10000" },
    seed: { type: "string", default: "0" },
    only: { type: "string", default: "" },
    power: { type: "boolean", default: false },
    speed: { type: "boolean", default: false },
  },
});
const strategies: readonly Strategy[] = ["random", "pct"];

if (values.power) {
  for (const { name, find } of planted) {
    const runs = strategies.map((strategy) => `${strategy} ${find(strategy, 10_000)?.runs ?? "-"}`);
    console.log(`${name}: ${runs.join(", ")}`);
  }
} else if (values.speed) {
  measure();
} else {
  const chosen = scenarios.filter(({ name }) => name.includes(values.only));
  const each = Math.ceil(Number(values.runs) / (chosen.length * strategies.length));
  const startMs = performance.now();
  let total = 0;
  let failed = 0;
  for (const { name, run, ...options } of chosen) {
    for (const strategy of strategies) {
      const beginMs = performance.now();
      try {
        const { turns } = explore(
          { ...options, runs: each, strategy, seed: Number(values.seed) },
          run,
        );
        const seconds = (performance.now() - beginMs) / 1000;
        console.log(
          `${name} (${strategy}): ${each} runs, ${turns} turns, ${Math.round(each / seconds)} runs/s`,
        );
      } catch (error) {
        failed++;
        console.log(error instanceof ExplorationError ? `${name}: ${error.message}` : error);
      }
      total += each;
    }
  }
  const seconds = (performance.now() - startMs) / 1000;
  console.log(`${total} runs in ${seconds.toFixed(1)} s, ${failed} failed`);
  process.exitCode = failed > 0 ? 1 : 0;
}

/** Prints how fast the simulation is on this machine. */
function measure(): void {
  const secondsOf = (work: () => void): number => {
    work(); // warms up
    const startMs = performance.now();
    work();
    return (performance.now() - startMs) / 1000;
  };
  const messages = 100;
  const runs = 500;
  const twoHosts = secondsOf(() => {
    explore({ runs }, function* (world) {
      world.host("server", function* () {
        using listener = TcpListener.bind("0.0.0.0:7000");
        using stream = yield* listener.accept();
        const buffer = new Uint8Array(64);
        for (;;) {
          const count = yield* stream.read(buffer);
          if (count === 0) return;
          yield* stream.writeAll(buffer, count);
        }
      });
      yield* sleep(1);
      yield* world.host("client", function* () {
        using stream = yield* TcpStream.connect("server:7000");
        const buffer = new Uint8Array(64);
        for (let n = 0; n < messages; n++) {
          yield* stream.writeAll("hello");
          for (let count = 0; count < 5; ) count += yield* stream.read(buffer);
        }
      });
    });
  });
  console.log(`two hosts, ${messages} messages and answers: ${Math.round(runs / twoHosts)} runs/s`);

  const hours = 200_000;
  const ticking = secondsOf(() => {
    simulate(function* () {
      const hourly = interval(3_600_000);
      for (let hour = 0; hour < hours; hour++) yield* hourly.tick();
    });
  });
  console.log(`an hourly interval: ${Math.round(hours / ticking)} virtual hours/s`);

  const calls = 2_000_000;
  const sys = new SimSys();
  const fd = sys.socket(AF_INET, SOCK_DGRAM);
  const buffer = new Uint8Array(64);
  const calling = secondsOf(() => {
    for (let call = 0; call < calls; call++) sys.recv(fd, buffer, 0);
  });
  console.log(`a recv that would block: ${((calling / calls) * 1e9).toFixed(0)} ns`);
}
