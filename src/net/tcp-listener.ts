// TCP listeners, and what an accept does when the process is out of fds. See tcp(7), accept(2).
//
// A socket may be made anywhere, also outside a runtime; its futures are polled inside one. Who made
// a socket owns it: close it, or let `using` do so.

import { describe } from "../base/describe.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import type { Waiter } from "../core/wait-queue.ts";
import { AGAIN, Operation } from "../io/operation.ts";
import { READ, Source } from "../io/source.ts";
import { currentSys } from "../reactor/reactor.ts";
import {
  check,
  EAGAIN,
  ECONNABORTED,
  EHOSTDOWN,
  EHOSTUNREACH,
  EMFILE,
  ENETDOWN,
  ENETUNREACH,
  ENFILE,
  ENOBUFS,
  ENOMEM,
  ENONET,
  ENOPROTOOPT,
  EOPNOTSUPP,
  EPROTO,
  SysError,
} from "../sys/errno.ts";
import { parseAddress, type SocketAddress } from "../sys/sockaddr.ts";
import { SO_REUSEADDR, SO_REUSEPORT, SOCK_STREAM, SOL_SOCKET } from "../sys/socket.ts";
import { sleep } from "../time/sleep.ts";
import { incoming, localAddressOf, openSocket, outgoing, setOption } from "./socket.ts";
import { TcpStream } from "./tcp-stream.ts";

/** An address to listen on, and how. */
export interface ListenOptions extends SocketAddress {
  /** Connections that may wait to be accepted; 4096 by default. */
  readonly backlog?: number;
  /** SO_REUSEPORT: several listeners share the port. false by default. */
  readonly reusePort?: boolean;
}

/**
 * A listening TCP socket.
 *
 * @example
 * using listener = TcpListener.bind("127.0.0.1:7000");
 * for (;;) {
 *   const stream = yield* listener.accept();
 *   spawn(() => serve(stream));
 * }
 */
export class TcpListener implements Disposable {
  readonly #source: Source;
  readonly #shortage: Shortage = { isKnown: false };
  /** The latest, which may be used again. */
  #accept: Accept | null = null;
  /** What it is bound to; with the port that the kernel chose for port 0. See getsockname(2). */
  readonly localAddress: SocketAddress;

  private constructor(source: Source) {
    this.#source = source;
    this.localAddress = localAddressOf(source);
  }

  /**
   * Listens at `address`: `"127.0.0.1:7000"`, `"[::1]:7000"`, or an object. Port 0 picks a free one:
   * see `localAddress`. Throws SysError (`EADDRINUSE`, `EACCES`, ...), TypeError or RangeError.
   */
  static bind(address: ListenOptions | string): TcpListener {
    const at = parseAddress(address);
    const { backlog = 4096, reusePort = false } =
      typeof address === "string" ? {} : (address as Partial<ListenOptions>);
    if (!Number.isInteger(backlog) || backlog < 1 || backlog > 0x7fffffff) {
      throw new RangeError(`address.backlog must be a positive integer; got ${describe(backlog)}`);
    }
    const source = openSocket(currentSys(), SOCK_STREAM, at);
    const { sys, fd } = source;
    try {
      setOption(source, SOL_SOCKET, SO_REUSEADDR);
      if (reusePort) setOption(source, SOL_SOCKET, SO_REUSEPORT);
      check(sys.bind(fd, outgoing().encode(at)), "bind", at);
      check(sys.listen(fd, backlog), "listen", at);
      return new TcpListener(source);
    } catch (error) {
      source.close();
      throw error;
    }
  }

  /**
   * The next connection. Several tasks may accept at once. When the process is out of fds it waits
   * until one is free, and warns once per shortage. Throws ClosedError after `close`. Cancel safe.
   */
  accept(): Future<TcpStream> {
    if (this.#accept?.useAgain()) return this.#accept;
    const accept = new Accept(this.#source, this.#shortage);
    this.#accept = accept.kept;
    return accept;
  }

  /** Closes the socket; who waits in `accept` gets a ClosedError. Idempotent. */
  close(): void {
    this.#source.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Errors of the connection, not of the listener: accept(2) says to try again. */
const NEXT_CONNECTION: ReadonlySet<number> = new Set([
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
const SHORTAGE: ReadonlySet<number> = new Set([-EMFILE, -ENFILE, -ENOBUFS, -ENOMEM]);
/** How long an accept that found no free fd waits, unless a socket of ours closes before. */
const SHORTAGE_FIRST_MS = 10;
const SHORTAGE_LONGEST_MS = 1000;

/** What an attempt that has begun a pause returns: the operation waits, as if the fd were not ready. */
const PAUSED: number = -EAGAIN;

/** One listener's: known from the first failure until its queue is empty; warned of once. */
interface Shortage {
  isKnown: boolean;
}

/** The pause of an fd shortage; while it lasts the kernel is not asked. */
interface Pause {
  readonly sleep: Future<void>;
  /** Ends it when a socket of ours closes. */
  readonly freed: Waiter;
}

class Accept extends Operation<TcpStream> {
  #pause: Pause | null = null;
  #pauseMs = SHORTAGE_FIRST_MS;
  readonly #shortage: Shortage;

  constructor(source: Source, shortage: Shortage) {
    super(source, READ);
    this.#shortage = shortage;
  }

  override poll(cx: Context): Poll<TcpStream> {
    if (this.#pause !== null) {
      const { sleep, freed } = this.#pause;
      const isWaiting = freed.list !== null && !this.source.isClosed;
      if (isWaiting && sleep.poll(cx) === Pending) {
        Source.shortage.wait(freed, cx.target);
        return Pending;
      }
      this.#endPause();
    }
    return super.poll(cx);
  }

  protected override attempt({ sys, fd }: Source, cx: Context): number {
    const result = sys.accept(fd, incoming());
    if (result >= 0) return result;
    if (NEXT_CONNECTION.has(result)) return AGAIN;
    if (result === -EAGAIN) this.#shortage.isKnown = false;
    if (!SHORTAGE.has(result)) return result;
    if (!this.#shortage.isKnown) {
      this.#shortage.isKnown = true;
      process.emitWarning(
        `accept on fd ${fd}: ${new SysError(result, "accept4").code}: connections wait until a file descriptor is free`,
        { code: "GUILLOTINE_FD_SHORTAGE" },
      );
    }
    const freed: Waiter = { target: null, before: null, after: null, list: null };
    this.#pause = { sleep: sleep(this.#pauseMs), freed };
    this.#pauseMs = Math.min(this.#pauseMs * 2, SHORTAGE_LONGEST_MS);
    this.#pause.sleep.poll(cx);
    Source.shortage.wait(freed, cx.target);
    return PAUSED;
  }

  protected override complete(fd: number): TcpStream {
    this.#pauseMs = SHORTAGE_FIRST_MS;
    return new TcpStream(new Source(this.source.sys, fd), incoming().pack());
  }

  protected override fail(errno: number): Error {
    return new SysError(errno, "accept4");
  }

  override reclaim(stream: TcpStream): void {
    stream.close();
  }

  protected override end(): void {
    this.#endPause(); // also of one that had begun it, and then could not wait
    super.end();
  }

  #endPause(): void {
    if (this.#pause === null) return;
    const { sleep, freed } = this.#pause;
    this.#pause = null;
    sleep.drop();
    Source.shortage.leave(freed);
    // The kernel's queue was not empty, and there will be no new edge: who accepts next must look.
    this.source.retryReads();
  }
}
