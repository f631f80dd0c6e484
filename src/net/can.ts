// CanSocket: the frames of a CAN bus. See SocketCAN in the documentation of the kernel (networking/can.rst), ISO 11898-1.

import {
  checkBoolean,
  checkConstructor,
  checkObject,
  invalidType,
  outOfRange,
} from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { iterateValues } from "../core/async-iteration.ts";
import type { Future } from "../core/future.ts";
import { Again } from "../core/poll.ts";
import type { OwnedFd } from "../io/owned-fd.ts";
import { Source } from "../io/source.ts";
import { currentSys } from "../reactor/reactor.ts";
import { check, EAFNOSUPPORT } from "../sys/errno.ts";
import type { Message } from "../sys/message.ts";
import { AF_CAN } from "../sys/sockaddr.ts";
import { SOCK_RAW } from "../sys/socket.ts";
import { Socket } from "./base-socket.ts";
import { type CanErrorClass, type CanErrorReport, errorReportOf, maskOf } from "./can-error.ts";
import { adoptSocket } from "./from-fd.ts";
import { ReceiveMessage } from "./message-transfer.ts";
import { SocketOptions } from "./options.ts";
import { openRaw, SendRaw } from "./raw-operations.ts";
import { openSys, outgoing, setOption } from "./socket.ts";

/** A frame to send. */
export interface CanFrame {
  /** The identifier: 11 bits, or 29 bits of an extended frame. */
  readonly id: number;
  /** At most 8 bytes; of a CAN FD frame, at most 64. */
  readonly data: Uint8Array;
  /** True for an identifier of 29 bits. Default: true if `id` needs more than 11 bits. */
  readonly isExtended?: boolean | undefined;
  /** True for a remote frame, which asks another node for a frame with this identifier. Default false. */
  readonly isRemote?: boolean | undefined;
  /** True for a CAN FD frame. Default false. */
  readonly isFd?: boolean | undefined;
}

/** A received frame. */
export interface ReceivedCanFrame extends CanFrame {
  readonly isExtended: boolean;
  readonly isRemote: boolean;
  readonly isFd: boolean;
  /** What an error frame says; null for a frame of the bus. An error frame comes only to a socket with the option `errors`. */
  readonly error: CanErrorReport | null;
}

/** Which frames to receive: those whose identifier equals `id` in the bits of `mask`. */
export interface CanFilter {
  /** With a flag for the kind of frame: 0x80000000 for extended ones, 0x40000000 for remote ones. */
  readonly id: number;
  readonly mask: number;
}

/** How to open a CanSocket. */
export interface CanOptions {
  /** Sends and receives CAN FD frames, too. Default false. */
  readonly isFd?: boolean | undefined;
  /** A frame is received if one of these accepts it. Default: every frame. */
  readonly filters?: readonly CanFilter[] | undefined;
  /**
   * Receives error frames, too: those of all classes of errors, or of these. The filters do not apply to them. What a driver
   * reports may need an option of the device: `ip link set can0 type can berr-reporting on`. Default: none.
   */
  readonly errors?: "all" | readonly CanErrorClass[] | undefined;
}

const CAN_RAW = 1;
const SOL_CAN_RAW = 101;
const CAN_RAW_FILTER = 1;
const CAN_RAW_ERR_FILTER = 2;
const CAN_RAW_FD_FRAMES = 5;
/** The flags of an identifier of 32 bits. */
const EXTENDED = 0x8000_0000;
const REMOTE = 0x4000_0000;
const ERROR = 0x2000_0000;
const STANDARD_MASK = 0x7ff;
const EXTENDED_MASK = 0x1fff_ffff;
/** struct can_frame and struct canfd_frame: identifier of 32 bits, length, three other bytes, data. */
const HEADER_BYTES = 8;
const FRAME_BYTES = HEADER_BYTES + 8;
const FD_FRAME_BYTES = HEADER_BYTES + 64;

/**
 * A socket on a CAN bus. It receives the frames that other nodes, and other sockets of this machine, send: those of classic
 * CAN, and of CAN FD with the option `isFd`. CAN XL is not supported: the kernel passes no such frames to this socket. It
 * owns its fd; close it with `using` or `close`.
 *
 * @example
 * try {
 *   using can = CanSocket.open("can0", { filters: [{ id: 0x123, mask: 0x7ff }] });
 *   yield* can.send({ id: 0x123, data: new Uint8Array([1, 2, 3]) });
 * } catch (error) {
 *   console.log((error as SysError).code); // ENODEV: no such device; EAFNOSUPPORT: the kernel lacks CAN
 * }
 *
 * @example
 * try {
 *   using can = CanSocket.open("can0", { filters: [], errors: ["bus-off", "controller"] }); // only errors
 *   for await (const { error } of can) console.log(error?.classes, error?.controller);
 * } catch (error) {
 *   console.log((error as SysError).code);
 * }
 */
