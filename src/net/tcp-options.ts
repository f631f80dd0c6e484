// The options of TCP sockets, and TCP_INFO: what the kernel knows of a connection. See tcp(7).

import { checkObject, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { IPPROTO_TCP, SO_KEEPALIVE, SO_LINGER, SOL_SOCKET } from "../sys/socket.ts";
import { type IntOption, IpOptions } from "./options.ts";

/** How to detect a peer that is gone. The kernel counts seconds: fractions are rounded up. */
export interface KeepAliveOptions {
  /** The silence after which the kernel sends the first probe, in milliseconds: 1 to 32767000. */
  readonly idleMs: number;
  /** The time between two probes, in milliseconds: 1 to 32767000. Default: `idleMs`. */
  readonly intervalMs?: number;
  /** How many probes may stay unanswered: 1 to 127. Default 9. */
  readonly count?: number;
}

/** The states of a connection, by the kernel's numbers. See RFC 9293. */
const STATES = [
  ...["unknown", "established", "syn-sent", "syn-received", "fin-wait-1", "fin-wait-2"],
  ...["time-wait", "closed", "close-wait", "last-ack", "listen", "closing", "syn-received"],
] as const;

/** What the kernel knows of a connection. Values that an old kernel does not have are 0. See TCP_INFO in tcp(7). */
export interface TcpInfo {
  /** The state per RFC 9293: `"established"`, `"close-wait"`, `"time-wait"`, ... */
  readonly state: string;
  /** The smoothed round-trip time, its variation, and the shortest one, in milliseconds. */
  readonly rttMs: number;
  readonly rttVariationMs: number;
  readonly minRttMs: number;
  /** The time after which the kernel retransmits, in milliseconds. */
  readonly retransmitTimeoutMs: number;
  /** How often the segment that waits for its acknowledgment was retransmitted; and all retransmits of the connection. */
  readonly retransmits: number;
  readonly totalRetransmits: number;
  /** Segments that were sent and not acknowledged, and those of them that are lost. */
  readonly unackedSegments: number;
  readonly lostSegments: number;
  /** The congestion window in segments, and the window that the peer announced in bytes. */
  readonly congestionWindowSegments: number;
  readonly sendWindowBytes: number;
  /** The largest segments that are sent and received, and the path MTU. */
  readonly sendSegmentBytes: number;
  readonly receiveSegmentBytes: number;
  readonly pathMtuBytes: number;
  /** Bytes that were sent (with retransmits), retransmitted, acknowledged, received, and written but not sent yet. */
  readonly bytesSent: number;
  readonly bytesRetransmitted: number;
  readonly bytesAcked: number;
  readonly bytesReceived: number;
  readonly unsentBytes: number;
  /** The recent rate of delivery, in bytes per second. */
  readonly deliveryRate: number;
  /** How long ago data was last sent and received, in milliseconds. */
  readonly lastSentMs: number;
  readonly lastReceivedMs: number;
}

const tcp = (option: number, name: string, min = 0, max = 1): IntOption => ({
  level: IPPROTO_TCP,
  option,
  name,
  min,
  max,
});
export const NO_DELAY: IntOption = tcp(1, "noDelay");
const MAX_SEGMENT = tcp(2, "maxSegmentBytes", 88, 32767);
const CORK = tcp(3, "cork");
const KEEP_IDLE = tcp(4, "keepAlive.idleMs", 1, 32767);
const KEEP_INTERVAL = tcp(5, "keepAlive.intervalMs", 1, 32767);
const KEEP_COUNT = tcp(6, "keepAlive.count", 1, 127);
const INFO = tcp(11, "info");
const QUICK_ACK = tcp(12, "quickAck");
const USER_TIMEOUT = tcp(18, "userTimeoutMs", 0, 0x7fffffff);
const FAST_OPEN = tcp(23, "fastOpen", 0, 0x7fffffff);
const FAST_OPEN_CONNECT = tcp(30, "fastOpenConnect");
const KEEP_ALIVE: IntOption = { level: SOL_SOCKET, option: SO_KEEPALIVE, name: "keepAlive" };
const LINGER: IntOption = { level: SOL_SOCKET, option: SO_LINGER, name: "lingerMs" };

/** Returns whole seconds. Throws RangeError unless `ms` is a number from `minMs` to 32767000. */
function secondsOf(ms: number, name: string, minMs: number): number {
  if (typeof ms === "number" && ms >= minMs && ms <= 32_767_000) return Math.ceil(ms / 1000);
  throw outOfRange(`${name} must be a number from ${minMs} to 32767000; got ${describe(ms)}`);
}

/** The options of TCP sockets, and those of IpOptions. A connection inherits those of its listener. See tcp(7). */
export class TcpOptions extends IpOptions {
  /** Sends small writes at once, rather than waiting for the acknowledgment of earlier data (Nagle). TCP_NODELAY. */
  get noDelay(): boolean {
    return this.getFlag(NO_DELAY);
  }
  set noDelay(value: boolean) {
    this.setFlag(NO_DELAY, value);
  }

  /** Acknowledges at once. The kernel clears it again by itself. TCP_QUICKACK. */
  get quickAck(): boolean {
    return this.getFlag(QUICK_ACK);
  }
  set quickAck(value: boolean) {
    this.setFlag(QUICK_ACK, value);
  }

  /** Holds back partial segments, for at most 200 ms, until it is cleared. TCP_CORK. */
  get cork(): boolean {
    return this.getFlag(CORK);
  }
  set cork(value: boolean) {
    this.setFlag(CORK, value);
  }

  /** The largest segment to announce and to send, in bytes: 88 to 32767. Set it before the connection. TCP_MAXSEG. */
  get maxSegmentBytes(): number {
    return this.getInt(MAX_SEGMENT);
  }
  set maxSegmentBytes(value: number) {
    this.setInt(MAX_SEGMENT, value);
  }

  /** How long sent data may stay unacknowledged before the connection fails with ETIMEDOUT; 0: the system's default. TCP_USER_TIMEOUT. */
  get userTimeoutMs(): number {
    return this.getInt(USER_TIMEOUT);
  }
  set userTimeoutMs(value: number) {
    this.setInt(USER_TIMEOUT, value);
  }

  /** How many connections with data in their SYN a listener queues; 0: none. TCP_FASTOPEN. */
  get fastOpen(): number {
    return this.getInt(FAST_OPEN);
  }
  set fastOpen(value: number) {
    this.setInt(FAST_OPEN, value);
  }

  /** Makes a connect complete at once, and sends the first data in the SYN. TCP_FASTOPEN_CONNECT, RFC 7413. */
  get fastOpenConnect(): boolean {
    return this.getFlag(FAST_OPEN_CONNECT);
  }
  set fastOpenConnect(value: boolean) {
    this.setFlag(FAST_OPEN_CONNECT, value);
  }

  /** Detects peers that are gone: after the last unanswered probe pending operations throw ETIMEDOUT. null: off. SO_KEEPALIVE. */
  get keepAlive(): Required<KeepAliveOptions> | null {
    if (!this.getFlag(KEEP_ALIVE)) return null;
    return {
      idleMs: this.getInt(KEEP_IDLE) * 1000,
      intervalMs: this.getInt(KEEP_INTERVAL) * 1000,
      count: this.getInt(KEEP_COUNT),
    };
  }
  set keepAlive(value: KeepAliveOptions | null) {
    if (value !== null) {
      checkObject(value, "keepAlive");
      const { idleMs, intervalMs = idleMs, count = 9 } = value;
      const idle = secondsOf(idleMs, KEEP_IDLE.name, 1);
      const interval = secondsOf(intervalMs, KEEP_INTERVAL.name, 1);
      this.setInt(KEEP_COUNT, count); // first: it checks its argument
      this.setInt(KEEP_IDLE, idle);
      this.setInt(KEEP_INTERVAL, interval);
    }
    this.setFlag(KEEP_ALIVE, value !== null);
  }

  /**
   * What `close` does with data that was not acknowledged. null, the default: the kernel keeps sending it. 0: it is
   * discarded, and the peer receives a reset. Other values, rounded up to seconds: `close` blocks this thread, with all its
   * tasks, until the data is acknowledged or that time is over; then the kernel keeps sending what is left. Prefer
   * `stream.finish()`, which blocks nothing. SO_LINGER.
   */
  get lingerMs(): number | null {
    const [isOn, seconds] = new Int32Array(this.getBytes(LINGER, 8).slice().buffer);
    return isOn === 0 ? null : seconds! * 1000;
  }
  set lingerMs(value: number | null) {
    const linger = value === null ? [0, 0] : [1, secondsOf(value, LINGER.name, 0)];
    this.setBytes(LINGER, new Uint8Array(new Int32Array(linger).buffer));
  }

  /** What the kernel knows of the connection. TCP_INFO. */
  get info(): TcpInfo {
    return decodeTcpInfo(this.getBytes(INFO, 256));
  }
}

/** Decodes struct tcp_info, of which the kernel returns as much as it has. */
export function decodeTcpInfo(bytes: Uint8Array): TcpInfo {
  const whole = new Uint8Array(256);
  whole.set(bytes.subarray(0, whole.length));
  const view = new DataView(whole.buffer);
  const u32 = (at: number): number => view.getUint32(at, true);
  const u64 = (at: number): number => Number(view.getBigUint64(at, true));
  return {
    state: STATES[whole[0]!] ?? "unknown",
    rttMs: u32(68) / 1000,
    rttVariationMs: u32(72) / 1000,
    minRttMs: u32(148) / 1000,
    retransmitTimeoutMs: u32(8) / 1000,
    retransmits: whole[2]!,
    totalRetransmits: u32(100),
    unackedSegments: u32(24),
    lostSegments: u32(32),
    congestionWindowSegments: u32(80),
    sendWindowBytes: u32(228),
    sendSegmentBytes: u32(16),
    receiveSegmentBytes: u32(20),
    pathMtuBytes: u32(60),
    bytesSent: u64(200),
    bytesRetransmitted: u64(208),
    bytesAcked: u64(120),
    bytesReceived: u64(128),
    unsentBytes: u32(144),
    deliveryRate: u64(160),
    lastSentMs: u32(44),
    lastReceivedMs: u32(52),
  };
}
