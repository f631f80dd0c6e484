// serve: the accept loop of a server. A task per connection that owns the connection, failures reported, and a stop
// that lets open connections finish.

import {
  checkLimit,
  checkMilliseconds,
  checkObject,
  checkSignal,
  invalidType,
} from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { Owning } from "../combine/owning.ts";
import { orUndefined } from "../combine/timeout.ts";
import { withSignal } from "../combine/with-signal.ts";
import { isWork } from "../combine/work-list.ts";
import { AbortError, type Coroutine, type Future } from "../core/future.ts";
import { type IntoFuture, intoFuture } from "../core/into-future.ts";
import { isDisconnect } from "../io/disconnect.ts";
import { ClosedError } from "../io/source.ts";
import { Runtime } from "../runtime/runtime.ts";
import { type Scope, scope } from "./scope.ts";

/** How long open connections may take to end after a stop, if `graceMs` does not say so. */
const DEFAULT_GRACE_MS = 5000;

/** What `serve` accepts connections from: a TcpListener, or a listener of your own. */
export interface Acceptor<C extends Disposable | AsyncDisposable> {
  accept(): Future<C>;
  close(): void;
}

/** The options of {@link serve}. */
export interface ServeOptions<C> {
  /** Stops the server. Without it, the server runs until it is cancelled or the listener is closed. */
  readonly signal?: AbortSignal;
  /** How long open connections may take to end after a stop, in milliseconds. Then they are cancelled. Default 5000. */
  readonly graceMs?: number;
  /** How many connections are open at once. The others wait in the backlog of the listener. Default: Infinity. */
  readonly maxConnections?: number;
  /**
   * Called with each error that the handler throws. If it returns work, such as the promise of an async function, the
   * connection stays open until that has ended. Default: the runtime prints the error, unless
   * `isDisconnect(error, connection)`; that of a failed TLS handshake in one line, without a stack. The runtime prints an
   * error that this function throws.
   */
  readonly onError?: (error: unknown, connection: C) => unknown;
}

type Handler<C> = (connection: C) => IntoFuture<unknown>;

/** A connection, which may be a TlsStream. */
interface MaybeTls {
  failedHandshake?(error: unknown): string | null;
}

class Server<C extends Disposable | AsyncDisposable> {
  private readonly listener: Acceptor<C>;
  private readonly handler: Handler<C>;
  private readonly options: ServeOptions<C>;

  constructor(listener: Acceptor<C>, handler: Handler<C>, options: ServeOptions<C>) {
    this.listener = listener;
    this.handler = handler;
    this.options = options;
  }

  *run(): Coroutine<void> {
    const { graceMs = DEFAULT_GRACE_MS, maxConnections = Number.POSITIVE_INFINITY } = this.options;
    const late = new AbortError(`the server stopped, and ${graceMs} ms later this was still open`);
    const body = (connections: Scope): Future<void> => intoFuture(this.body(connections, late));
    try {
      yield* scope(body, { onFailure: "report", limit: maxConnections });
    } catch (error) {
      if (error !== late) throw error;
    } finally {
      this.listener.close();
    }
  }

  private *body(connections: Scope, late: AbortError): Coroutine<void> {
    const { signal, graceMs = DEFAULT_GRACE_MS } = this.options;
    const accepting = intoFuture(this.acceptAll(connections));
    try {
      yield* signal === undefined ? accepting : withSignal(signal, accepting);
    } catch (error) {
      const isStop = signal?.aborted === true && error === signal.reason;
      if (!isStop && !(error instanceof ClosedError)) throw error;
    }
    this.listener.close();
    yield* orUndefined(graceMs, connections.close());
    if (connections.size > 0) connections.cancel(late);
  }

  private *acceptAll(connections: Scope): Coroutine<never> {
    for (;;) {
      yield* connections.ready();
      const connection = yield* this.listener.accept();
      try {
        connections.spawn(this.handle(connection), { owns: connection, name: "connection" });
      } catch (error) {
        // The process is out of fds, and each task of this runtime has an eventfd. So do here what the task would do.
        try {
          yield* new Owning(intoFuture(this.onError(error, connection)), connection);
        } catch (failure) {
          Runtime.current().report(failure, "a connection that got no task");
        }
      }
    }
  }

  private *handle(connection: C): Coroutine<void> {
    try {
      yield* intoFuture((() => this.handler(connection)) as () => Future<unknown>);
    } catch (error) {
      yield* this.onError(error, connection);
    }
  }

  private *onError(error: unknown, connection: C): Coroutine<void> {
    const { onError } = this.options;
    if (onError !== undefined) {
      const call = (): IntoFuture<unknown> => {
        const answer = onError(error, connection);
        return isWork(answer) ? (answer as Future<unknown>) : Promise.resolve();
      };
      yield* intoFuture(call as () => Future<unknown>);
    } else if (!isDisconnect(error, connection)) {
      const handshake = (connection as MaybeTls).failedHandshake?.(error) ?? null;
      // One line: it is the peer's fault, and port scanners cause many.
      if (handshake !== null) Runtime.current().report((error as Error).message, handshake);
      else Runtime.current().report(error, "the handler of a connection");
    }
  }
}

/**
 * Accepts connections from `listener` until `signal` aborts, and runs `handler` for each in a task of its own. Returns
 * a future that completes when the server has stopped.
 *
 * - A task owns its connection, and disposes it when the handler ends, however it ends.
 * - A failure of one handler leaves the others alone: see `onError`.
 * - With `maxConnections` connections open, the server does not accept. While the process is out of fds, it waits.
 * - A stop closes the listener, waits up to `graceMs` for open connections, cancels the rest, and waits for their
 *   cleanup. Inside a handler, `abortSignal()` is aborted when its connection is cancelled, not when the stop begins.
 *
 * The server owns the listener from its first poll. If another caller closes the listener, the server stops as well.
 * Awaiting it throws what `accept` throws otherwise. Throws TypeError or RangeError at once for bad arguments.
 *
 * Dropping the future closes the listener and cancels all connections.
 *
 * @example
 * const stop = new AbortController();
 * const listening = TcpListener.bind("127.0.0.1:7000");
 * const server = spawn(
 *   serve(listening, (stream) => stream.writeAll("hello\n"), { signal: stop.signal, graceMs: 1000 }),
 * );
 * stop.abort();
 * yield* server;
 */
export function serve<C extends Disposable | AsyncDisposable>(
  listener: Acceptor<C>,
  handler: (connection: C) => IntoFuture<unknown>,
  options: ServeOptions<C> = {},
): Future<void> {
  if (typeof listener?.accept !== "function" || typeof listener.close !== "function") {
    throw invalidType(
      `serve: listener must have the methods accept and close, such as a TcpListener; got ${describe(listener)}`,
    );
  }
  if (typeof handler !== "function") {
    throw invalidType(
      `serve: handler must be a function that receives a connection; got ${describe(handler)}`,
    );
  }
  checkObject(options, "serve: options");
  const { signal, graceMs, maxConnections, onError } = options;
  if (signal !== undefined) checkSignal(signal, "serve: options.signal");
  if (graceMs !== undefined) checkMilliseconds(graceMs, "serve: options.graceMs");
  if (maxConnections !== undefined) checkLimit(maxConnections, "serve: options.maxConnections");
  if (onError !== undefined && typeof onError !== "function") {
    throw invalidType(`serve: options.onError must be a function; got ${describe(onError)}`);
  }
  const server = new Server(listener, handler, options);
  return intoFuture(() => server.run());
}