export class CanSocket extends Socket implements AsyncIterable<ReceivedCanFrame> {
  private constructor(source: Source) {
    checkConstructor(source, Source, "CanSocket", "CanSocket.open(device)");
    super(source);
  }

  /**
   * Opens a socket on the bus of the network device `device`, such as `"can0"`; `""` receives from all of them. Throws
   * SysError (`ENODEV`, `EAFNOSUPPORT` if the kernel lacks CAN), and TypeError or RangeError for invalid arguments. See
   * bind(2).
   */
  static open(device: string, options: CanOptions = {}): CanSocket {
    if (typeof device !== "string" || device.includes("\0")) {
      throw invalidType(
        `CanSocket.open: device must be a name without NUL characters; got ${describe(device)}`,
      );
    }
    checkObject(options, "CanSocket.open: options");
    const { isFd = false, filters, errors } = options;
    checkBoolean(isFd, "CanSocket.open: isFd");
    const mask = errors === undefined ? 0 : maskOf(errors, "CanSocket.open: errors");
    const encoded = filters === undefined ? null : encodeFilters(filters, "CanSocket.open");
    const sys = currentSys();
    const source = openRaw(sys, AF_CAN, SOCK_RAW, CAN_RAW, hintOf);
    try {
      if (isFd) setOption(source, SOL_CAN_RAW, CAN_RAW_FD_FRAMES);
      if (encoded !== null) setFilters(source, encoded);
      if (mask !== 0) setOption(source, SOL_CAN_RAW, CAN_RAW_ERR_FILTER, mask);
      const index = device === "" ? 0 : check(sys.interfaceIndex(device), "if_nametoindex", device);
      check(sys.bind(source.fd, outgoing().encodeBytes(addressOf(index))), "bind", device);
      return new CanSocket(source);
    } catch (error) {
      source.close();
      throw error;
    }
  }

  /**
   * Makes a CanSocket of a bound socket of the protocol CAN_RAW that other code opened, and takes ownership of it. Its
   * filters and options stay as they are. Throws SysError (`EBADF`, `ENOTSOCK`), and TypeError for a socket of another
   * kind. After an error the caller still owns the fd.
   */
  static fromFd(fd: number | OwnedFd): CanSocket {
    return adoptSocket(fd, (source) => new CanSocket(source), {
      name: "CanSocket",
      families: ["can"],
      types: ["raw"],
      protocols: [CAN_RAW],
      isListening: false,
    });
  }

  /** The options of the socket, to read and to set. */
  get options(): SocketOptions {
    return new SocketOptions(this.source);
  }

  /**
   * Replaces the filters. With none, no frame of the bus is received. Throws SysError, ClosedError, TypeError and
   * RangeError. See CAN_RAW_FILTER in networking/can.rst.
   */
  setFilters(filters: readonly CanFilter[]): void {
    setFilters(this.source, encodeFilters(filters, "setFilters"));
  }

  /**
   * Replaces the classes of errors whose error frames are received; `[]` is none. Throws SysError, ClosedError, TypeError
   * and RangeError. See CAN_RAW_ERR_FILTER in networking/can.rst.
   */
  setErrors(errors: "all" | readonly CanErrorClass[]): void {
    setOption(this.source, SOL_CAN_RAW, CAN_RAW_ERR_FILTER, maskOf(errors, "setErrors: errors"));
  }

  /**
   * Sends one frame. Returns its length in bytes as the kernel counts: 16, or 72 of a CAN FD frame. Throws SysError
   * (`ENOBUFS` if the queue of the device is full: try again later; `ENETDOWN`; `ENXIO` without a device; `EINVAL` for a
   * CAN FD frame without the option `isFd`), ClosedError, and TypeError or RangeError for an invalid frame. Cancel safe: a
   * dropped send has sent nothing. See send(2).
   */
  send(frame: CanFrame): Future<number> {
    return new SendRaw(this.source, encodeFrame(frame), null, []);
  }

  /**
   * Waits for a frame: one of the bus, or an error frame if the socket receives those. Throws SysError (`ENETDOWN`),
   * ClosedError. Cancel safe: a dropped receive has received nothing. See
   * recv(2).
   */
  recv(): Future<ReceivedCanFrame> {
    return new ReceiveFrame(this.source);
  }

