// TlsStream: a byte stream over TLS, and its operations. tls-engine.ts owns the connection.

import type { PeerCertificate } from "node:tls";
import { checkConstructor } from "../base/check.ts";
import { inspectableParts, lineOf } from "../base/inspect.ts";
import { iterateChunks } from "../core/async-iteration.ts";
import type { Context } from "../core/context.ts";
import { Future, polledAfterEnd } from "../core/future.ts";
import { Leaf } from "../core/leaf.ts";
import { Again, Pending, type Poll } from "../core/poll.ts";
import type { WaitQueue } from "../core/wait-queue.ts";
import type { ByteStream, ReadChunkOptions } from "../io/bytes.ts";
import { checkMaxBytes } from "../io/read-chunk.ts";
import { addressOf, textOf } from "../io/source.ts";
import { checkMethod, WebStreams } from "../io/to-web.ts";
import { checkData, checkKept } from "../io/transfer.ts";
import { bytesOf } from "../io/writev.ts";
import type { AddressLike } from "../sys/sockaddr.ts";
import { checkBuffer } from "../sys/socket.ts";
import { TcpStream } from "./tcp-stream.ts";
import { TlsEngine } from "./tls-engine.ts";
import {
  clientSettings,
  serverSettings,
  type TlsConnectOptions,
  type TlsServerOptions,
} from "./tls-options.ts";

/** The most bytes that are encrypted at once. */
const MAX_PIECE = 262_144;

/**
 * A byte stream over TLS 1.2 or 1.3. It owns the stream below; close it with `using` or `close`. Several tasks may read
 * and write at once. It works in guest mode only, because it is node:tls that encrypts: inside `blockOn`, its operations
 * throw TlsError `ERR_TLS_NEEDS_EVENT_LOOP`.
 *
 * @example
 * async function head(): Promise<string> {
 *   using stream = await TlsStream.connect("127.0.0.1:443", { servername: "example.com" });
 *   await stream.writeAll("HEAD / HTTP/1.0\r\nHost: example.com\r\n\r\n");
 *   const chunk = await stream.readChunk();
 *   return new TextDecoder().decode(chunk ?? undefined);
 * }
 */
export class TlsStream implements AsyncIterable<Uint8Array>, ByteStream {
  static {
    inspectableParts(TlsStream, (it) =>
      it.#engine.isClosed
        ? "closed"
        : `${it.protocol ?? "no handshake yet"}, ${lineOf(it.transport)}`,
    );
  }

  readonly #engine: TlsEngine;
  #web: WebStreams | null = null;

  private constructor(engine: TlsEngine) {
    checkConstructor(engine, TlsEngine, "TlsStream", "TlsStream.connect(address)");
    this.#engine = engine;
  }

  /** @internal */
  static create(engine: TlsEngine): TlsStream {
    return new TlsStream(engine);
  }

  /**
   * Connects to `address`, an IP literal or `localhost`, and performs the handshake. The certificate of the server must
   * be valid for `options.servername`, or else for the hostname of the address. Throws SysError (`ECONNREFUSED`, ...),
   * TlsError with the code of OpenSSL (`CERT_HAS_EXPIRED`, `ERR_TLS_CERT_ALTNAME_INVALID`, ...), and TypeError or
   * RangeError for an invalid argument. Cancel safe: a dropped connect closes its socket. See RFC 8446.
   *
   * @example
   * async function hello(): Promise<void> {
   *   using stream = await TlsStream.connect("127.0.0.1:443", { servername: "example.com", alpnProtocols: ["h2"] });
   *   console.log(stream.alpnProtocol);
   * }
   */
  static connect(address: AddressLike, options: TlsConnectOptions = {}): Future<TlsStream> {
    const connecting = TcpStream.connect(address);
    const settings = clientSettings(options, hostnameOf(address), "TlsStream.connect");
    return new Establish(connecting, (stream) => new TlsEngine(stream, settings));
  }

