// TlsEngine: a TLS socket of node:tls over a byte stream. It feeds the socket what arrives, keeps what it decrypts, and
// sends what it encrypts. TlsStream has the operations; the leaf that a task awaits drives the engine.
//
// Facts about node:tls in Bun 1.4.5 over a Duplex, and what they mean for this code:
// - It decrypts inside `push`, and encrypts inside `write` if no earlier write is in progress. It reports the handshake,
//   the end and errors later, from Bun's own loop. So TLS needs guest mode.
// - It ignores the backpressure of the Duplex. So we encrypt only while nothing waits to be sent.
// - It reports a close_notify and the end of the Duplex alike, as "end". So we never pass on the end of the connection:
//   an "end" is a close_notify. If none has come one turn of Bun's loop after the connection ended, data is missing.
// - It answers a close_notify by its own, and can send nothing afterwards. So a peer cannot half-close. We can: after our
//   close_notify it still decrypts what arrives.
// - It never calls SNICallback here, so `client-hello.ts` reads the name before the socket exists.
// - Without `host` and `servername` it accepts a certificate of any name. So we check the name again by ourselves.
//
// Invariants:
// - At most one `readChunk` of the stream below is in progress. The leaf that polled last is woken by it. If that leaf
//   is dropped, the other waiting leaves are woken to take over, and if there are none, the read is dropped: it has
//   read nothing. So no bytes are lost.
// - Decrypted bytes stay in `plain` until a read returns them.

import type { Duplex } from "node:stream";
import type { SecureContext, TLSSocket } from "node:tls";
import type { Context, RuntimeRef } from "../core/context.ts";
import type { Coroutine, Future } from "../core/future.ts";
import { intoFuture } from "../core/into-future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { WaitQueue } from "../core/wait-queue.ts";
import type { ByteStream } from "../io/bytes.ts";
import { CallbackFutures } from "../io/callback-futures.ts";
import { ClosedError } from "../io/source.ts";
import { now, Sleep } from "../time/sleep.ts";
import { serverNameOf } from "./client-hello.ts";
import { needsEventLoop, TlsError, TlsTruncatedError, tlsErrorOf } from "./tls-error.ts";
import type { TlsSettings } from "./tls-options.ts";

/** How long a closed stream sends what was written. */
const CLOSE_TIMEOUT_MS = 5000;

export class TlsEngine {
  readonly transport: ByteStream;
  /** The leaves that wait to read, or for the handshake. */
  readonly readers: WaitQueue = new WaitQueue();
  /** The leaves that wait to write. */
  readonly writers: WaitQueue = new WaitQueue();
  /** null on a server that has not read the server name yet. */
  socket: TLSSocket | null = null;
  isSecure = false;
  /** We have sent our close_notify, or are about to. */
  isShutDown = false;
  /** The close_notify of the peer has arrived. */
  hasPeerEnded = false;
  /** Why every operation fails. Reads first return what is in `plain`, unless the stream was closed. */
  failure: { readonly error: Error } | null = null;
  /** Why writes fail. Reads go on: the peer may have closed after it sent the rest. */
  private sendError: { readonly error: unknown } | null = null;
  isClosed = false;
  /** The server name that the client asked for, or that we asked for; null if there is none. */
  servername: string | null = null;
  private readonly settings: TlsSettings;
  private readonly futures = new CallbackFutures();
  /** What the TLS socket writes to and reads from; null as long as `socket` is. */
  private wire: Duplex | null = null;
  /** The bytes from which a server reads the server name. */
  private hello: Uint8Array = new Uint8Array(0);
  private incoming: Future<Uint8Array | null> | null = null;
  private hasTransportEnded = false;
  private readonly plain: Uint8Array[] = [];
  /** Encrypted bytes that wait to be sent. */
  private outgoing: Uint8Array[] = [];
  private isSending = false;
  /** The TLS socket has not called back for the latest write. */
  private isEncrypting = false;
  /** Inside `write`, which sends what it has encrypted. */
  private isWriting = false;
  /** The latest write has encrypted nothing yet: it does so before it calls back. */
  private isHeldBack = false;
  /** The TLS socket has ended: the stream below is to be shut down after what it wrote. */
  private mustShutDown = false;
  /** The stream below has accepted everything, our close_notify included, or it has failed. */
  private hasSentEnd = false;
  /** The stream below is closed. */
  private isFinished = false;
  private deadlineMs: number | null = null;
  private deadline: Future<void> | null = null;

