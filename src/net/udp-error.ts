// The errors of datagrams that were sent: what routers, peers and this machine report about them. See IP_RECVERR in ip(7).
//
// Invariant: a wait for an error never clears the socket's readiness, because an empty error queue says nothing about
// whether datagrams can be received. It attempts its call whenever the socket reports anything readable: EPOLLERR has no
// readiness of its own here.

import type { Context } from "../core/context.ts";
import { Again, type Poll } from "../core/poll.ts";
import { Operation } from "../io/operation.ts";
import { receiveBuffer } from "../io/read-chunk.ts";
import { READ, type Source } from "../io/source.ts";
import { EAGAIN, SysError } from "../sys/errno.ts";
import type { Message } from "../sys/message.ts";
import { AF_INET, AF_INET6, SockaddrBuffer, type SocketAddress } from "../sys/sockaddr.ts";
import { IP_RECVERR, IPPROTO_IP, IPPROTO_IPV6, IPV6_RECVERR, MSG_ERRQUEUE } from "../sys/socket.ts";
import { sharedMessage } from "./socket.ts";

/** What became of a datagram that was sent. */
export interface UdpSendError {
  /** The error: `code` is `"ECONNREFUSED"` if no socket has the port, `"EHOSTUNREACH"`, `"EMSGSIZE"` and so on. */
  readonly error: SysError;
  /** Where the datagram was sent to. The port is 0 if this machine reported the error, and the socket is not connected. */
  readonly address: SocketAddress;
  /** The IP address of the router or the host that reported the error; null if this machine did. */
  readonly reporter: string | null;
  /** The type and the code of the ICMP or ICMPv6 message; null if this machine reported the error. See RFC 792, RFC 4443. */
  readonly icmp: { readonly type: number; readonly code: number } | null;
  /** The largest packet in bytes that the path allows, if the datagram was too long (`EMSGSIZE`); null otherwise. */
  readonly mtuBytes: number | null;
  /** The beginning of the datagram's data: as much of it as the report contains, which may be nothing. */
  readonly data: Uint8Array;
}

/** The values of ee_origin that are errors. (Timestamps arrive at the error queue, too.) */
const ORIGIN_LOCAL = 1;
const ORIGIN_ICMP = 2;
const ORIGIN_ICMP6 = 3;
/**
 * struct sock_extended_err: errno, then a byte each for origin, type, code and padding, then info and data. Behind it is the
 * address of the reporter.
 */
const ERROR_BYTES = 16;
const ADDRESS_BYTES = 28;

/** Waits for a report. */
export class ReceiveSendError extends Operation<UdpSendError> {
  constructor(source: Source) {
    super(source);
  }

  protected override get direction(): typeof READ {
    return READ;
  }

  protected override attempt(cx: Context): Poll<UdpSendError> | Again {
    const { source } = this;
    if (source.isClosed) throw source.closedError();
    const buffer = receiveBuffer();
    const message = sharedMessage(buffer);
    const count = source.sys.recvmsg(source.fd, message, MSG_ERRQUEUE);
    message.clear();
    if (count === -EAGAIN) return source.wait(READ, this, cx);
    if (count < 0) return this.onErrno(count, cx);
    return sendErrorIn(message, buffer.slice(0, count)) ?? Again;
  }

  protected override get syscall(): string {
    return "recvmsg";
  }

  override describe(): string {
    return `errors of ${this.source.describe()}`;
  }
}

/** Returns the error in a message of the error queue; null if it is none. */
function sendErrorIn(message: Message, data: Uint8Array): UdpSendError | null {
  for (const { level, type, data: report } of message.controls()) {
    const isReport =
      (level === IPPROTO_IP && type === IP_RECVERR) ||
      (level === IPPROTO_IPV6 && type === IPV6_RECVERR);
    if (!isReport || report.length < ERROR_BYTES) continue;
    const view = new DataView(report.buffer, report.byteOffset, report.length);
    const origin = view.getUint8(4);
    if (origin < ORIGIN_LOCAL || origin > ORIGIN_ICMP6) continue;
    const address = message.address.decode();
    const reporter = reporterIn(report.subarray(ERROR_BYTES));
    const hint = reporter === null ? undefined : `reported by ${reporter}`;
    const error = new SysError(-view.getUint32(0, true), "send", address, hint);
    const isIcmp = origin >= ORIGIN_ICMP;
    return {
      error,
      address,
      reporter,
      icmp: isIcmp ? { type: view.getUint8(5), code: view.getUint8(6) } : null,
      mtuBytes: error.code === "EMSGSIZE" ? view.getUint32(8, true) : null,
      data,
    };
  }
  return null;
}

/** Returns the IP address in a struct sockaddr; null if it has none. */
function reporterIn(sockaddr: Uint8Array): string | null {
  const address = new SockaddrBuffer();
  address.bytes.set(sockaddr.subarray(0, ADDRESS_BYTES));
  const isKnown =
    (address.family === AF_INET && sockaddr.length >= 16) ||
    (address.family === AF_INET6 && sockaddr.length >= ADDRESS_BYTES);
  return isKnown ? address.decode().hostname : null;
}
