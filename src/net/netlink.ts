// Netlink: messages to and from the kernel, about its network devices, addresses, routes and more. See netlink(7),
// rtnetlink(7).
//
// Only messages of the kernel are received: a datagram of another process is skipped.

import { checkConstructor, checkObject, invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { iterateValues } from "../core/async-iteration.ts";
import type { Coroutine, Future } from "../core/future.ts";
import { intoFuture } from "../core/into-future.ts";
import { Again } from "../core/poll.ts";
import type { OwnedFd } from "../io/owned-fd.ts";
import { receiveBuffer } from "../io/read-chunk.ts";
import { Source } from "../io/source.ts";
import { MessageTooLongError } from "../io/stream-errors.ts";
import { currentSys } from "../reactor/reactor.ts";
import { check, SysError } from "../sys/errno.ts";
import type { Message } from "../sys/message.ts";
import { AF_NETLINK } from "../sys/sockaddr.ts";
import { SOCK_RAW } from "../sys/socket.ts";
import { checkInt, Socket } from "./base-socket.ts";
import { adoptSocket } from "./from-fd.ts";
import { ReceiveMessage } from "./message-transfer.ts";
import {
  encodeMessage,
  type NetlinkMessage,
  NLM_F_ACK,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  type OutgoingNetlinkMessage,
  parseNetlinkMessages,
  resultOf,
} from "./netlink-message.ts";
import { SocketOptions } from "./options.ts";
import { openRaw, SendRaw } from "./raw-operations.ts";
import { outgoing } from "./socket.ts";

/** What to ask, and what to listen to. */
export interface NetlinkOptions {
  /** The subsystem of the kernel: NETLINK_ROUTE (0, the default), NETLINK_NETFILTER (12), NETLINK_GENERIC (16), ... */
  readonly protocol?: number | undefined;
  /** The groups whose notifications to receive, by number: of NETLINK_ROUTE, RTNLGRP_LINK (1), RTNLGRP_IPV4_IFADDR (5). */
  readonly groups?: readonly number[] | undefined;
}

const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;

/** struct sockaddr_nl: family and padding of 16 bits, port and groups of 32. The port of the kernel is 0. */
const KERNEL: readonly number[] = [AF_NETLINK, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/**
 * A netlink socket: it receives the notifications of its groups. To ask one question, use `Netlink.request`. It owns its
 * fd; close it with `using` or `close`.
 *
 * @example
 * using netlink = Netlink.open({ groups: [1, 5, 9] }); // links, IPv4 addresses, IPv6 addresses
 * const waiting = spawn(function* () {
 *   for (const { type } of yield* netlink.recv()) console.log(type); // 16: RTM_NEWLINK
 * });
 * waiting.abort();
 */
export class Netlink extends Socket implements AsyncIterable<readonly NetlinkMessage[]> {
  private constructor(source: Source) {
    checkConstructor(source, Source, "Netlink", "Netlink.open(options)");
    super(source);
  }

  /**
   * Opens a socket, and joins the groups. Throws SysError (`EPROTONOSUPPORT` if the kernel lacks the protocol, `EPERM`,
   * `ENOENT` or `EINVAL` for a group), and TypeError for invalid options. See netlink(7).
   *
   * @example
   * using netlink = Netlink.open({ groups: [1] });
   */
  static open(options: NetlinkOptions = {}): Netlink {
    checkObject(options, "Netlink.open: options");
    const { protocol = 0, groups = [] } = options;
    checkInt(protocol, "Netlink.open: protocol");
    if (!Array.isArray(groups)) {
      throw invalidType(`Netlink.open: groups must be an array; got ${describe(groups)}`);
    }
    for (const group of groups) checkInt(group, "Netlink.open: each group");
    const source = openRaw(currentSys(), AF_NETLINK, SOCK_RAW, protocol);
    const { sys, fd } = source;
    try {
      check(sys.bind(fd, outgoing().encodeBytes(Uint8Array.from(KERNEL))), "bind"); // port 0: the kernel chooses one
      for (const group of groups) {
        check(sys.setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group), "setsockopt");
      }
      // Errors then explain themselves, and do not repeat the request. An older kernel lacks this.
      sys.setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, 1);
      sys.setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, 1);
      return new Netlink(source);
    } catch (error) {
      source.close();
      throw error;
    }
  }

  /**
   * Makes a Netlink of a netlink socket that other code opened, of any protocol, and takes ownership of it. Its groups
   * and its options stay as they are. Throws SysError (`EBADF`, `ENOTSOCK`), and TypeError for a socket of another
   * kind. After an error the caller still owns the fd. See netlink(7).
   *
   * @example
   * const fd = Netlink.open({ groups: [1] }).release();
   * using netlink = Netlink.fromFd(fd);
   */
  static fromFd(fd: number | OwnedFd): Netlink {
    return adoptSocket(fd, (source) => new Netlink(source), {
      name: "Netlink",
      families: ["netlink"],
      types: ["raw", "datagram"], // netlink treats both alike
      isListening: false,
    });
  }

  /**
   * Sends `message` to the kernel as a request by a socket of its own, and returns the answer without its end mark: each
   * object of a dump, or nothing after a change. Adds the flags NLM_F_REQUEST and NLM_F_ACK. Messages with the flag
   * NLM_F_DUMP_INTR (16) mean that the objects changed during the dump: ask again. Throws SysError with the error of the
   * kernel and its explanation (`EPERM` without CAP_NET_ADMIN, `EEXIST`, `ENODEV`, ...), and TypeError or RangeError for
   * invalid arguments. Not cancel safe: the kernel may have done what a dropped request asked for. See rtnetlink(7).
   *
   * @example
   * // All links: RTM_GETLINK (18), NLM_F_DUMP (0x300), and an empty struct ifinfomsg.
   * const links = yield* Netlink.request({ type: 18, flags: 0x300, payload: new Uint8Array(16) });
   * for (const { payload } of links) {
   *   const name = parseNetlinkAttributes(payload.subarray(16)).find(({ type }) => type === 3); // IFLA_IFNAME
   *   console.log(new TextDecoder().decode(name?.data));
   * }
   */
  static request(
    message: OutgoingNetlinkMessage,
    options: Pick<NetlinkOptions, "protocol"> = {},
  ): Future<NetlinkMessage[]> {
    const bytes = encodeMessage(message, SEQUENCE, NLM_F_REQUEST | NLM_F_ACK, "Netlink.request");
    checkObject(options, "Netlink.request: options");
    const { protocol = 0 } = options;
    checkInt(protocol, "Netlink.request: protocol");
    return intoFuture(() => exchange(bytes, protocol));
  }

  /** The options of the socket, to read and to set. A larger `receiveBufferBytes` makes `ENOBUFS` rarer. */
  get options(): SocketOptions {
    return new SocketOptions(this.source);
  }

  /**
   * Sends one message to the kernel, with the sequence number 0. The flags are the caller's: a request needs
   * NLM_F_REQUEST (1). `recv` then receives the answer. Returns the number of bytes. Throws SysError, ClosedError, and
   * TypeError or RangeError for an invalid message. Cancel safe: a dropped send has sent nothing. See netlink(7).
   */
  send(message: OutgoingNetlinkMessage): Future<number> {
    const bytes = encodeMessage(message, 0, 0, "send");
    return new SendRaw(this.source, bytes, Uint8Array.from(KERNEL), []);
  }

  /**
   * Waits for a datagram of the kernel and returns its messages. Throws SysError (`ENOBUFS` if notifications were lost
   * because the program was too slow: read the state again), ClosedError, and MessageTooLongError for a datagram of more
   * than 64 KiB. Cancel safe: a dropped receive has received nothing. See netlink(7).
   */
  recv(): Future<NetlinkMessage[]> {
    return new Receive(this.source);
  }

  /**
   * Iterates over the datagrams, without end. Leaving the loop keeps the socket open. Throws what `recv` throws.
   *
   * @example
   * using socket = Netlink.open({ groups: [1] });
   * for await (const messages of socket) console.log(messages.length);
   */
  [Symbol.asyncIterator](): AsyncIterator<readonly NetlinkMessage[]> {
    return iterateValues(() => this.recv());
  }
}

