// The messages of netlink: struct nlmsghdr and struct nlattr, to bytes and back. Pure functions. See netlink(7).
//
// All numbers are in the byte order of the machine, which is little-endian on x86-64 and arm64.

import { checkObject, invalidType, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";

/** A netlink message. */
export interface NetlinkMessage {
  /** What it is about: for NETLINK_ROUTE, RTM_NEWLINK (16), RTM_NEWADDR (20), ... */
  readonly type: number;
  /** NLM_F_MULTI (2) of an answer in several messages, NLM_F_DUMP_INTR (16) of an inconsistent one, ... */
  readonly flags: number;
  /** That of the request which it answers; of a notification, that of the request which caused it, or 0. */
  readonly sequence: number;
  /** The header of the family, such as struct ifinfomsg, then the attributes. */
  readonly payload: Uint8Array;
}

/** A message to send. */
export interface OutgoingNetlinkMessage {
  readonly type: number;
  /** NLM_F_DUMP (0x300) asks for all objects. Default 0. */
  readonly flags?: number | undefined;
  /** Default: none. */
  readonly payload?: Uint8Array | undefined;
}

/** An attribute of a message: a type, and bytes that depend on it. */
export interface NetlinkAttribute {
  /** Without its two flags. */
  readonly type: number;
  /** The value; of a nested attribute, more attributes. */
  readonly data: Uint8Array;
}

/** struct nlmsghdr: length of 32 bits, type and flags of 16, sequence and port of 32. */
const HEADER_BYTES = 16;
/** struct nlattr: length and type of 16 bits. */
const ATTRIBUTE_BYTES = 4;
/** The flags NLA_F_NESTED and NLA_F_NET_BYTEORDER are the other bits. */
const TYPE_MASK = 0x3fff;
/** The longest that a length of 16 bits allows. */
const MAX_ATTRIBUTE_BYTES = 65_535 - ATTRIBUTE_BYTES;

export const NLM_F_REQUEST = 1;
export const NLM_F_ACK = 4;
/** NLMSG_ERROR: struct nlmsgerr, an errno and the header of the request; then attributes. */
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
const NLMSGERR_ATTR_MSG = 1;

/** Each message and each attribute begins at a multiple of 4 bytes. */
const align = (length: number): number => (length + 3) & ~3;

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

/**
 * Returns the messages in a datagram. Their payloads are views of `bytes`. Stops at the first message that is not complete
 * or whose length is impossible. Throws TypeError if `bytes` is not a Uint8Array. See netlink(7).
 *
 * @example
 * // NLMSG_DONE (3), with flags 2 and sequence number 7
 * const bytes = new Uint8Array([16, 0, 0, 0, 3, 0, 2, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
 * console.log(parseNetlinkMessages(bytes)[0]?.sequence); // 7
 */
export function parseNetlinkMessages(bytes: Uint8Array): NetlinkMessage[] {
  checkBytes(bytes, "parseNetlinkMessages: bytes");
  const view = viewOf(bytes);
  const messages: NetlinkMessage[] = [];
  for (let at = 0; at + HEADER_BYTES <= bytes.length; ) {
    const length = view.getUint32(at, true);
    if (length < HEADER_BYTES || at + length > bytes.length) break;
    messages.push({
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      sequence: view.getUint32(at + 8, true),
      payload: bytes.subarray(at + HEADER_BYTES, at + length),
    });
    at += align(length);
  }
  return messages;
}

/**
 * Returns the attributes in `bytes`: in the payload of a message, those behind the header of its family; in a nested
 * attribute, its data. Their data are views of `bytes`. Stops at the first attribute that is not complete or whose length
 * is impossible. Throws TypeError if `bytes` is not a Uint8Array. See rtnetlink(7).
 *
 * @example
 * const bytes = new Uint8Array([7, 0, 3, 0, 108, 111, 0, 0]); // IFLA_IFNAME (3): "lo", NUL, and a byte of padding
 * const [name] = parseNetlinkAttributes(bytes);
 * console.log(name?.type, name?.data.length); // 3 3
 */
export function parseNetlinkAttributes(bytes: Uint8Array): NetlinkAttribute[] {
  checkBytes(bytes, "parseNetlinkAttributes: bytes");
  const view = viewOf(bytes);
  const attributes: NetlinkAttribute[] = [];
  for (let at = 0; at + ATTRIBUTE_BYTES <= bytes.length; ) {
    const length = view.getUint16(at, true);
    if (length < ATTRIBUTE_BYTES || at + length > bytes.length) break;
    attributes.push({
      type: view.getUint16(at + 2, true) & TYPE_MASK,
      data: bytes.subarray(at + ATTRIBUTE_BYTES, at + length),
    });
    at += align(length);
  }
  return attributes;
}

/**
 * Returns the payload of a message: the header of its family, then its attributes. Throws TypeError and RangeError for
 * invalid arguments, and RangeError for data longer than 65531 bytes. See rtnetlink(7).
 *
 * @example
 * const name = new TextEncoder().encode("lo\0");
 * const payload = encodeNetlinkPayload(new Uint8Array(16), [{ type: 3, data: name }]); // struct ifinfomsg, IFLA_IFNAME
 * console.log(payload.length); // 24
 */
export function encodeNetlinkPayload(
  header: Uint8Array,
  attributes: readonly NetlinkAttribute[] = [],
): Uint8Array {
  checkBytes(header, "encodeNetlinkPayload: header");
  if (!Array.isArray(attributes)) {
    throw invalidType(
      `encodeNetlinkPayload: attributes must be an array; got ${describe(attributes)}`,
    );
  }
  const pieces = [padded(header)];
  for (const attribute of attributes as unknown[]) {
    checkObject(attribute, "encodeNetlinkPayload: each attribute");
    const { type, data } = attribute as Partial<NetlinkAttribute>;
    checkUint16(type, "encodeNetlinkPayload: type of an attribute");
    checkBytes(data, "encodeNetlinkPayload: data of an attribute");
    if (data.length > MAX_ATTRIBUTE_BYTES) {
      throw outOfRange(
        `encodeNetlinkPayload: data of an attribute must be at most ${MAX_ATTRIBUTE_BYTES} bytes; got ${data.length}`,
      );
    }
    const piece = new Uint8Array(align(ATTRIBUTE_BYTES + data.length));
    const view = viewOf(piece);
    view.setUint16(0, ATTRIBUTE_BYTES + data.length, true);
    view.setUint16(2, type, true);
    piece.set(data, ATTRIBUTE_BYTES);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

/** Returns the bytes of a message. `what` names the caller. Throws TypeError and RangeError. */
export function encodeMessage(
  message: OutgoingNetlinkMessage,
  sequence: number,
  addedFlags: number,
  what: string,
): Uint8Array {
  checkObject(message, `${what}: message`);
  const { type, flags = 0, payload } = message;
  checkUint16(type, `${what}: type of the message`);
  checkUint16(flags, `${what}: flags of the message`);
  if (payload !== undefined) checkBytes(payload, `${what}: payload of the message`);
  const length = HEADER_BYTES + (payload?.length ?? 0);
  const bytes = new Uint8Array(align(length));
  const view = viewOf(bytes);
  view.setUint32(0, length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags | addedFlags, true);
  view.setUint32(8, sequence, true);
  if (payload !== undefined) bytes.set(payload, HEADER_BYTES);
  return bytes;
}

function padded(bytes: Uint8Array): Uint8Array {
  const result = new Uint8Array(align(bytes.length));
  result.set(bytes);
  return result;
}

function checkBytes(bytes: unknown, name: string): asserts bytes is Uint8Array {
  if (bytes instanceof Uint8Array) return;
  throw invalidType(`${name} must be a Uint8Array; got ${describe(bytes)}`);
}

function checkUint16(value: unknown, name: string): asserts value is number {
  if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 0xffff) return;
  throw outOfRange(`${name} must be an integer from 0 to 65535; got ${describe(value)}`);
}

/** Returns the result that NLMSG_ERROR or NLMSG_DONE reports, and the kernel's explanation, if it has one. */
export function resultOf({ type, flags, payload }: NetlinkMessage): {
  readonly errno: number;
  readonly text: string | undefined;
} {
  if (payload.length < 4) return { errno: 0, text: undefined };
  const view = viewOf(payload);
  const errno = view.getInt32(0, true);
  let text: string | undefined;
  if ((flags & NLM_F_ACK_TLVS) !== 0) {
    const isError = type === NLMSG_ERROR;
    // The request follows the errno: its header, and unless it is capped, its payload.
    const isWhole = isError && (flags & NLM_F_CAPPED) === 0 && payload.length >= 8;
    const request = isWhole ? view.getUint32(4, true) : isError ? HEADER_BYTES : 0;
    for (const attribute of parseNetlinkAttributes(payload.subarray(4 + align(request)))) {
      if (attribute.type !== NLMSGERR_ATTR_MSG) continue;
      text = Buffer.from(attribute.data).toString().replace(/\0+$/, "");
    }
  }
  return { errno, text };
}
