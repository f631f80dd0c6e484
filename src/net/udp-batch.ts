// Many datagrams per call: sendMany on sendmmsg(2), recvMany on recvmmsg(2).

import type { Context } from "../core/context.ts";
import type { Again, Poll } from "../core/poll.ts";
import { Operation } from "../io/operation.ts";
import { receiveBuffer } from "../io/read-chunk.ts";
import { READ, type Source, WRITE } from "../io/source.ts";
import { Datagrams } from "../sys/datagrams.ts";
import { SysError } from "../sys/errno.ts";
import type { SocketAddress } from "../sys/sockaddr.ts";
import type { Inbox } from "./inbox.ts";

/** The most datagrams of one sendmmsg. */
export const MAX_SEND_MANY = 64;

/** A datagram to send; `to` is null for the connected peer. */
export interface Outgoing {
  readonly data: Uint8Array;
  readonly to: SocketAddress | null;
}

/** One per thread is enough: each attempt fills it and makes its syscall. */
let shared: Datagrams | null = null;

export class SendMany extends Operation<number> {
  private datagrams: readonly Outgoing[];

  constructor(source: Source, datagrams: readonly Outgoing[]) {
    super(source);
    this.datagrams = datagrams;
  }

  protected override get direction(): typeof WRITE {
    return WRITE;
  }

  protected override attempt(cx: Context): Poll<number> | Again {
    const { source, datagrams } = this;
    if ((source.ready & WRITE) === 0) return source.wait(WRITE, this, cx);
    shared ??= new Datagrams(MAX_SEND_MANY);
    const batch = shared;
    for (const [index, { data, to }] of datagrams.entries()) batch.write(index, data, to);
    const count = source.sys.sendmmsg(source.fd, batch, datagrams.length);
    return count < 0 ? this.onErrno(count, cx) : count;
  }

  protected override get syscall(): string {
    return "sendmmsg";
  }

  protected override errorOf(errno: number): Error {
    const to = this.datagrams[0]?.to ?? null;
    return to === null ? super.errorOf(errno) : new SysError(errno, this.syscall, to);
  }

  protected override release(): void {
    super.release();
    this.datagrams = [];
  }
}

/** A datagram that was received, in an array of its own. */
interface Received {
  readonly data: Uint8Array<ArrayBuffer>;
  readonly address: SocketAddress;
}

export class ReceiveMany extends Operation<Received[]> {
  private readonly inbox: Inbox;

  constructor(source: Source, inbox: Inbox) {
    super(source);
    this.inbox = inbox;
  }

  protected override get direction(): typeof READ {
    return READ;
  }

  protected override attempt(cx: Context): Poll<Received[]> | Again {
    const { source, inbox } = this;
    const isReceived = !inbox.isEmpty && !source.isClosed;
    if (!isReceived && (source.ready & READ) === 0) return source.wait(READ, this, cx);
    const buffer = receiveBuffer(); // larger than any datagram
    const received: Received[] = [];
    do {
      const length = inbox.receive(source, buffer);
      if (length < 0) return this.onErrno(length, cx); // only the first receive makes a syscall
      received.push({
        data: buffer.slice(0, length) as Uint8Array<ArrayBuffer>,
        address: inbox.address!,
      });
    } while (!inbox.isEmpty);
    return received;
  }

  protected override get syscall(): string {
    return this.inbox.syscall;
  }
}
