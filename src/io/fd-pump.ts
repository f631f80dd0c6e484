// FdPump: moves bytes from one fd to another through the thread's receive buffer, without a future per read or write.
//
// Facts about a proxy of small messages, and what they mean for this code:
// - Between its messages a connection has nothing to write. So a pump holds no buffer while it waits to read. It keeps
//   a copy of what the writer did not accept, and only until the writer has accepted it.
// - A dropped pump loses what it has read and not written. So it reads only when nothing is left to write and the writer
//   is not known to be full. (The kernel keeps what the pump does not read, and slows the sender down.)
//
// Invariant: the pump is in at most one queue: the one of `waitsOn` for `direction`. While it is there, its event has not
// arrived, and a step only stores the latest target.

import type { Blocker, Context } from "../core/context.ts";
import { Again, type Pending, type Poll } from "../core/poll.ts";
import type { Waiter } from "../core/wait-queue.ts";
import type { WakeTarget } from "../core/wake-target.ts";
import { EAGAIN, EINTR } from "../sys/errno.ts";
import { CHUNK_BYTES } from "./bytes.ts";
import { Pump } from "./pump.ts";
import { receiveBuffer } from "./read-chunk.ts";
import { type Direction, READ, type Source, WRITE } from "./source.ts";

/** The fd of a stream, as `stream.fdStream` shows it to this library. */
export class FdStream {
  readonly source: Source;
  /** True: use recv(2) and send(2), and a short read has drained the fd. False: use read(2) and write(2). */
  readonly isSocket: boolean;

  constructor(source: Source, isSocket: boolean) {
    this.source = source;
    this.isSocket = isSocket;
  }
}

/** Returns the fd of `stream`; null if it is not a stream over an fd of this library. */
export function fdStreamOf(stream: object): FdStream | null {
  const { fdStream } = stream as { fdStream?: unknown };
  return fdStream instanceof FdStream ? fdStream : null;
}

export class FdPump extends Pump implements Waiter, Blocker {
  target: WakeTarget | null = null;
  before: Waiter | null = null;
  after: Waiter | null = null;
  list: object | null = null;

  private readonly input: Source;
  private readonly output: Source;
  private readonly isFromSocket: boolean;
  private readonly isToSocket: boolean;
  /** What was read and is not written. null while everything is written. */
  private rest: Uint8Array | null = null;
  private waitsOn: Source;
  private direction: Direction = READ;

  constructor(from: FdStream, to: FdStream, maxBytes: number) {
    super(maxBytes);
    this.input = this.waitsOn = from.source;
    this.output = to.source;
    this.isFromSocket = from.isSocket;
    this.isToSocket = to.isSocket;
  }

  override get operation(): "read" | "write" {
    return this.direction === READ ? "read" : "write";
  }

  override step(cx: Context): Poll<void> | Again {
    if (this.list !== null) return this.wait(this.waitsOn, this.direction, cx);
    const { input, output, isFromSocket } = this;
    if ((output.ready & WRITE) === 0) return this.wait(output, WRITE, cx);
    if (this.rest !== null) return this.send(this.rest, this.rest.length);
    const left = this.maxBytes - this.received;
    if (left === 0) return;
    if ((input.ready & READ) === 0) return this.wait(input, READ, cx);
    const buffer = left < CHUNK_BYTES ? receiveBuffer(left) : receiveBuffer();
    const count = isFromSocket
      ? input.sys.recv(input.fd, buffer, 0)
      : input.sys.read(input.fd, buffer);
    if (count === 0) return;
    if (count < 0) return this.onErrno(count, input, READ, isFromSocket ? "recv" : "read");
    // A short read drained the socket. Clearing readiness now saves the recv that would return EAGAIN.
    if (isFromSocket && count < buffer.length) input.onShortRead();
    this.received += count;
    cx.charge(); // the read: the poll charges the write
    return this.send(buffer, count);
  }

  /** Sends the first `length` bytes of `data`: the rest, or the receive buffer. */
  private send(data: Uint8Array, length: number): Again {
    const { output, isToSocket } = this;
    const sent = isToSocket
      ? output.sys.send(output.fd, data, 0, length)
      : output.sys.write(output.fd, length < data.length ? data.subarray(0, length) : data);
    if (sent === length) this.rest = null;
    else if (data !== this.rest) this.rest = data.slice(Math.max(sent, 0), length);
    else if (sent > 0) this.rest = data.subarray(sent);
    if (sent < 0) return this.onErrno(sent, output, WRITE, isToSocket ? "send" : "write");
    this.written += sent;
    return Again;
  }

  /** After EAGAIN the next step waits; after EINTR it tries again. Throws any other error. */
  private onErrno(errno: number, source: Source, direction: Direction, syscall: string): Again {
    if (errno === -EAGAIN) source.clearReady(direction);
    else if (errno !== -EINTR) {
      this.direction = direction;
      throw source.errorOf(errno, syscall);
    }
    return Again;
  }

  private wait(source: Source, direction: Direction, cx: Context): Pending {
    this.waitsOn = source;
    this.direction = direction;
    return source.wait(direction, this, cx);
  }

  override get blockedOn(): Blocker {
    return this;
  }

  describe(): string {
    return `${this.operation} ${this.waitsOn.describe()}`;
  }

  override stopWaiting(): void {
    if (this.list !== null) this.waitsOn.leave(this.direction, this);
  }

  override drop(): void {
    this.stopWaiting();
    this.rest = null;
  }
}
