// VsockStream and VsockListener: byte streams between a virtual machine and its host. See vsock(7).

import {
  checkConstructor,
  checkMilliseconds,
  checkObject,
  invalidType,
  outOfRange,
} from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { timeout } from "../combine/timeout.ts";
import type { Future } from "../core/future.ts";
import type { OwnedFd } from "../io/owned-fd.ts";
import { Source } from "../io/source.ts";
import { currentSys } from "../reactor/reactor.ts";
import { check, SysError } from "../sys/errno.ts";
import { AF_VSOCK, formatAddress, type VsockAddress } from "../sys/sockaddr.ts";
import { SOCK_STREAM } from "../sys/socket.ts";
import type { Sys } from "../sys/sys.ts";
import { adoptSocket } from "./from-fd.ts";
import { checkBacklog, DEFAULT_BACKLOG, ListenerSocket } from "./listener-socket.ts";
import { SocketOptions } from "./options.ts";
import { ConnectRaw, openRaw } from "./raw-operations.ts";
import { incoming, openSys, outgoing } from "./socket.ts";
import { StreamSocket } from "./stream-socket.ts";

/** How to connect. */
export interface VsockConnectOptions {
  /** The limit of the connect, in milliseconds. Default: that of the kernel, 2 seconds. */
  readonly timeoutMs?: number | undefined;
}

/** Where to listen. */
export interface VsockListenOptions {
  /** The context to listen in: 4294967295 (VMADDR_CID_ANY, the default) is any of this machine. */
  readonly cid?: number | undefined;
  /** The port: an integer from 0 to 4294967295. Default: the kernel chooses one. Below 1024 it needs CAP_NET_BIND_SERVICE. */
  readonly port?: number | undefined;
  /** The number of connections that may wait to be accepted. Default 4096. */
  readonly backlog?: number | undefined;
}

const VMADDR_CID_ANY = 0xffff_ffff;
const VMADDR_PORT_ANY = 0xffff_ffff;

/** Returns a struct sockaddr_vm: family and padding of 16 bits, port and context of 32, flags, padding. */
function encode({ cid, port }: VsockAddress): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_VSOCK, true);
  view.setUint32(4, port, true);
  view.setUint32(8, cid, true);
  return bytes;
}

/** Returns the address in a struct sockaddr_vm. */
function decode({ buffer }: Uint8Array): VsockAddress {
  const view = new DataView(buffer);
  return { cid: view.getUint32(8, true), port: view.getUint32(4, true) };
}

function addressOf(source: Source, syscall: "getsockname" | "getpeername"): VsockAddress {
  const address = incoming();
  check(openSys(source)[syscall](source.fd, address), syscall);
  return decode(address.bytes);
}

function checkUint32(value: unknown, name: string): asserts value is number {
  if (typeof value !== "number") {
    throw invalidType(`${name} must be a number; got ${describe(value)}`);
  }
  if (Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff) return;
  throw outOfRange(`${name} must be an integer from 0 to 4294967295; got ${value}`);
}

/**
 * A connected byte stream between a virtual machine and its host. It owns its fd; close it with `using` or `close`. It is a
 * byte stream as a TcpStream is.
 *
 * @example
 * try {
 *   using stream = yield* VsockStream.connect({ cid: 2, port: 5000 }); // 2: the host
 *   yield* stream.writeAll("hello");
 * } catch (error) {
 *   console.log((error as SysError).code); // ECONNRESET: nobody listens there; ENODEV: not a virtual machine
 * }
 */
export class VsockStream extends StreamSocket {
  private constructor(source: Source) {
    checkConstructor(source, Source, "VsockStream", "VsockStream.connect(address)");
    super(source);
  }

  /** @internal */
  static create(source: Source): VsockStream {
    return new VsockStream(source);
  }

  /**
   * Connects to a context and a port: context 2 is the host, 1 this machine itself. The caller owns the stream. Throws
   * SysError (`ECONNRESET` if nobody listens there, `ENODEV` without a transport, `ETIMEDOUT`, `EAFNOSUPPORT` if the kernel
   * lacks vsock), TimeoutError, and TypeError or RangeError for invalid arguments. Cancel safe: a dropped connect closes
   * its socket. See vsock(7).
   */
  static connect(address: VsockAddress, options: VsockConnectOptions = {}): Future<VsockStream> {
    checkObject(address, "VsockStream.connect: address");
    const { cid, port } = address;
    checkUint32(cid, "VsockStream.connect: cid");
    checkUint32(port, "VsockStream.connect: port");
    checkObject(options, "VsockStream.connect: options");
    const { timeoutMs } = options;
    const connect = new ConnectVsock({ cid, port });
    if (timeoutMs === undefined) return connect;
    checkMilliseconds(timeoutMs, "VsockStream.connect: timeoutMs");
    return timeout(timeoutMs, connect);
  }