  constructor(transport: ByteStream, settings: TlsSettings) {
    this.transport = transport;
    this.settings = settings;
    if (!settings.isServer) this.servername = settings.expectedName;
  }

  /** Begins an attempt of a leaf, and the handshake if it has not begun. Throws TlsError where it cannot progress. */
  enter(cx: Context): void {
    if (cx.runtime.holdsThread) {
      this.onLeave();
      throw needsEventLoop();
    }
    this.futures.home = cx.runtime as RuntimeRef;
    if (this.socket === null && !this.settings.needsName && this.failure === null) this.open(null);
  }

  /**
   * Moves the connection on for a leaf that waits to read, or for the handshake. Returns true if something has changed,
   * and false if the leaf must wait.
   */
  receive(cx: Context): boolean {
    if (!this.isSecure && this.isOverdue(cx)) return true;
    if (this.hasTransportEnded) return false;
    let chunk: Poll<Uint8Array | null>;
    try {
      this.incoming ??= this.transport.readChunk();
      chunk = this.incoming.poll(cx);
    } catch (error) {
      this.incoming = null;
      this.onTransportEnd(error as Error);
      return true;
    }
    if (chunk === Pending) return false;
    this.incoming = null;
    if (chunk === null) this.onTransportEnd(null);
    else this.feed(chunk);
    return true;
  }

  /** True if decrypted bytes wait to be read. */
  get hasPlain(): boolean {
    return this.plain.length > 0;
  }

  /** Throws if our side has failed or ended. */
  checkWritable(): void {
    if (this.sendError !== null) throw this.sendError.error;
    if (this.isShutDown) throw new ClosedError("this TLS stream was shut down");
    if (!this.hasPeerEnded) return;
    throw new TlsError(
      "ERR_TLS_PEER_CLOSED",
      "the peer has sent its close_notify, and node:tls then closes our side, too",
    );
  }

  /** True while an earlier write is in progress: the next must wait in `writers`. */
  get isBusy(): boolean {
    return this.isSending || this.isEncrypting || this.outgoing.length > 0;
  }

  /** True once the stream below has accepted all that was written. */
  get hasSentAll(): boolean {
    return !this.isSending && !this.isHeldBack && this.outgoing.length === 0;
  }

  /** Encrypts `data` and starts to send it. The engine must not be busy. */
  write(data: Uint8Array, cx: Context): void {
    this.isEncrypting = true;
    this.isWriting = true;
    this.isHeldBack = true;
    this.socket!.write(data, () => {
      this.isEncrypting = false;
      this.isHeldBack = false;
      this.writers.wakeAll();
    });
    this.isWriting = false;
    this.send(cx);
  }

  /** The decrypted bytes that come next, at most `maxBytes`; null if there are none. */
  take(maxBytes: number): Uint8Array | null {
    const [first] = this.plain;
    if (first === undefined) return null;
    if (first.length <= maxBytes) return this.plain.shift()!;
    this.plain[0] = first.subarray(maxBytes);
    return first.subarray(0, maxBytes);
  }

  /** Called by a leaf that stops waiting: another must take over the read in progress. */
  onLeave(): void {
    this.readers.wakeAll();
    this.writers.wakeAll();
    this.incoming?.drop();
    this.incoming = null;
    this.deadline?.drop();
    this.deadline = null;
  }

