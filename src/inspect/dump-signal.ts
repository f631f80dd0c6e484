// GUILLOTINE_DUMP=SIGUSR2: prints a dump of each runtime to stderr when the process receives the signal, in blockOn and
// in guest mode.
//
// One eventfd serves all runtimes of the thread: the handler of the signal writes it, and each runtime has it in its
// epoll, so each that runs prints its own dump. It is never closed, because the handler may be about to write it. A
// runtime whose thread is stuck prints nothing until it continues.

import { codedError } from "../base/coded-error.ts";
import type { Reactor } from "../reactor/reactor.ts";
import type { EventSink } from "../reactor/sink.ts";
import { EPOLLET, EPOLLIN } from "../sys/epoll.ts";
import { check, EINVAL } from "../sys/errno.ts";
import { writeToStderr } from "../sys/stderr.ts";
import type { Sys } from "../sys/sys.ts";

const eventFds: WeakMap<Sys, number> = new WeakMap();

class DumpSink implements EventSink {
  private readonly dump: () => string;

  constructor(dump: () => string) {
    this.dump = dump;
  }

  onEvents(): void {
    writeToStderr(this.dump());
  }

  /** A dump wakes no task. */
  canWake(): boolean {
    return false;
  }

  onReactorClosed(): void {}
}

/**
 * Prints what `dump` returns whenever the process receives the signal that `GUILLOTINE_DUMP` names. Does nothing without
 * that variable, and in a Worker, which receives no signals. Throws Error if the name is no such signal, and SysError.
 */
export function dumpOnSignal(reactor: Reactor, dump: () => string): void {
  const name = process.env.GUILLOTINE_DUMP;
  if (name === undefined || name === "" || !Bun.isMainThread) return;
  const number = process.getBuiltinModule("node:os").constants.signals[name as "SIGUSR2"];
  if (number === undefined) {
    throw codedError(
      "ERR_SIGNAL_UNAVAILABLE",
      `GUILLOTINE_DUMP must be the name of a signal, such as SIGUSR2; got ${JSON.stringify(name)}`,
    );
  }
  const { sys } = reactor;
  let fd = eventFds.get(sys);
  if (fd === undefined) {
    fd = check(sys.eventfd(), "eventfd");
    const result = sys.catchSignal(number, fd);
    if (result < 0) sys.close(fd); // no handler has it
    if (result === -EINVAL) {
      throw codedError(
        "ERR_SIGNAL_UNAVAILABLE",
        `GUILLOTINE_DUMP must be the name of a signal that a process can handle, such as SIGUSR2; got ${name}`,
      );
    }
    check(result, "sigaction");
    eventFds.set(sys, fd);
  }
  check(reactor.register(new DumpSink(dump), fd, EPOLLIN | EPOLLET), "epoll_ctl");
}