/** Each request has a socket of its own, so one number serves all. */
const SEQUENCE = 1;

function* exchange(bytes: Uint8Array, protocol: number): Coroutine<NetlinkMessage[]> {
  const netlink = Netlink.open({ protocol });
  try {
    yield* new SendRaw(netlink.source, bytes, Uint8Array.from(KERNEL), []);
    const answer: NetlinkMessage[] = [];
    for (;;) {
      for (const message of yield* netlink.recv()) {
        if (message.sequence !== SEQUENCE) continue;
        if (message.type !== NLMSG_ERROR && message.type !== NLMSG_DONE) {
          answer.push(message);
          continue;
        }
        const { errno, text } = resultOf(message);
        if (errno < 0) throw new SysError(errno, "netlink", undefined, text);
        return answer;
      }
    }
  } finally {
    netlink.close();
  }
}

class Receive extends ReceiveMessage<NetlinkMessage[]> {
  constructor(source: Source) {
    super(source, receiveBuffer(), false);
  }

  protected override received(message: Message, count: number): NetlinkMessage[] | Again {
    const { bytes } = message.address;
    // The port of the sender. Another process may send to this socket, if it may send at all.
    if (new DataView(bytes.buffer).getUint32(4, true) !== 0) return Again;
    const { length } = this.buffer;
    if (count > length) {
      throw new MessageTooLongError(
        `recv: a netlink datagram must be at most ${length} bytes; got ${count}`,
        length,
      );
    }
    // A copy, because other operations use the buffer, too.
    return parseNetlinkMessages(this.buffer.slice(0, count));
  }
}
