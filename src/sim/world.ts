// World: the hosts of one run, the network between them, and the loop that drives them all.
//
// The loop knows three things: events that are due, hosts that can run, and time. While a host can run, it gets turns,
// in an order that the choices decide. When none can, time jumps to the next event.

import { checkConstructor, invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { IntoFuture } from "../core/into-future.ts";
import type { RuntimeOptions } from "../runtime/options.ts";
import type { Sys } from "../sys/sys.ts";
import { Choices } from "./choices.ts";
import { Disk } from "./disk.ts";
import { SimulationError } from "./errors.ts";
import { checkFaults, type FaultOptions, withFaults } from "./faults.ts";
import { Host, type HostOptions, type HostWork } from "./host.ts";
import { Agenda } from "./kernel/agenda.ts";
import { NetStack } from "./kernel/stack.ts";
import { checkLink, type LinkOptions, Network } from "./network.ts";
import { Process } from "./process.ts";

/** The host that runs the scenario. */
const SCENARIO = "world";
/** How often a segment is split, and a send accepts a part only. */
const SPLIT_PROBABILITY = 0.1;
/** After this many turns at one instant, each turn takes some time: a task may busy-poll the clock. */
const TURNS_PER_INSTANT = 10_000;
const BUSY_TURN_MS = 0.01;

/** What a run is made of. */
export interface WorldOptions {
  readonly seed: number;
  readonly choices: Choices;
  readonly link: LinkOptions;
  readonly isLogged: boolean;
  readonly maxTurns: number;
  readonly faults: FaultOptions;
  /** Wraps the Sys of each host, to inject faults. */
  readonly wrapSys?: ((sys: Sys) => Sys) | undefined;
}

/**
 * A simulated world: hosts, the links between them, and time. `simulate` and `explore` create one for each run and pass
 * it to the scenario.
 */
export class World {
  /** The seed of the run. */
  readonly seed: number;
  /** @internal */
  readonly choices: Choices;
  readonly #agenda = new Agenda();
  readonly #network: Network;
  readonly #isLogged: boolean;
  readonly #maxTurns: number;
  readonly #wrapSys: (sys: Sys) => Sys;
  readonly #log: string[] = [];
  readonly #hosts = new Map<string, Host<unknown>>();
  /** The hosts that are up. */
  readonly #running: Host<unknown>[] = [];
  /** Failures that no host owns: of tasks that nobody joined. */
  readonly #failures: unknown[] = [];
  /** @internal Set once nothing can happen any more. */
  stuck: SimulationError | null = null;
  /** The host in its turn; null between turns. */
  #current: Host<unknown> | null = null;
  /** A process that was killed in its own turn. */
  #exiting: Process | null = null;
  /** Turns in all, and since time last passed. */
  #turns = 0;
  #turnsNow = 0;

  private constructor(options: WorldOptions) {
    checkConstructor(options?.choices, Choices, "World", "simulate(scenario)");
    const { seed, choices, link, isLogged, maxTurns, wrapSys } = options;
    this.seed = seed;
    this.choices = choices;
    this.#isLogged = isLogged;
    this.#maxTurns = maxTurns;
    const faults = checkFaults(options.faults);
    this.#wrapSys = wrapSys ?? ((sys) => withFaults(sys, faults, choices));
    this.#network = new Network(this.#agenda, choices, checkLink(link, "options.link"), (text) => {
      if (isLogged) this.#write(text());
    });
    if (isLogged) {
      choices.onChoice = (kind, value, count) => this.#write(`choose ${kind} ${value} of ${count}`);
    }
  }

  /** @internal */
  static create(options: WorldOptions): World {
    return new World(options);
  }

  /** Returns the virtual time in milliseconds since the start of the run. */
  now(): number {
    return this.#agenda.nowMs;
  }

  /** What happened so far: a line for each system call, packet, choice and fault. Empty in most runs of `explore`. */
  get log(): readonly string[] {
    return this.#log;
  }

  /**
   * Starts a host. `name` resolves to its address, for `lookup` and `TcpStream.connect`. `work` is what its
   * process does, or a function that receives the host. Throws SimulationError if the name or the address is in use.
   *
   * @example
   * simulate(function* (world) {
   *   world.host("server", function* () {
   *     using listener = TcpListener.bind("0.0.0.0:7000");
   *     using stream = yield* listener.accept();
   *     yield* stream.writeAll("hello");
   *   });
   *   const client = world.host("client", function* () {
   *     yield* sleep(10);
   *     using stream = yield* TcpStream.connect("server:7000");
   *     return (yield* stream.readChunk())?.length;
   *   });
   *   console.log(yield* client); // 5
   * });
   */
  host<T>(name: string, work: HostWork<T>, options: HostOptions = {}): Host<T> {
    if (typeof name !== "string" || name === "" || name === "localhost") {
      throw invalidType(
        `world.host: name must be a string other than "localhost"; got ${describe(name)}`,
      );
    }
    const address = options.address ?? addressAt(this.#hosts.size + 1);
    if (this.#hosts.has(name))
      throw new SimulationError(`world.host: a host ${name} exists already`);
    for (const other of this.#hosts.values()) {
      if (other.address !== address) continue;
      throw new SimulationError(`world.host: ${other.name} has the address ${address} already`);
    }
    const disk = Disk.create(this.choices);
    const host = Host.create<T>(this, { name, address, disk, options }, work);
    this.#hosts.set(name, host as Host<unknown>);
    this.start(host as Host<unknown>);
    return host;
  }

  /** Changes the link between two hosts, in both directions. Throws RangeError for a bad option. */
  link(a: Host<unknown> | string, b: Host<unknown> | string, options: LinkOptions): void {
    this.#network.setLink(this.#addressOf(a), this.#addressOf(b), options);
  }

  /** Cuts the link between two hosts: packets are lost in both directions, also those on their way. */
  partition(a: Host<unknown> | string, b: Host<unknown> | string): void {
    this.#event(`partition ${nameOf(a)} ${nameOf(b)}`);
    this.#network.cut(this.#addressOf(a), this.#addressOf(b));
  }

  /** Repairs the link between two hosts; without arguments, all links. */
  heal(a?: Host<unknown> | string, b?: Host<unknown> | string): void {
    if (a === undefined || b === undefined) {
      this.#event("heal");
      this.#network.heal();
    } else {
      this.#event(`heal ${nameOf(a)} ${nameOf(b)}`);
      this.#network.heal(this.#addressOf(a), this.#addressOf(b));
    }
  }

  /**
   * Chooses an integer from 0 to `count` - 1, for a scenario that decides by chance: when to crash a host, say. The
   * choice is recorded, and shrinking tries to make it 0. (`Math.random` is repeatable too, but not shrunk.)
   *
   * @example
   * simulate({ seed: 1 }, function* (world) {
   *   yield* sleep(world.pick(1000));
   * });
   */
  pick(count: number): number {
    return this.choices.pick("scenario", count);
  }

  /**
   * Adds a line to the log.
   *
   * @example
   * simulate(function* (world) {
   *   yield* sleep(5);
   *   world.note("the interesting part begins");
   *   console.log(world.log.at(-1)); // 5.000 the interesting part begins
   * });
   */
  note(text: string): void {
    this.#event(text);
  }

  /** @internal The process of the scenario. */
  get scenario(): Process {
    return this.#hosts.get(SCENARIO)!.process!;
  }

  /** @internal How many turns the hosts have had. */
  get turns(): number {
    return this.#turns;
  }

  /** @internal The Sys of the host in its turn. */
  get currentSys(): Sys {
    const process = (this.#current ?? this.#hosts.get(SCENARIO))?.process;
    if (process == null) throw new SimulationError("no host is running here");
    return process.sys;
  }

  /** @internal Starts the process of a host. */
  start(host: Host<unknown>): void {
    const { name, address, options, work } = host;
    // The kernel outlives a process that was killed, with its ports and dying connections.
    if (host.stack === null) {
      host.stack = new NetStack({
        agenda: this.#agenda,
        addresses: [address],
        wire: this.#network,
        files: host.files,
        split: (kind, bytes) => this.#split(kind, bytes),
      });
      this.#network.attach(address, host.stack);
    }
    const { stack } = host;
    this.#event(`${name} starts`);
    host.outcome = null;
    host.isTaken = false;
    const { onUncaught, cancelGraceMs, maxFds } = options;
    host.process = new Process(
      typeof work === "function" ? () => (work as (host: Host<unknown>) => never)(host) : work,
      {
        name,
        stack,
        maxFds,
        pid: ++host.pid,
        resolve: (name) => this.#hosts.get(name)?.address ?? null,
        clock: { now: () => this.#agenda.nowMs },
        choices: this.choices,
        onCall: this.#isLogged ? (line) => this.#write(line) : null,
        wrapSys: this.#wrapSys,
        ...definedOnly({ onUncaught, cancelGraceMs }),
      },
    );
    this.#running.push(host);
  }

  /** @internal Ends the process of a host that crashes or is killed. */
  stop(host: Host<unknown>, how: "crashes" | "is killed"): void {
    if (host.name === SCENARIO) throw new SimulationError("the host of the scenario cannot stop");
    this.#event(`${host.name} ${how}`);
    this.#leave(host, how === "crashes");
  }

  /** @internal Runs the scenario to its end. Returns its value, or throws the first failure of the run. */
  run<T>(scenario: () => IntoFuture<T>): T {
    const host = this.host<T>(SCENARIO, scenario);
    const { process } = host;
    try {
      while (host.outcome === null) this.#step();
      if ("error" in host.outcome) throw host.outcome.error;
      this.#throwFailures();
      return host.outcome.value;
    } finally {
      process?.exit();
      for (const other of this.#running) other.process?.crash();
    }
  }

  /** Runs what is due, or lets a host run, or lets time pass. */
  #step(): void {
    const agenda = this.#agenda;
    agenda.runDue();
    let able: Host<unknown>[] | null = null;
    let first: Host<unknown> | null = null;
    for (const host of this.#running) {
      if (!host.process!.canRun) continue;
      if (first === null) first = host;
      else {
        able ??= [first];
        able.push(host);
      }
    }
    if (first === null) {
      if (agenda.nextMs === Number.POSITIVE_INFINITY) this.#throwStuck();
      this.#turnsNow = 0;
      agenda.runNext();
      return;
    }
    this.#turn(able === null ? first : able[this.choices.pick("host", able.length)]!);
  }

  #turn(host: Host<unknown>): void {
    this.#countTurn();
    const process = host.process!;
    this.#current = host;
    try {
      process.turn();
    } finally {
      this.#current = null;
      this.#exiting?.exit();
      this.#exiting = null;
    }
    if (host.process !== process) return; // it stopped, and perhaps restarted, in its own turn
    if (process.main.isEnded && host.outcome === null) {
      host.outcome = process.main.takeOutcome();
      host.waiters.wakeAll();
    }
    if (process.hasEnded && host.name !== SCENARIO) {
      this.#event(`${host.name} exits`);
      this.#leave(host, false);
    }
  }

  #countTurn(): void {
    if (++this.#turns > this.#maxTurns) {
      throw new SimulationError(
        `the scenario has not ended after ${this.#maxTurns} turns, at ${this.now()} ms. ${this.#describeTasks()}. Raise options.maxTurns if it needs more`,
        { cause: this.#firstFailure() },
      );
    }
    if (++this.#turnsNow > TURNS_PER_INSTANT) {
      const agenda = this.#agenda;
      agenda.nowMs = Math.min(agenda.nowMs + BUSY_TURN_MS, agenda.nextMs);
    }
  }

  #leave(host: Host<unknown>, isCrash: boolean): void {
    const process = host.process!;
    const uncaught = process.runtime.takeUncaught();
    if (uncaught !== null) this.#failures.push(uncaught);
    host.process = null;
    this.#running.splice(this.#running.indexOf(host), 1);
    if (isCrash) {
      process.crash();
      host.stack = null;
      this.#network.attach(host.address, null);
    } else if (this.#current === host) {
      process.ready.stop(); // its runtime is in the middle of a turn, and still needs its epoll fd
      this.#exiting = process;
    } else process.exit();
  }

  #split(kind: "segment" | "short write", bytes: number): number {
    if (bytes <= 1 || !this.choices.chance(kind, SPLIT_PROBABILITY)) return bytes;
    return 1 + this.choices.pick("split", Math.min(bytes - 1, 1024));
  }

  #throwFailures(): void {
    const failure = this.#firstFailure();
    if (failure !== undefined) throw failure;
  }

  /** Returns the first failure that nobody has received; undefined if there is none. */
  #firstFailure(): unknown {
    for (const host of this.#hosts.values()) {
      if (host.outcome !== null && "error" in host.outcome && !host.isTaken)
        return host.outcome.error;
    }
    for (const { process } of this.#running) {
      const uncaught = process!.runtime.takeUncaught();
      if (uncaught !== null) this.#failures.push(uncaught);
    }
    return this.#failures[0];
  }

  #throwStuck(): never {
    this.stuck = new SimulationError(
      `nothing can happen any more in this world: no task is ready, no timer is pending and no packet is on its way. ${this.#describeTasks()}`,
    );
    throw this.#firstFailure() ?? this.stuck; // the failure of a host is probably the reason
  }

  #describeTasks(): string {
    const lines = [...this.#hosts.values()].map((host) => {
      if (!host.isUp) return `${host.name} is down`;
      const tasks = host.tasks().map(({ name, waitsOn }) => `${name} waits on ${waitsOn}`);
      const more = tasks.length > 5 ? `, and ${tasks.length - 5} more` : "";
      return `${host.name}: ${tasks.slice(0, 5).join("; ")}${more}`;
    });
    return lines.join(". ");
  }

  #addressOf(host: Host<unknown> | string): string {
    const known = typeof host === "string" ? this.#hosts.get(host) : host;
    if (known === undefined) {
      throw new SimulationError(`this world has no host ${describe(host)}`);
    }
    return known.address;
  }

  #event(text: string): void {
    if (this.#isLogged) this.#write(text);
  }

  #write(text: string): void {
    this.#log.push(`${this.now().toFixed(3)} ${text}`);
  }
}

/** The address of the n-th host. */
function addressAt(index: number): string {
  return `10.0.${index >> 8}.${index & 255}`;
}

function nameOf(host: Host<unknown> | string): string {
  return typeof host === "string" ? host : host.name;
}

/** Returns the options that are set: an absent option and an undefined one differ in their types. */
function definedOnly(
  options: { [K in "onUncaught" | "cancelGraceMs"]?: RuntimeOptions[K] | undefined },
): Pick<RuntimeOptions, "onUncaught" | "cancelGraceMs"> {
  const defined = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(defined);
}
