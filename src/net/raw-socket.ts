// RawSocket: a socket of any family, type and protocol, whose addresses are bytes. See socket(2).

import { checkConstructor, checkObject, invalidType, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { Future } from "../core/future.ts";
import type { OwnedFd } from "../io/owned-fd.ts";
import { Source } from "../io/source.ts";
import { currentSys } from "../reactor/reactor.ts";
import { check, SysError } from "../sys/errno.ts";
import type { ControlMessage } from "../sys/message.ts";
import { AF_UNIX, type SockaddrBuffer } from "../sys/sockaddr.ts";
import { checkBuffer } from "../sys/socket.ts";
import type { Sys } from "../sys/sys.ts";
import { checkInt, Socket } from "./base-socket.ts";
import { adoptSocket } from "./from-fd.ts";
import { SocketOptions } from "./options.ts";
import {
  ConnectRaw,
  isByteStream,
  openRaw,
  type RawMessage,
  ReceiveRaw,
  SendRaw,
} from "./raw-operations.ts";
import { checkSendable, incoming, openSys, outgoing } from "./socket.ts";

/** Where to send a message, and what to send along. */
export interface RawSendOptions {
  /** The receiver's address, as a struct sockaddr of its family. Default: the connected peer. */
  readonly address?: Uint8Array | undefined;
  /** Control messages, at most 4096 bytes with their headers. See cmsg(3). */
  readonly control?: readonly ControlMessage[] | undefined;
}

/** The size of struct sockaddr_storage. */
const MAX_ADDRESS_BYTES = 128;

/**
 * A socket of a family or a protocol that has no class of its own: packets of a network device, ICMP, Bluetooth, TIPC, ...
 * Addresses are the bytes of the struct sockaddr of its family, which begins with the family in 16 bits. Numbers in them
 * are in the order that the family's man page says. Several tasks may send and receive at once. The socket owns its fd;
 * close it with `using` or `close`.
 *
 * @example
 * using socket = RawSocket.open(2, 2, 17); // AF_INET, SOCK_DGRAM, IPPROTO_UDP
 * socket.bind(new Uint8Array([2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])); // struct sockaddr_in, port 0
 * yield* socket.send(new Uint8Array([1, 2, 3]), { address: socket.localAddressBytes });
 * const buffer = new Uint8Array(64);
 * const { bytes, address } = yield* socket.recv(buffer);
 * console.log(bytes, address.length); // 3 16
 */
export class RawSocket extends Socket {
  readonly #isStream: boolean;

  private constructor(source: Source, isStream: boolean) {
    checkConstructor(source, Source, "RawSocket", "RawSocket.open(domain, type, protocol)");
    super(source);
    this.#isStream = isStream;
  }

  /**
   * Opens a socket. The arguments are numbers of the kernel's headers: `domain` an address family (AF_PACKET is 17), `type`
   * SOCK_STREAM (1), SOCK_DGRAM (2), SOCK_RAW (3) or SOCK_SEQPACKET (5), and `protocol` one of the family, 0 by default.
   * The domain AF_UNIX (1) is not allowed: the classes of unix sockets own the fds that they receive. Throws SysError
   * (`EPERM` without CAP_NET_RAW, `EAFNOSUPPORT` if the kernel lacks the family, `EPROTONOSUPPORT`), and TypeError or
   * RangeError for invalid arguments. See socket(2).
   *
   * @example
   * using socket = RawSocket.open(16, 3, 0); // AF_NETLINK, SOCK_RAW, NETLINK_ROUTE
   */
  static open(domain: number, type: number, protocol = 0): RawSocket {
    checkInt(domain, "RawSocket.open: domain");
    checkInt(type, "RawSocket.open: type");
    checkInt(protocol, "RawSocket.open: protocol");
    if (domain === AF_UNIX) {
      throw outOfRange(
        "RawSocket.open: domain must not be AF_UNIX (1); use UnixStream, UnixDatagram or UnixSeqpacket",
      );
    }
    return new RawSocket(openRaw(currentSys(), domain, type, protocol), isByteStream(type));
  }

  /**
   * Makes a RawSocket of a socket that other code opened, of any family, type and protocol, and takes ownership of it.
   * Throws SysError (`EBADF`, `ENOTSOCK`), and TypeError for a unix or a listening socket: their classes have a `fromFd`.
   * After an error the caller still owns the fd. See socket(7).
   *
   * @example
   * const fd = UdpSocket.bind("127.0.0.1:0").release();
   * using socket = RawSocket.fromFd(fd);
   * console.log(socket.localAddressBytes.length); // 16: struct sockaddr_in
   */
  static fromFd(fd: number | OwnedFd): RawSocket {
    return adoptSocket(fd, (source, { type }) => new RawSocket(source, type === "stream"), {
      name: "RawSocket",
      isListening: false,
    });
  }

  /** The options of the socket, to read and to set. */
  get options(): SocketOptions {
    return new SocketOptions(this.source);
  }

  /** The address that the socket is bound to, as a struct sockaddr. Throws SysError, ClosedError. See getsockname(2). */
  get localAddressBytes(): Uint8Array {
    return this.#read("getsockname");
  }

  /** The address of the peer, as a struct sockaddr. Throws SysError (`ENOTCONN`), ClosedError. See getpeername(2). */
  get remoteAddressBytes(): Uint8Array {
    return this.#read("getpeername");
  }

  #read(syscall: "getsockname" | "getpeername"): Uint8Array {
    const sys = openSys(this.source);
    const address: SockaddrBuffer = incoming();
    check(sys[syscall](this.source.fd, address), syscall);
    return address.toBytes();
  }

  /**
   * Binds the socket to `address`, a struct sockaddr. Throws SysError (`EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`, `EINVAL`),
   * ClosedError, and TypeError or RangeError for an invalid argument. See bind(2).
   */
  bind(address: Uint8Array): void {
    const bytes = checkAddress(address, "bind: address");
    const sys = openSys(this.source);
    check(sys.bind(this.source.fd, outgoing().encodeBytes(bytes)), "bind");
  }

  /**
   * Connects the socket to `address`, a struct sockaddr. `send` then sends to it. Throws SysError (`ECONNREFUSED`,
   * `ENETUNREACH`, ...), ClosedError, and TypeError or RangeError for an invalid argument. A dropped connect of a byte
   * stream continues in the kernel: close the socket. See connect(2).
   *
   * @example
   * using socket = RawSocket.open(2, 2); // AF_INET, SOCK_DGRAM
   * yield* socket.connect(new Uint8Array([2, 0, 0, 9, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])); // port 9
   */
  connect(address: Uint8Array): Future<void> {
    return new Connect(this.source, checkAddress(address, "connect: address"));
  }

  /**
   * Sends one message, which may be empty, to `address` or to the connected peer. On a byte stream, sends at least one
   * byte. Returns the number of bytes sent. Throws SysError (`EDESTADDRREQ`, `EMSGSIZE`, `ENOBUFS`, ...), ClosedError, and
   * TypeError or RangeError for invalid arguments. Cancel safe: a dropped send has sent nothing. See sendmsg(2).
   */
  send(data: Uint8Array, options: RawSendOptions = {}): Future<number> {
    checkSendable(data);
    checkObject(options, "send: options");
    const { address, control = [] } = options;
    const to = address === undefined ? null : checkAddress(address, "send: address");
    return new SendRaw(this.source, data, to, checkControl(control));
  }

  /**
   * Receives one message into `buffer`, with the address of its sender and its control messages. On a byte stream,
   * receives what has arrived, and 0 bytes at the end. Throws SysError, ClosedError, TypeError if `buffer` is not a
   * Uint8Array, and RangeError if it is empty. Cancel safe: a dropped receive has received nothing. See recvmsg(2).
   */
  recv(buffer: Uint8Array): Future<RawMessage> {
    checkBuffer(buffer);
    return new ReceiveRaw(this.source, buffer, this.#isStream);
  }
}

/** Returns a copy of `address`. Throws TypeError and RangeError unless it can be a struct sockaddr. */
function checkAddress(address: unknown, name: string): Uint8Array {
  if (!(address instanceof Uint8Array)) {
    throw invalidType(`${name} must be a Uint8Array; got ${describe(address)}`);
  }
  if (address.length < 2 || address.length > MAX_ADDRESS_BYTES) {
    throw outOfRange(
      `${name} must be a struct sockaddr of 2 to ${MAX_ADDRESS_BYTES} bytes; got ${address.length} bytes`,
    );
  }
  return new Uint8Array(address);
}

/** Returns a copy of the list. Throws TypeError. (The capacity is checked where the messages are written.) */
function checkControl(control: unknown): readonly ControlMessage[] {
  if (!Array.isArray(control)) {
    throw invalidType(`send: control must be an array; got ${describe(control)}`);
  }
  return control.map((message: unknown) => {
    checkObject(message, "send: each control message");
    const { level, type, data } = message as Partial<ControlMessage>;
    checkInt(level, "send: level of a control message");
    checkInt(type, "send: type of a control message");
    if (data instanceof Uint8Array) return { level, type, data };
    throw invalidType(
      `send: data of a control message must be a Uint8Array; got ${describe(data)}`,
    );
  });
}

/** Connects a socket that belongs to its RawSocket. */
class Connect extends ConnectRaw<void> {
  protected override readonly source: Source;

  constructor(source: Source, address: Uint8Array) {
    super(address);
    this.source = source;
  }

  protected override open(_: Sys): Source {
    return this.source;
  }

  protected override onConnected(): void {}

  protected override errorOf(errno: number): Error {
    return new SysError(errno, "connect");
  }

  override describe(): string {
    return `connect fd ${this.source.fd}`;
  }
}
