// ListenerSocket: a listening socket of any family, and how an accept waits while the process is out of fds. See accept(2).
//
// A socket may be created outside a runtime; only its futures need one. The creator owns the socket and closes it,
// usually with `using`.

import { outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { iterateValues } from "../core/async-iteration.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { kept, reuse } from "../core/leaf.ts";
import { Again, Pending, type Poll } from "../core/poll.ts";
import { FdPause, freeFds, isFdShortage } from "../io/fd-shortage.ts";
import { Operation } from "../io/operation.ts";
import { READ, Source } from "../io/source.ts";
import {
  EAGAIN,
  ECONNABORTED,
  EHOSTDOWN,
  EHOSTUNREACH,
  ENETDOWN,
  ENETUNREACH,
  ENONET,
  ENOPROTOOPT,
  EOPNOTSUPP,
  EPROTO,
  SysError,
} from "../sys/errno.ts";
import type { SockaddrBuffer } from "../sys/sockaddr.ts";
import { Socket } from "./base-socket.ts";
import { incoming } from "./socket.ts";

/** Makes a stream of an accepted socket, and becomes its owner. `peer` holds the address of the peer until it returns. */
export type WrapAccepted<S> = (source: Source, peer: SockaddrBuffer) => S;

export const DEFAULT_BACKLOG = 4096;

/** Returns the backlog. Throws RangeError unless it is an integer from 1 to 2147483647. `name` names the argument. */
export function checkBacklog(backlog: number, name: string): number {
  if (!Number.isInteger(backlog) || backlog < 1 || backlog > 0x7fffffff) {
    throw outOfRange(`${name} must be an integer from 1 to 2147483647; got ${describe(backlog)}`);
  }
  return backlog;
}

/** A listening socket whose connections are of the class `S`. */
export abstract class ListenerSocket<S extends Disposable>
  extends Socket
  implements AsyncIterable<S>
{
  readonly #shortage: Shortage = { isKnown: false };
  readonly #wrap: WrapAccepted<S>;
  /** The latest accept, for reuse. */
  #accept: Accept<S> | null = null;

  /** @internal */
  constructor(source: Source, wrap: WrapAccepted<S>) {
    super(source);
    this.#wrap = wrap;
  }

  /**
   * Accepts the next connection. The caller owns the stream. Several tasks may accept at once. While the process
   * is out of fds, the accept waits until one is free; the listener emits one process warning per shortage. Throws
   * ClosedError once the listener is closed, and SysError. Cancel safe: a dropped accept loses no connection; the
   * next accept receives it. See accept(2).
   */
  accept(): Future<S> {
    const accept = reuse(this.#accept) ?? new Accept(this.source, this.#shortage, this.#wrap);
    this.#accept = kept(accept);
    return accept;
  }

  /**
   * Iterates over the connections, without end. The caller owns each stream. Leaving the loop keeps the listener
   * open. Throws what `accept` throws.
   *
   * @example
   * using listener = TcpListener.bind("127.0.0.1:7000");
   * for await (const stream of listener) spawn(() => talk(stream));
   */
  [Symbol.asyncIterator](): AsyncIterator<S> {
    return iterateValues(() => this.accept());
  }
}

/** Errors of a pending connection, not of the listener. The caller must retry, per accept(2). */
const CONNECTION_ERRNOS: ReadonlySet<number> = new Set([
  -ECONNABORTED,
  -ENETDOWN,
  -EPROTO,
  -ENOPROTOOPT,
  -EHOSTDOWN,
  -ENONET,
  -EHOSTUNREACH,
  -EOPNOTSUPP,
  -ENETUNREACH,
]);

/** A listener's fd shortage, shared by its accepts so that the listener warns once per shortage. */
interface Shortage {
  /** True from the first failed accept until the listener's queue is empty. */
  isKnown: boolean;
}

class Accept<S extends Disposable> extends Operation<S> {
  readonly #shortage: Shortage;
  readonly #wrap: WrapAccepted<S>;
  /** Created by the first shortage. While a pause lasts, attempts make no syscall. */
  #pause: FdPause | null = null;

  constructor(source: Source, shortage: Shortage, wrap: WrapAccepted<S>) {
    super(source);
    this.#shortage = shortage;
    this.#wrap = wrap;
  }

  protected override get direction(): typeof READ {
    return READ;
  }

  protected override attempt(cx: Context): Poll<S> | Again {
    const { source } = this;
    if (this.#pause !== null) {
      if (!source.isClosed && this.#pause.isWaiting(cx)) return Pending;
      this.#endPause();
    }
    if ((this.source.ready & READ) === 0) return this.source.wait(READ, this, cx);
    const fd = source.sys.accept(source.fd, incoming());
    if (fd >= 0) {
      this.#pause?.reset();
      return this.#wrap(new Source(source.sys, fd), incoming());
    }
    if (CONNECTION_ERRNOS.has(fd)) return Again;
    if (isFdShortage(fd)) return freeFds(source.sys, fd) ? Again : this.#beginPause(fd, cx);
    if (fd === -EAGAIN) this.#shortage.isKnown = false;
    return this.onErrno(fd, cx);
  }

  #beginPause(errno: number, cx: Context): Pending {
    if (!this.#shortage.isKnown) {
      this.#shortage.isKnown = true;
      const { code } = new SysError(errno, "accept4");
      process.emitWarning(
        `${this.describe()}: ${code}: connections wait until a file descriptor is free`,
        { code: "GUILLOTINE_FD_SHORTAGE" },
      );
    }
    this.#pause ??= new FdPause();
    this.#pause.begin(cx);
    this.source.clearReady(READ);
    return this.source.wait(READ, this, cx);
  }

  protected override get syscall(): string {
    return "accept4";
  }

  override reclaim(stream: S): void {
    stream[Symbol.dispose]();
  }

  override describe(): string {
    const { source } = this;
    return `accept ${source.addresses.local ?? source.describe()}`;
  }

  protected override release(): void {
    this.#endPause();
    super.release();
  }

  #endPause(): void {
    if (!this.#pause?.hasBegun) return;
    this.#pause.end();
    // Connections are still queued, and epoll reports no new edge for them. So let another accept try.
    this.source.retryReads();
  }
}