  /**
   * Performs the handshake of a client on a connected stream, such as after STARTTLS, or to another name than the
   * address. Owns `stream` from now on: a failed or dropped handshake closes it. `options.servername` is required.
   * Read nothing ahead from `stream` before: the first bytes that are read must be the server's handshake. Errors and
   * cancel safety are those of `connect`.
   *
   * @example
   * async function startTls(plain: TcpStream): Promise<TlsStream> {
   *   await plain.writeAll("STARTTLS\r\n");
   *   await plain.readChunk(); // the server agrees
   *   return await TlsStream.upgrade(plain, { servername: "example.com" });
   * }
   */
  static upgrade(stream: ByteStream, options: TlsConnectOptions): Future<TlsStream> {
    checkMethod(stream, "readChunk", "TlsStream.upgrade: stream");
    const settings = clientSettings(options, null, "TlsStream.upgrade");
    return new Establish(stream, (transport) => new TlsEngine(transport, settings));
  }

  /**
   * Performs the handshake of a server on a connected stream, which it owns from now on: a failed or dropped handshake
   * closes it. Throws TlsError, what `stream` throws, and TypeError or RangeError for an invalid argument.
   *
   * @example
   * async function secure(plain: TcpStream, cert: string, key: string): Promise<void> {
   *   using stream = await TlsStream.accept(plain, { cert, key });
   *   await stream.writeAll("hello\n");
   *   stream.shutdown();
   * }
   */
  static accept(stream: ByteStream, options: TlsServerOptions): Future<TlsStream> {
    checkMethod(stream, "readChunk", "TlsStream.accept: stream");
    const settings = serverSettings(options, "TlsStream.accept");
    return new Establish(stream, (transport) => new TlsEngine(transport, settings));
  }

  /** The stream below. Use it to look at addresses and to set options, not to read or write. */
  get transport(): ByteStream {
    return this.#engine.transport;
  }

  /** @internal For diagnostics, and for `isDisconnect`: the address of the stream below, if it has one. */
  get remoteAddress(): ReturnType<typeof addressOf> {
    return addressOf(this.transport, "remoteAddress");
  }

  /** @internal For `serve`: `the TLS handshake with 127.0.0.1:53122` if that failed with `error`, else null. */
  failedHandshake(error: unknown): string | null {
    const { isSecure, failure } = this.#engine;
    if (isSecure || failure?.error !== error) return null;
    return `the TLS handshake with ${textOf(this.remoteAddress) ?? "a peer"}`;
  }

  /** The protocol that both sides chose, such as `"h2"`; null if none, or before the handshake. See RFC 7301. */
  get alpnProtocol(): string | null {
    return this.#engine.socket?.alpnProtocol || null;
  }

  /** The version of TLS, such as `"TLSv1.3"`; null before the handshake. */
  get protocol(): string | null {
    return this.#engine.isSecure ? (this.#engine.socket?.getProtocol() ?? null) : null;
  }

  /** On a server, the name that the client asked for; on a client, the one that it expects. null if there is none. */
  get servername(): string | null {
    return this.#engine.servername;
  }

  /** True if the certificate of the peer is valid. A client can have a false one only without `rejectUnauthorized`. */
  get isAuthorized(): boolean {
    return this.#engine.isSecure && this.#engine.socket?.authorized === true;
  }

  /** The certificate of the peer; null if it sent none, or before the handshake. */
  get peerCertificate(): PeerCertificate | null {
    const certificate = this.#engine.isSecure
      ? this.#engine.socket?.getPeerCertificate()
      : undefined;
    return certificate?.raw === undefined ? null : certificate;
  }

  /**
   * Completes when the handshake is done; at once if it is. `connect`, `upgrade` and `accept` have done it. A stream of
   * a TlsListener does it in its first read or write, or here. Throws TlsError, and what the stream below throws.
   */
  handshake(): Future<void> {
    return new TlsWait(this.#engine, this.#engine.readers, "TLS handshake", () =>
      this.#engine.isSecure ? undefined : Pending,
    );
  }

