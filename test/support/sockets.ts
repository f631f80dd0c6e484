// Connected sockets for tests: as raw fds, and as streams.

import { type Coroutine, type Sys, spawn, TcpListener, TcpStream } from "../../src/index.ts";
import { Source } from "../../src/io/source.ts";
import { check } from "../../src/sys/errno.ts";
import {
  AF_INET,
  EAGAIN,
  EINPROGRESS,
  linux,
  SOCK_STREAM,
  SockaddrBuffer,
} from "../../src/sys/index.ts";

/** Opens two connected TCP sockets over loopback, without a runtime. The caller closes both. */
export function rawPair(sys: Sys = linux()): [ours: number, peer: number] {
  const listener = check(sys.socket(AF_INET, SOCK_STREAM), "socket");
  const address = new SockaddrBuffer().encode({ hostname: "127.0.0.1", port: 0 });
  check(sys.bind(listener, address), "bind");
  check(sys.listen(listener, 1), "listen");
  check(sys.getsockname(listener, address), "getsockname");
  const ours = check(sys.socket(AF_INET, SOCK_STREAM), "socket");
  const connected = sys.connect(ours, address);
  if (connected !== -EINPROGRESS) check(connected, "connect");
  let peer = -EAGAIN;
  while (peer === -EAGAIN) peer = sys.accept(listener, new SockaddrBuffer());
  sys.close(listener);
  return [ours, check(peer, "accept4")];
}

/** Returns a stream over `sys` and its peer, a raw fd. The peer's methods are synchronous: no runtime drives them. */
export function streamAndPeer(sys: Sys = linux()): {
  stream: TcpStream;
  source: Source;
  peer: RawPeer;
} {
  const [ours, peer] = rawPair();
  const source = new Source(sys, ours);
  const stream = TcpStream.create(source, { hostname: "127.0.0.1", port: 0 });
  return { stream, source, peer: new RawPeer(peer) };
}

/** The peer of a stream: a plain fd, without a reactor. */
export class RawPeer implements Disposable {
  readonly fd: number;
  #isOpen = true;

  constructor(fd: number) {
    this.fd = fd;
  }

  send(text: string, flags = 0): void {
    check(linux().send(this.fd, Buffer.from(text), flags), "send");
  }

  /** Returns the text that has arrived; null if nothing has, "" at the end of the stream. */
  recv(): string | null {
    const buffer = new Uint8Array(65536);
    const count = linux().recv(this.fd, buffer, 0);
    return count === -EAGAIN
      ? null
      : Buffer.from(buffer.subarray(0, check(count, "recv"))).toString();
  }

  shutdown(how: number): void {
    check(linux().shutdown(this.fd, how), "shutdown");
  }

  close(): void {
    if (this.#isOpen) linux().close(this.fd);
    this.#isOpen = false;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Returns two streams that are connected to each other. */
export function* streamPair(hostname = "127.0.0.1"): Coroutine<[TcpStream, TcpStream]> {
  using listener = TcpListener.bind({ hostname, port: 0 });
  const accepting = spawn(listener.accept());
  const client = yield* TcpStream.connect(listener.localAddress);
  return [client, yield* accepting];
}

/** Reads until the end of the stream, at most `size` bytes at a time. */
export function* readAll(stream: TcpStream, size = 65536): Coroutine<Buffer> {
  const buffer = new Uint8Array(size);
  const chunks: Uint8Array[] = [];
  for (;;) {
    const count = yield* stream.read(buffer);
    if (count === 0) return Buffer.concat(chunks);
    chunks.push(buffer.slice(0, count));
  }
}

/** Reads exactly `length` bytes. Returns them as text. */
export function* readExactly(stream: TcpStream, length: number): Coroutine<string> {
  const buffer = new Uint8Array(length);
  for (let filled = 0; filled < length; ) {
    const count = yield* stream.read(buffer.subarray(filled));
    if (count === 0) throw new Error(`the stream ended after ${filled} of ${length} bytes`);
    filled += count;
  }
  return Buffer.from(buffer).toString();
}

/** Returns a port that is free now. */
export function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  listener.stop(true);
  return listener.port;
}
