// Host: a simulated machine, as the scenario holds it.

import { checkConstructor, invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { Context } from "../core/context.ts";
import { Future } from "../core/future.ts";
import type { IntoFuture } from "../core/into-future.ts";
import { Leaf } from "../core/leaf.ts";
import { type Outcome, Pending, type Poll } from "../core/poll.ts";
import { WaitQueue } from "../core/wait-queue.ts";
import type { SignalName } from "../process/signals.ts";
import type { RuntimeOptions } from "../runtime/options.ts";
import type { TaskInfo } from "../runtime/task-info.ts";
import { Disk } from "./disk.ts";
import { SimulationError } from "./errors.ts";
import type { NetStack } from "./kernel/stack.ts";
import { UnixFiles } from "./kernel/unix-names.ts";
import type { Process } from "./process.ts";

/** What a host runs: work, or a function that receives the host. */
export type HostWork<T> = IntoFuture<T> | ((host: Host) => IntoFuture<T>);

/** What makes a host this host. */
interface HostPlace {
  readonly name: string;
  readonly address: string;
  readonly disk: Disk;
  readonly options: HostOptions;
}

/** What starts and stops hosts: the world. */
interface HostControl {
  start(host: Host): void;
  stop(host: Host, how: "crashes" | "is killed"): void;
}

/** The options of `world.host`. */
export interface HostOptions extends Pick<RuntimeOptions, "onUncaught" | "cancelGraceMs"> {
  /** The address of the host. Default: the next of 10.0.0.1, 10.0.0.2, … */
  readonly address?: string;
  /** How many fds the process may open. Default: 1024. */
  readonly maxFds?: number;
}

/**
 * A simulated machine. `yield* host` waits for the end of its work and returns the work's value, or throws what the work
 * threw. The host stays up until its other tasks have ended, too, as a process does.
 *
 * @example
 * simulate(function* (world) {
 *   const worker = world.host("worker", function* () {
 *     yield* sleep(1000);
 *     return "done";
 *   });
 *   console.log(yield* worker, world.now()); // done 1000
 * });
 */
export class Host<T = unknown> extends Future<T> {
  /** The name, which `TcpStream.connect("name:port")` resolves to `address`. */
  readonly name: string;
  readonly address: string;
  /** What the host keeps when it crashes. */
  readonly disk: Disk;
  /** @internal */
  readonly options: HostOptions;
  /** @internal */
  readonly work: HostWork<T>;
  /** @internal The files of unix sockets, which outlive processes and crashes. */
  readonly files: UnixFiles = new UnixFiles();
  /** @internal The id of the latest process; 0 before the first one. */
  pid = 0;
  /** @internal The running process; null while the host is down. */
  process: Process | null = null;
  /** @internal The network stack; null after a crash. */
  stack: NetStack | null = null;
  /** @internal How the latest run of the work ended. */
  outcome: Outcome<T> | null = null;
  /** @internal True once somebody has received a failure. */
  isTaken = false;
  /** @internal */
  readonly waiters: WaitQueue = new WaitQueue();
  readonly #control: HostControl;
  #polled: HostWait<T> | null = null;

  private constructor(control: HostControl, place: HostPlace, work: HostWork<T>) {
    super();
    checkConstructor(place?.disk, Disk, "Host", "world.host(name, work)");
    this.#control = control;
    this.disk = place.disk;
    this.name = place.name;
    this.address = place.address;
    this.options = place.options;
    this.work = work;
  }

  /** @internal */
  static create<T>(control: HostControl, place: HostPlace, work: HostWork<T>): Host<T> {
    return new Host(control, place, work);
  }

  /** True while the process of the host runs. */
  get isUp(): boolean {
    return this.process !== null;
  }

  /** Lists the live tasks of the host. */
  tasks(): TaskInfo[] {
    return this.process?.runtime.tasks() ?? [];
  }

  /**
   * Cuts the power. The tasks of the host are gone without cleanup, and so is its memory; `disk` keeps what was synced.
   * Its peers learn nothing until they time out, or until the host is up again and resets their connections. Does
   * nothing while the host is down.
   */
  crash(): void {
    if (this.process === null) return;
    this.disk.crash();
    this.#control.stop(this, "crashes");
  }

  /**
   * Ends the process, as SIGKILL does: its tasks are gone without cleanup, and the kernel closes its fds, so its peers
   * read the end or a reset. Does nothing while the host is down.
   */
  kill(): void {
    if (this.process !== null) this.#control.stop(this, "is killed");
  }

  /**
   * Sends a signal to the process. A process that does not wait for it by `signal(name)` ends, as by `kill`. Throws
   * TypeError unless `name` names a signal. Does nothing while the host is down.
   *
   * @example
   * simulate(function* (world) {
   *   const server = world.host("server", function* () {
   *     yield* signal("SIGTERM");
   *     return "a graceful stop";
   *   });
   *   yield* sleep(1000);
   *   server.signal("SIGTERM");
   *   console.log(yield* server); // a graceful stop
   * });
   */
  signal(name: SignalName): void {
    const { signals } = process.getBuiltinModule("node:os").constants;
    if (!Object.hasOwn(signals, name)) {
      throw invalidType(`host.signal: name must name a signal; got ${describe(name)}`);
    }
    if (this.process?.kernel.raise(signals[name]) === false) this.kill();
  }

  /** Starts the work again, which must be a function. Throws SimulationError if the host is up. */
  restart(): void {
    if (this.process !== null) {
      throw new SimulationError(`host.restart: ${this.name} is up; crash or kill it first`);
    }
    if (typeof this.work !== "function") {
      throw new SimulationError(
        `host.restart: the work of ${this.name} must be a function, because a future runs once`,
      );
    }
    this.#control.start(this);
  }

  override poll(cx: Context): Poll<T> {
    const wait = this.#polled ?? new HostWait(this);
    this.#polled = null; // before the poll, which may throw
    const value = wait.poll(cx);
    if (value === Pending) this.#polled = wait;
    return value;
  }

  override drop(): void {
    this.#polled?.drop();
    this.#polled = null;
  }

  override [Symbol.iterator](): Future<T> {
    return new HostWait(this);
  }

  /** Each await waits by itself. */
  // biome-ignore lint/suspicious/noThenProperty: a future is a thenable
  override then<A = T, B = never>(
    onFulfilled?: ((value: T) => A | PromiseLike<A>) | null,
    // biome-ignore lint/suspicious/noExplicitAny: PromiseLike declares it so
    onRejected?: ((reason: any) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return new HostWait(this).then(onFulfilled, onRejected);
  }
}

/** One wait for the end of a host's work. */
class HostWait<T> extends Leaf<T> {
  readonly #host: Host<T>;

  constructor(host: Host<T>) {
    super();
    this.#host = host;
  }

  protected override attempt(cx: Context): Poll<T> {
    const host = this.#host;
    if (host.outcome === null) {
      host.waiters.wait(this, cx.target);
      return Pending;
    }
    host.isTaken = true;
    if ("error" in host.outcome) throw host.outcome.error;
    return host.outcome.value;
  }

  protected override release(): void {
    this.#host.waiters.leave(this);
  }

  override describe(): string {
    return `host ${this.#host.name}${this.#host.isUp ? "" : ", which is down"}`;
  }
}
