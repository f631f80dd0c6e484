// TlsListener: a TcpListener of which each connection is a TlsStream.

import { checkConstructor } from "../base/check.ts";
import { inspectableParts, lineOf } from "../base/inspect.ts";
import { iterateValues } from "../core/async-iteration.ts";
import type { Context } from "../core/context.ts";
import { Future } from "../core/future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import type { SocketAddress } from "../sys/sockaddr.ts";
import { type ListenOptions, TcpListener } from "./tcp-listener.ts";
import type { TcpStream } from "./tcp-stream.ts";
import { TlsEngine } from "./tls-engine.ts";
import { serverSettings, type TlsServerOptions, type TlsSettings } from "./tls-options.ts";
import { TlsStream } from "./tls-stream.ts";

/**
 * A listening TCP socket with TLS. It owns its fd; close it with `using` or `close`. `accept` performs no handshake: the
 * first read or write of the stream does, or its `handshake()`. So a slow client delays no other, and its failure is an
 * error of its own stream.
 *
 * @example
 * async function serveTls(cert: string, key: string): Promise<void> {
 *   const listening = TlsListener.bind("127.0.0.1:7000", { cert, key });
 *   await serve(listening, (stream) => stream.writeAll("hello\n"));
 * }
 */
export class TlsListener implements AsyncIterable<TlsStream>, Disposable {
  static {
    inspectableParts(TlsListener, (it) => lineOf(it.#listener));
  }

  readonly #listener: TcpListener;
  readonly #settings: TlsSettings;

  private constructor(listener: TcpListener, settings: TlsSettings) {
    checkConstructor(listener, TcpListener, "TlsListener", "TlsListener.bind(address, options)");
    this.#listener = listener;
    this.#settings = settings;
  }

  /**
   * Listens on `address`, as `TcpListener.bind` does, and parses the keys and certificates. Throws what that throws,
   * TlsError for a bad key or certificate, and TypeError or RangeError for an invalid option.
   *
   * @example
   * function listen(cert: string, key: string): TlsListener {
   *   return TlsListener.bind("127.0.0.1:7000", { cert, key, alpnProtocols: ["h2", "http/1.1"] });
   * }
   */
  static bind(address: ListenOptions | string, options: TlsServerOptions): TlsListener {
    const settings = serverSettings(options, "TlsListener.bind");
    return new TlsListener(TcpListener.bind(address), settings);
  }

  /** The bound address, with the port that the kernel chose for port 0. */
  get localAddress(): SocketAddress {
    return this.#listener.localAddress;
  }

  /**
   * Accepts the next connection. The caller owns the stream, which has not begun its handshake. Errors and cancel safety
   * are those of `TcpListener.accept`.
   */
  accept(): Future<TlsStream> {
    return new AcceptTls(this.#listener.accept(), this.#settings);
  }

  /** Iterates over the connections, without end. Leaving the loop keeps the listener open. */
  [Symbol.asyncIterator](): AsyncIterator<TlsStream> {
    return iterateValues(() => this.accept());
  }

  /** Closes the socket. Pending accepts throw ClosedError. Idempotent. */
  close(): void {
    this.#listener.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

class AcceptTls extends Future<TlsStream> {
  private readonly accept: Future<TcpStream>;
  private readonly settings: TlsSettings;

  constructor(accept: Future<TcpStream>, settings: TlsSettings) {
    super();
    this.accept = accept;
    this.settings = settings;
  }

  override poll(cx: Context): Poll<TlsStream> {
    const stream = this.accept.poll(cx);
    return stream === Pending ? Pending : TlsStream.create(new TlsEngine(stream, this.settings));
  }

  override drop(): void {
    this.accept.drop();
  }

  override reclaim(stream: TlsStream): void {
    stream.close();
  }
}