  /** Sends our close_notify after what was written, then shuts down the stream below. Idempotent. */
  shutdown(): void {
    if (this.isShutDown || this.failure !== null) return;
    this.isShutDown = true;
    if (this.isSecure) this.socket?.end(); // else at the end of the handshake
  }

  /** Closes the stream below, after what was written and a close_notify. Idempotent. */
  close(error: Error = new ClosedError("this TLS stream is closed")): void {
    if (this.isClosed) return;
    const isWorking = this.isSecure && this.failure === null;
    if (isWorking) this.shutdown();
    this.isClosed = true;
    this.plain.length = 0;
    this.fail(error);
    if (!isWorking || this.hasSentEnd) this.finish();
    else this.futures.run(new Sleep(-CLOSE_TIMEOUT_MS)).then(this.finish, this.finish);
  }

  /** After `close`: closes the stream below if there is nothing left to send, or it cannot be sent. */
  private readonly onSent = (): void => {
    if (this.isClosed && this.hasSentEnd) this.finish();
  };

  private readonly finish = (): void => {
    this.isFinished = true;
    this.futures.stopAll();
    this.socket?.destroy();
    this.transport.close();
  };

  /** Makes every operation fail with `error`, now and later. The first failure counts. */
  private fail(error: Error): void {
    this.failure ??= { error };
    this.onLeave();
  }

  /** Returns true if the handshake has taken too long. */
  private isOverdue(cx: Context): boolean {
    const { handshakeTimeoutMs } = this.settings;
    this.deadlineMs ??= now() + handshakeTimeoutMs;
    this.deadline ??= new Sleep(this.deadlineMs);
    if (this.deadline.poll(cx) === Pending) return false;
    this.deadline = null;
    this.fail(
      new TlsError(
        "ERR_TLS_HANDSHAKE_TIMEOUT",
        `the TLS handshake must end within ${handshakeTimeoutMs} ms (options.handshakeTimeoutMs)`,
      ),
    );
    return true;
  }

  private feed(chunk: Uint8Array): void {
    if (this.socket !== null) {
      this.wire!.push(chunk);
      return;
    }
    this.hello = Buffer.concat([this.hello, chunk]);
    const name = serverNameOf(this.hello);
    if (name === undefined) return;
    this.open(name);
    this.wire?.push(this.hello); // null: no certificate for the name
    this.hello = new Uint8Array(0);
  }

  /** The stream below has ended, or has failed with `error`. */
  private onTransportEnd(error: Error | null): void {
    this.hasTransportEnded = true;
    // A close_notify that came right before the end, or before a reset, is reported by then.
    setImmediate(() => {
      if (!this.hasPeerEnded) this.fail(error ?? this.endError());
    });
  }

  private endError(): TlsError {
    if (this.isSecure) return new TlsTruncatedError();
    return new TlsError(
      "ERR_TLS_HANDSHAKE_ENDED",
      "the peer ended the connection in the handshake",
    );
  }

  /** Creates the TLS socket, which begins the handshake. */
  private open(servername: string | null): void {
    try {
      this.openWith(this.settings.contextFor(servername), servername);
    } catch (error) {
      this.fail(error as Error);
    }
  }