  /**
   * Makes a stream of a socket that other code opened, and takes ownership of it. Throws SysError (`EBADF`,
   * `ENOTSOCK`), and TypeError for a socket of another kind. After an error the caller still owns the fd. See vsock(7).
   */
  static fromFd(fd: number | OwnedFd): VsockStream {
    return adoptSocket(fd, (source) => new VsockStream(source), {
      name: "VsockStream",
      families: ["vsock"],
      types: ["stream"],
      isListening: false,
    });
  }

  /** The options of the socket, to read and to set. */
  get options(): SocketOptions {
    return new SocketOptions(this.source);
  }

  /** The address of this end. Throws SysError, ClosedError. See getsockname(2). */
  get localAddress(): VsockAddress {
    return addressOf(this.source, "getsockname");
  }

  /** The address of the peer. Throws SysError (`ENOTCONN`), ClosedError. See getpeername(2). */
  get remoteAddress(): VsockAddress {
    return addressOf(this.source, "getpeername");
  }
}

/** Owns the socket until it returns the stream. */
class ConnectVsock extends ConnectRaw<VsockStream> {
  readonly #to: VsockAddress;

  constructor(to: VsockAddress) {
    super(encode(to));
    this.#to = to;
  }

  protected override open(sys: Sys): Source {
    return openRaw(sys, AF_VSOCK, SOCK_STREAM, 0);
  }

  protected override onConnected(source: Source): VsockStream {
    this.source = null;
    return VsockStream.create(source);
  }

  protected override errorOf(errno: number): Error {
    return new SysError(errno, "connect", formatAddress(this.#to));
  }

  override reclaim(stream: VsockStream): void {
    stream.close();
  }

  protected override release(): void {
    super.release();
    this.source?.close();
    this.source = null;
  }

  override describe(): string {
    return `connect ${formatAddress(this.#to)}`;
  }
}

/**
 * A listening vsock socket. It owns its fd; close it with `using` or `close`.
 *
 * @example
 * try {
 *   using listener = VsockListener.bind({ port: 5000 });
 *   console.log(listener.localAddress.port); // 5000
 * } catch (error) {
 *   console.log((error as SysError).code); // EAFNOSUPPORT: the kernel lacks vsock
 * }
 */
export class VsockListener extends ListenerSocket<VsockStream> {
  private constructor(source: Source) {
    checkConstructor(source, Source, "VsockListener", "VsockListener.bind(options)");
    super(source, VsockStream.create);
  }

  /**
   * Listens on a port, in any context of this machine or in one. Throws SysError (`EADDRINUSE`, `EACCES`, `EAFNOSUPPORT` if
   * the kernel lacks vsock), and TypeError or RangeError for invalid options. See vsock(7), listen(2).
   */
  static override bind(options: VsockListenOptions = {}): VsockListener {
    checkObject(options, "VsockListener.bind: options");
    const { cid = VMADDR_CID_ANY, port = VMADDR_PORT_ANY, backlog = DEFAULT_BACKLOG } = options;
    checkUint32(cid, "VsockListener.bind: cid");
    checkUint32(port, "VsockListener.bind: port");
    checkBacklog(backlog, "VsockListener.bind: backlog");
    const at = { cid, port };
    const source = openRaw(currentSys(), AF_VSOCK, SOCK_STREAM, 0);
    const { sys, fd } = source;
    try {
      check(sys.bind(fd, outgoing().encodeBytes(encode(at))), "bind", formatAddress(at));
      check(sys.listen(fd, backlog), "listen", formatAddress(at));
      return new VsockListener(source);
    } catch (error) {
      source.close();
      throw error;
    }
  }

  /**
   * Makes a listener of a socket that other code opened, and takes ownership of it. Throws SysError (`EBADF`,
   * `ENOTSOCK`), and TypeError for a socket of another kind. After an error the caller still owns the fd. See
   * sd_listen_fds(3).
   */
  static fromFd(fd: number | OwnedFd): VsockListener {
    return adoptSocket(fd, (source) => new VsockListener(source), {
      name: "VsockListener",
      families: ["vsock"],
      types: ["stream"],
      isListening: true,
    });
  }

  /** The options of the socket, to read and to set. */
  get options(): SocketOptions {
    return new SocketOptions(this.source);
  }

  /** The bound address, with the port that the kernel chose. Throws SysError, ClosedError. See getsockname(2). */
  get localAddress(): VsockAddress {
    return addressOf(this.source, "getsockname");
  }
}
