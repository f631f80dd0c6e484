// SendMessage and ReceiveMessage: the operations of sendmsg(2) and recvmsg(2). Each kind of socket extends them by what it
// sends along with the data, and by what it makes of a message.

import type { Context } from "../core/context.ts";
import type { Again, Poll } from "../core/poll.ts";
import { Operation } from "../io/operation.ts";
import { READ, type Source, WRITE } from "../io/source.ts";
import type { Message } from "../sys/message.ts";
import { checkBuffer, MSG_TRUNC } from "../sys/socket.ts";
import { checkSendable, sharedMessage } from "./socket.ts";

/** Sends one message. */
export abstract class SendMessage extends Operation<number> {
  constructor(source: Source, data: Uint8Array) {
    super(source);
    this.buffer = data;
  }

  /** Adds the address and the control messages. */
  protected abstract fill(message: Message): void;

  protected override get direction(): typeof WRITE {
    return WRITE;
  }

  protected override attempt(cx: Context): Poll<number> | Again {
    const { source, buffer } = this;
    if ((source.ready & WRITE) === 0) return source.wait(WRITE, this, cx);
    checkSendable(buffer); // user code may have detached it
    const message = sharedMessage(buffer);
    this.fill(message);
    const count = source.sys.sendmsg(source.fd, message, 0);
    message.clear();
    return count < 0 ? this.onErrno(count, cx) : count;
  }

  protected override get syscall(): string {
    return "sendmsg";
  }
}

/** Receives one message, or a part of a stream. */
export abstract class ReceiveMessage<T> extends Operation<T> {
  private readonly flags: number;

  constructor(source: Source, buffer: Uint8Array, isStream: boolean) {
    super(source);
    this.buffer = buffer;
    this.flags = isStream ? 0 : MSG_TRUNC; // so that recvmsg returns the length of the whole datagram
  }

  /** Returns what was received. `count` is the length of the whole datagram. The message is valid until it returns. */
  protected abstract received(message: Message, count: number): T | Again;

  protected override get direction(): typeof READ {
    return READ;
  }

  protected override attempt(cx: Context): Poll<T> | Again {
    const { source, buffer } = this;
    if ((source.ready & READ) === 0) return source.wait(READ, this, cx);
    checkBuffer(buffer); // user code may have detached it
    const message = sharedMessage(buffer);
    const count = source.sys.recvmsg(source.fd, message, this.flags);
    message.clear();
    return count < 0 ? this.onErrno(count, cx) : this.received(message, count);
  }

  protected override get syscall(): string {
    return "recvmsg";
  }
}