  /**
   * Waits for data and reads at least one byte into `buffer`. Returns the number of bytes; 0 after the close_notify of
   * the peer. Throws TlsTruncatedError if the connection ended without one, TlsError, ClosedError, what the stream below
   * throws, TypeError if `buffer` is not a Uint8Array, and RangeError if it is empty. Cancel safe: a dropped read has
   * read nothing.
   */
  read(buffer: Uint8Array): Future<number> {
    checkBuffer(buffer);
    return this.#reading(() => {
      checkBuffer(buffer); // user code may have detached it meanwhile
      const bytes = this.#engine.take(buffer.length);
      if (bytes !== null) buffer.set(bytes);
      return bytes?.length ?? 0;
    });
  }

  /** Waits for data and returns it, at most `maxBytes` bytes; null after the close_notify of the peer. Like `read`. */
  readChunk(options?: ReadChunkOptions): Future<Uint8Array | null> {
    const maxBytes = checkMaxBytes(options);
    return this.#reading(() => {
      const bytes = this.#engine.take(maxBytes);
      if (bytes === null) return null;
      const isWhole = bytes.length === bytes.buffer.byteLength;
      return isWhole ? new Uint8Array(bytes.buffer) : new Uint8Array(bytes); // a copy of a part
    });
  }

  /**
   * Waits until the previous writes have been sent, and encrypts at least the first byte of `data`. Returns the number
   * of bytes. A later write waits until they are sent, and throws if that failed; `close` waits, too. Throws TlsError
   * (`ERR_TLS_PEER_CLOSED` after the close_notify of the peer), ClosedError after `shutdown` and `close`, what the
   * stream below throws, TypeError if `data` is not a Uint8Array, and RangeError if it is empty. Cancel safe: a dropped
   * write has written nothing.
   */
  write(data: Uint8Array): Future<number> {
    checkBuffer(data, "data");
    return this.#writing((cx) => {
      checkBuffer(data, "data"); // user code may have detached it meanwhile
      if (this.#engine.isBusy) return Pending;
      const piece = data.subarray(0, MAX_PIECE);
      this.#engine.write(piece, cx);
      return piece.length;
    });
  }

  /**
   * Writes all of `data` (a string as UTF-8), or its first `length` bytes, and waits until the stream below has accepted
   * it. `data` must not change until then. Throws RangeError if `data` becomes shorter, and unless `length` is an integer
   * from 0 to the length of `data`; otherwise like `write`. Not cancel safe: a dropped write may have written a part.
   */
  writeAll(data: Uint8Array | string, length?: number): Future<void> {
    const bytes = checkData(data, length);
    const end = length ?? bytes.length;
    let written = 0;
    return this.#writing((cx) => {
      if (written === end) return this.#engine.hasSentAll ? undefined : Pending;
      checkKept(bytes, end);
      if (this.#engine.isBusy) return Pending;
      const piece = bytes.subarray(written, Math.min(written + MAX_PIECE, end));
      written += piece.length;
      this.#engine.write(piece, cx);
      return Again;
    });
  }

  /** Writes all `pieces` in order, in as few records as possible. Like `writeAll`. */
  writev(pieces: readonly (Uint8Array | string)[]): Future<void> {
    return this.writeAll(Buffer.concat(bytesOf(pieces)));
  }

  /**
   * Ends our side: sends a close_notify after what was written, and then shuts down the stream below. The peer's read
   * returns 0. Returns at once; idempotent. What the peer sends can still be read. (The other way around it is not so:
   * once the peer has sent its close_notify, node:tls has closed our side, too.) Throws ClosedError after `close`.
   */
  shutdown(): void {
    if (this.#engine.isClosed) throw this.#engine.failure?.error;
    this.#engine.shutdown();
  }

  /**
   * Ends the stream; pending operations throw ClosedError. Returns at once. The stream below is closed when it has
   * accepted what was written and a close_notify, or has failed, or after 5 seconds. Idempotent.
   */
  close(): void {
    this.#engine.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Iterates over the chunks of `readChunk`. Leaving the loop keeps the stream open. Throws what `readChunk` throws. */
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return iterateChunks(() => this.readChunk());
  }

  /** The data that arrives, as a web stream: see `toReadable`. */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    this.#web ??= new WebStreams(this);
    return this.#web.readable;
  }

  /** What to send, as a web stream: see `toWritable`. */
  get writable(): WritableStream<Uint8Array | string> {
    this.#web ??= new WebStreams(this);
    return this.#web.writable;
  }

  #reading<T>(take: () => T): Future<T> {
    const engine = this.#engine;
    return new TlsWait(engine, engine.readers, "read of a TLS stream", () =>
      engine.hasPlain || engine.hasPeerEnded ? take() : Pending,
    );
  }

  #writing<T>(attempt: (cx: Context) => Poll<T> | Again): Future<T> {
    const engine = this.#engine;
    return new TlsWait(engine, engine.writers, "write to a TLS stream", (cx) => {
      if (!engine.isSecure) return Pending;
      engine.checkWritable();
      return attempt(cx);
    });
  }
}

