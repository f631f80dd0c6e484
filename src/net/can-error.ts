// The error frames of CAN: which classes of errors a socket receives, and what such a frame says. The kernel's driver makes
// these frames; no node sends them. See linux/can/error.h, and networking/can.rst in the documentation of the kernel.

import { invalidType, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";

/** A class of errors: one of CAN_ERR_* of the kernel. `"bus-off"`: the controller takes no part in the bus any more. */
export type CanErrorClass =
  | "transmit-timeout"
  | "lost-arbitration"
  | "controller"
  | "protocol"
  | "transceiver"
  | "no-acknowledgment"
  | "bus-off"
  | "bus-error"
  | "restarted"
  | "counters";

/** The bits of CAN_ERR_* by class: the identifier of an error frame, and CAN_RAW_ERR_FILTER. */
const CLASSES: Readonly<Record<CanErrorClass, number>> = {
  "transmit-timeout": 0x1,
  "lost-arbitration": 0x2,
  controller: 0x4,
  protocol: 0x8,
  transceiver: 0x10,
  "no-acknowledgment": 0x20,
  "bus-off": 0x40,
  "bus-error": 0x80,
  restarted: 0x100,
  counters: 0x200,
};

/** The state of a controller, or what happened to it: one of CAN_ERR_CRTL_*. */
export type CanControllerProblem =
  | "receive-overflow"
  | "transmit-overflow"
  | "receive-warning"
  | "transmit-warning"
  | "receive-passive"
  | "transmit-passive"
  | "active";

/** The bits of CAN_ERR_CRTL_*. */
const CONTROLLER: Readonly<Record<CanControllerProblem, number>> = {
  "receive-overflow": 0x1,
  "transmit-overflow": 0x2,
  "receive-warning": 0x4,
  "transmit-warning": 0x8,
  "receive-passive": 0x10,
  "transmit-passive": 0x20,
  active: 0x40,
};

/** How a frame violated the protocol: one of CAN_ERR_PROT_*. */
export type CanProtocolViolation =
  | "single-bit"
  | "form"
  | "stuff"
  | "dominant-bit"
  | "recessive-bit"
  | "overload"
  | "active"
  | "transmission";

/** The bits of CAN_ERR_PROT_*. */
const PROTOCOL: Readonly<Record<CanProtocolViolation, number>> = {
  "single-bit": 0x1,
  form: 0x2,
  stuff: 0x4,
  "dominant-bit": 0x8,
  "recessive-bit": 0x10,
  overload: 0x20,
  active: 0x40,
  transmission: 0x80,
};

/** CAN_ERR_MASK: also the classes that a newer kernel adds. */
const ALL = 0x1fff_ffff;
/** The length of an error frame's data: CAN_ERR_DLC. */
const DATA_BYTES = 8;

/** What an error frame says. A driver reports as much of it as its controller knows. */
export interface CanErrorReport {
  /** At least one class, unless the kernel is newer than this library: then `id` of the frame has its bit. */
  readonly classes: readonly CanErrorClass[];
  /** Of the class `"lost-arbitration"`: the bit in which it was lost; null if unknown. */
  readonly lostArbitrationBit: number | null;
  /** Of the class `"controller"`. Empty if unspecified. */
  readonly controller: readonly CanControllerProblem[];
  /** Of the class `"protocol"`. Empty if unspecified. */
  readonly protocol: readonly CanProtocolViolation[];
  /** Of the class `"protocol"`: where in the frame, as CAN_ERR_PROT_LOC_*; null if unknown. */
  readonly protocolLocation: number | null;
  /** Of the class `"transceiver"`: its status, as CAN_ERR_TRX_*; null if unspecified. */
  readonly transceiver: number | null;
  /** Of the class `"counters"`: the error counters of the controller. null otherwise. Drivers before Linux 6.0 omit the class. */
  readonly transmitErrors: number | null;
  readonly receiveErrors: number | null;
}

/** Returns the mask of CAN_RAW_ERR_FILTER. Throws TypeError and RangeError. */
export function maskOf(errors: unknown, name: string): number {
  if (errors === "all") return ALL;
  if (!Array.isArray(errors)) {
    throw invalidType(`${name} must be "all" or an array of classes; got ${describe(errors)}`);
  }
  let mask = 0;
  for (const one of errors as unknown[]) {
    if (typeof one !== "string" || !Object.hasOwn(CLASSES, one)) {
      const known = Object.keys(CLASSES).join(", ");
      throw outOfRange(`${name} must contain only ${known}; got ${describe(one)}`);
    }
    mask |= CLASSES[one as CanErrorClass];
  }
  return mask;
}

/** Returns what an error frame says. `id` is its identifier without flags. */
export function errorReportOf(id: number, data: Uint8Array): CanErrorReport {
  const bytes = new Uint8Array(DATA_BYTES); // so that a short frame is one whose rest is unspecified
  bytes.set(data.subarray(0, DATA_BYTES));
  const [lostAt, controller, violation, location, transceiver, , transmit, receive] = bytes;
  const has = (one: CanErrorClass): boolean => (id & CLASSES[one]) !== 0;
  const ifAny = (one: CanErrorClass, value: number): number | null =>
    has(one) && value !== 0 ? value : null;
  return {
    classes: namesIn(CLASSES, id),
    lostArbitrationBit: ifAny("lost-arbitration", lostAt!),
    controller: has("controller") ? namesIn(CONTROLLER, controller!) : [],
    protocol: has("protocol") ? namesIn(PROTOCOL, violation!) : [],
    protocolLocation: ifAny("protocol", location!),
    transceiver: ifAny("transceiver", transceiver!),
    transmitErrors: has("counters") ? transmit! : null,
    receiveErrors: has("counters") ? receive! : null,
  };
}

function namesIn<N extends string>(names: Readonly<Record<N, number>>, bits: number): N[] {
  return (Object.keys(names) as N[]).filter((name) => (bits & names[name]) !== 0);
}