  /** Iterates over the frames, without end. Leaving the loop keeps the socket open. Throws what `recv` throws. */
  [Symbol.asyncIterator](): AsyncIterator<ReceivedCanFrame> {
    return iterateValues(() => this.recv());
  }
}

function hintOf(errno: number): string | undefined {
  return errno === -EAFNOSUPPORT ? "the kernel lacks CAN; load its module can_raw" : undefined;
}

/** Returns a struct sockaddr_can: family and padding of 16 bits, index of the device; the rest serves other protocols. */
function addressOf(index: number): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_CAN, true);
  view.setInt32(4, index, true);
  return bytes;
}

function setFilters(source: Source, filters: Uint8Array): void {
  const sys = openSys(source);
  check(sys.setsockoptBytes(source.fd, SOL_CAN_RAW, CAN_RAW_FILTER, filters), "setsockopt");
}

/** Returns an array of struct can_filter: identifier and mask of 32 bits. */
function encodeFilters(filters: unknown, what: string): Uint8Array {
  if (!Array.isArray(filters)) {
    throw invalidType(`${what}: filters must be an array; got ${describe(filters)}`);
  }
  const words = filters.flatMap((filter: unknown) => {
    checkObject(filter, `${what}: each filter`);
    const { id, mask } = filter as Partial<CanFilter>;
    return [
      checkBits(id, 0xffff_ffff, `${what}: id of a filter`),
      checkBits(mask, 0xffff_ffff, `${what}: mask of a filter`),
    ];
  });
  return new Uint8Array(new Uint32Array(words).buffer);
}

function checkBits(value: unknown, max: number, name: string): number {
  if (typeof value !== "number") {
    throw invalidType(`${name} must be a number; got ${describe(value)}`);
  }
  if (Number.isInteger(value) && value >= 0 && value <= max) return value;
  throw outOfRange(`${name} must be an integer from 0 to 0x${max.toString(16)}; got ${value}`);
}

function encodeFrame(frame: CanFrame): Uint8Array {
  checkObject(frame, "send: frame");
  const { id, data, isRemote = false, isFd = false } = frame;
  checkBits(id, EXTENDED_MASK, "send: frame.id");
  const { isExtended = id > STANDARD_MASK } = frame;
  checkBoolean(isExtended, "send: frame.isExtended");
  checkBoolean(isRemote, "send: frame.isRemote");
  checkBoolean(isFd, "send: frame.isFd");
  if (!isExtended) checkBits(id, STANDARD_MASK, "send: frame.id of a frame that is not extended");
  if (!(data instanceof Uint8Array)) {
    throw invalidType(`send: frame.data must be a Uint8Array; got ${describe(data)}`);
  }
  const bytes = new Uint8Array(isFd ? FD_FRAME_BYTES : FRAME_BYTES);
  const maxBytes = bytes.length - HEADER_BYTES;
  if (data.length > maxBytes) {
    throw outOfRange(`send: frame.data must be at most ${maxBytes} bytes; got ${data.length}`);
  }
  const word = id + (isExtended ? EXTENDED : 0) + (isRemote ? REMOTE : 0);
  new DataView(bytes.buffer).setUint32(0, word, true);
  bytes[4] = data.length;
  bytes.set(data, HEADER_BYTES);
  return bytes;
}

class ReceiveFrame extends ReceiveMessage<ReceivedCanFrame> {
  constructor(source: Source) {
    super(source, new Uint8Array(FD_FRAME_BYTES), false);
  }

  protected override received(_: Message, count: number): ReceivedCanFrame | Again {
    // A CAN XL frame: other code asked for them on a socket that `fromFd` has adopted.
    if (count !== FRAME_BYTES && count !== FD_FRAME_BYTES) return Again;
    const { buffer } = this;
    const word = new DataView(buffer.buffer).getUint32(0, true);
    const isExtended = (word & EXTENDED) !== 0;
    const length = Math.min(buffer[4]!, count - HEADER_BYTES);
    const isError = (word & ERROR) !== 0;
    const id = word & (isExtended || isError ? EXTENDED_MASK : STANDARD_MASK);
    const data = buffer.slice(HEADER_BYTES, HEADER_BYTES + length);
    return {
      id,
      data,
      error: isError ? errorReportOf(id, data) : null,
      isExtended,
      isRemote: (word & REMOTE) !== 0,
      isFd: count === FD_FRAME_BYTES,
    };
  }
}