  private openWith(secureContext: SecureContext, servername: string | null): void {
    const { settings } = this;
    const tls = process.getBuiltinModule("node:tls");
    const { Duplex } = process.getBuiltinModule("node:stream");
    this.wire = new Duplex({
      allowHalfOpen: true,
      read() {}, // `feed` pushes
      write: (chunk: Uint8Array, _encoding, callback) => {
        this.outgoing.push(chunk);
        callback();
        if (this.isWriting) this.isHeldBack = false;
        else if (!this.isFinished) this.send(null);
      },
      final: (callback) => {
        this.mustShutDown = true;
        callback();
        if (!this.isFinished) this.send(null);
      },
    });
    this.wire.on("error", () => {}); // the TLS socket reports it
    const shared = {
      secureContext,
      ALPNProtocols: [...settings.alpnProtocols],
      rejectUnauthorized: settings.rejectUnauthorized,
      requestCert: settings.requestCert,
      allowHalfOpen: true,
    };
    if (settings.isServer) {
      this.socket = new tls.TLSSocket(this.wire as never, { ...shared, isServer: true });
      this.socket.on("secure", this.onSecure);
    } else {
      const host = settings.expectedName!; // a client has one
      const isAddress = process.getBuiltinModule("node:net").isIP(host) !== 0;
      const name = isAddress ? { host } : { host, servername: host };
      this.socket = tls.connect({ ...shared, ...name, socket: this.wire });
      this.socket.on("secureConnect", this.onSecure);
    }
    this.servername ??= servername;
    this.socket.on("data", (data: Uint8Array) => {
      this.plain.push(data);
      this.readers.wakeAll();
    });
    this.socket.on("end", () => {
      if (!this.isSecure || this.failure !== null) return; // it also follows an error
      this.hasPeerEnded = true;
      this.readers.wakeAll();
      this.writers.wakeAll();
    });
    this.socket.on("error", (error) => this.fail(tlsErrorOf(error, settings.expectedName)));
    this.socket.on("close", () => {
      if (this.hasPeerEnded) return;
      this.fail(new TlsError("ERR_TLS_HANDSHAKE_ENDED", "the TLS connection ended unexpectedly"));
    });
  }

  private readonly onSecure = (): void => {
    const { socket, settings } = this;
    if (socket === null || this.failure !== null) return;
    const error = settings.rejectUnauthorized ? this.verify(socket) : null;
    if (error !== null) {
      this.fail(tlsErrorOf(error, settings.expectedName));
      return;
    }
    this.isSecure = true;
    if (this.isShutDown) socket.end();
    this.deadline?.drop();
    this.deadline = null;
    const name: unknown = (socket as { servername?: unknown }).servername;
    if (typeof name === "string" && name !== "") this.servername ??= name;
    this.readers.wakeAll();
    this.writers.wakeAll();
  };

  /** Returns the error of the peer's certificate; null if it is valid. */
  private verify(socket: TLSSocket): unknown {
    const { settings } = this;
    if (!settings.requestCert) return null;
    if (!socket.authorized) {
      const code = String(socket.authorizationError);
      return { code, message: code };
    }
    if (settings.expectedName === null) return null;
    const { checkServerIdentity } = process.getBuiltinModule("node:tls");
    return checkServerIdentity(settings.expectedName, socket.getPeerCertificate()) ?? null;
  }

  /** Starts to send what is in `outgoing`, unless that is in progress. `cx` is that of the poll, if there is one. */
  private send(cx: Context | null): void {
    if (this.sendError !== null) this.outgoing.length = 0;
    if (this.isSending || (this.outgoing.length === 0 && !this.mustShutDown)) return;
    this.isSending = true;
    const sending = intoFuture(this.sendAll());
    if (cx !== null && sending.poll(cx) !== Pending)
      this.onSent(); // usually the kernel has room
    else this.futures.run(sending).then(this.onSent, (error) => this.fail(error));
  }

  private shutDownTransport(): void {
    this.mustShutDown = false;
    this.hasSentEnd = true;
    try {
      if (!this.isClosed) this.transport.shutdown();
    } catch {} // the peer has reset the connection: a read throws it, if anything is left to read
  }

  private *sendAll(): Coroutine<void> {
    try {
      while (this.outgoing.length > 0) {
        const pieces = this.outgoing.splice(0);
        const [first] = pieces;
        const bytes = pieces.length === 1 ? first! : Buffer.concat(pieces);
        yield* this.transport.writeAll(bytes);
      }
      if (this.mustShutDown) this.shutDownTransport();
    } catch (error) {
      this.sendError ??= { error };
      this.hasSentEnd = true;
      if (!this.isSecure) this.fail(error as Error);
    } finally {
      this.isSending = false;
      this.writers.wakeAll();
    }
  }
}