/** Waits until `step` has a value. Drives the engine as long as the handshake lasts, and a reader drives it always. */
class TlsWait<T> extends Leaf<T> {
  private readonly engine: TlsEngine;
  private readonly queue: WaitQueue;
  private readonly what: string;
  private readonly step: (cx: Context) => Poll<T> | Again;

  constructor(
    engine: TlsEngine,
    queue: WaitQueue,
    what: string,
    step: (cx: Context) => Poll<T> | Again,
  ) {
    super();
    this.engine = engine;
    this.queue = queue;
    this.what = what;
    this.step = step;
  }

  protected override attempt(cx: Context): Poll<T> | Again {
    const engine = this.engine;
    this.queue.leave(this); // so that what this attempt changes wakes only the others
    engine.enter(cx);
    const isReader = this.queue === engine.readers;
    // What arrived before a failure can still be read.
    const hasMore = isReader && !engine.isClosed && (engine.hasPlain || engine.hasPeerEnded);
    if (engine.failure !== null && !hasMore) throw engine.failure.error;
    const value = this.step(cx);
    if (value !== Pending) return value;
    if ((isReader || !engine.isSecure) && engine.receive(cx)) return Again;
    this.queue.wait(this, cx.target);
    return Pending;
  }

  protected override release(): void {
    if (this.list === null) return;
    this.queue.leave(this);
    this.engine.onLeave();
  }

  override describe(): string {
    return this.what;
  }
}

/** Waits for a connection below, then for its handshake. Owns both until it returns the stream. */
class Establish extends Future<TlsStream> {
  /** The connection below, or its connect. */
  private below: ByteStream | Future<ByteStream> | null;
  private readonly engineOf: (transport: ByteStream) => TlsEngine;
  private stream: TlsStream | null = null;
  private handshake: Future<void> | null = null;

  constructor(
    below: ByteStream | Future<ByteStream>,
    engineOf: (transport: ByteStream) => TlsEngine,
  ) {
    super();
    this.below = below;
    this.engineOf = engineOf;
  }

  override poll(cx: Context): Poll<TlsStream> {
    if (this.handshake === null) {
      const below = this.below;
      if (below === null) throw polledAfterEnd("a TLS handshake");
      const transport = below instanceof Future ? below.poll(cx) : below;
      if (transport === Pending) return Pending;
      this.below = null;
      this.stream = TlsStream.create(this.engineOf(transport));
      this.handshake = this.stream.handshake();
    }
    try {
      if (this.handshake.poll(cx) === Pending) return Pending;
    } catch (error) {
      this.stream?.close();
      throw error;
    }
    const stream = this.stream!; // set with the handshake
    this.stream = null;
    return stream;
  }

  override reclaim(stream: TlsStream): void {
    stream.close();
  }

  override drop(): void {
    const below = this.below;
    this.below = null;
    if (below instanceof Future) below.drop();
    else below?.close();
    this.handshake?.drop();
    this.stream?.close();
    this.stream = null;
  }
}

function hostnameOf(address: AddressLike): string {
  if (typeof address !== "string") return address.hostname;
  const host = address.slice(0, address.lastIndexOf(":"));
  return host.startsWith("[") ? host.slice(1, -1) : host;
}
