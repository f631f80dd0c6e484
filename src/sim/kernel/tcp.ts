// TcpSocket: one TCP socket of the simulated kernel, from socket(2) to the end of its TIME_WAIT. See tcp(7), RFC 9293.
//
// It follows Linux where a program can see it: which call returns which errno in which state, which condition epoll
// reports and when, when an RST is sent, and when the kernel gives up. It has no congestion control and no delayed
// acknowledgment: a link of the simulated network has the bandwidth it has.
//
// Facts about Linux, and what they mean for this code:
// - A socket that is closed with unread data resets the connection, and so does data that arrives for a socket nobody
//   can read any more.
// - An error is reported once. After a reset, `recv` first returns what has arrived, then the error, then 0.
// - After the peer has ended its side, a reset is EPIPE, and not ECONNRESET.
// - A first SYN is repeated after 1 s, five times, and then with doubled pauses: `connect` fails after 131 s. Data is
//   repeated with doubled pauses of 200 ms to 120 s, until 924.6 s have passed since the first repetition.
// - A peer may keep its window closed indefinitely, as long as it answers the probes. After a close, the kernel drops what
//   is left, without a reset, once the pause between two probes would exceed 120 s: after 325 s.

import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP } from "../../sys/epoll.ts";
import {
  EADDRINUSE,
  EAGAIN,
  EALREADY,
  ECONNABORTED,
  ECONNREFUSED,
  ECONNRESET,
  EINPROGRESS,
  EINVAL,
  ENETUNREACH,
  ENOTCONN,
  EPIPE,
  ETIMEDOUT,
} from "../../sys/errno.ts";
import type { SocketAddress } from "../../sys/sockaddr.ts";
import {
  IPPROTO_TCP,
  MSG_PEEK,
  SO_KEEPALIVE,
  SO_LINGER,
  SO_RCVBUF,
  SO_SNDBUF,
  SOCK_STREAM,
  SOL_SOCKET,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
} from "../../sys/socket.ts";
import type { Appointment } from "./agenda.ts";
import { ByteQueue } from "./byte-queue.ts";
import { EADDRNOTAVAIL, EISCONN } from "./errno.ts";
import { ANY } from "./file.ts";
import { InetSocket } from "./inet-socket.ts";
import { isBroadcast, isMulticast } from "./multicast.ts";
import type { Packet, Segment } from "./packet.ts";
import { SHUT_BOTH, SHUT_RECEIVE, SHUT_SEND, TCP_KEEPCNT, TCP_MAXSEG } from "./sim-socket.ts";
import { connectionKey, isAny, mappedFor, type NetStack, type TcpEndpoint } from "./stack.ts";
import { TimeWait } from "./time-wait.ts";

type State =
  | ("closed" | "listen" | "syn-sent" | "syn-received" | "established" | "close-wait")
  | ("fin-wait-1" | "fin-wait-2" | "closing" | "last-ack");

/** The most bytes of one segment. As in a kernel that leaves segmentation to the network card. */
const MAX_SEGMENT = 16_384;
const SOMAXCONN = 4096;
const MIN_RTO_MS = 200;
const MAX_RTO_MS = 120_000;
const FIRST_RTO_MS = 1000;
/** A SYN is sent 11 times: 1 s apart at first (tcp_syn_linear_timeouts), then with doubled pauses (tcp_syn_retries). */
const SYN_TIMEOUTS = 11;
const SYN_LINEAR_TIMEOUTS = 4;
/** tcp_synack_retries. */
const SYNACK_TIMEOUTS = 6;
/** tcp_retries2 = 15 repetitions, as the kernel converts it to time. */
const GIVE_UP_MS = 924_600;
/** The same for a socket that its process has closed: 8 repetitions. */
const GIVE_UP_CLOSED_MS = 102_200;
const FIN_TIMEOUT_MS = 60_000;
/** An option that only this file names. */
const TCP_USER_TIMEOUT = 18;

export class TcpSocket extends InetSocket implements TcpEndpoint {
  override readonly protocol: number = IPPROTO_TCP;
  private state: State = "closed";
  /** The progress of `connect`, which is not the state of the connection: the kernel's sock->state. */
  private phase: "unconnected" | "connecting" | "connected" | "disconnecting" = "unconnected";
  private remoteIp = "";
  private remotePort = 0;
  /** The key in the stack's table; null while not connected. */
  private key: string | null = null;
  /** The peer has ended its side (SOCK_DONE). */
  private isDone = false;
  /** The process has closed the socket. */
  private isOrphan = false;

  // The listener.
  private backlog = 0;
  private readonly accepted: TcpSocket[] = [];
  /** The listener that a connection waits at until it is accepted. */
  private parent: TcpSocket | null = null;

  // The sender. `unsent` starts at sequence number `acked`, after the SYN.
  private readonly outgoing = new ByteQueue();
  private acked = 0;
  private sent = 0;
  /** The sequence number that the peer's window ends at. */
  private windowEnd = 1;
  /** The sequence number of our FIN; -1 until it is due. */
  private finAt = -1;
  /** A send found no room: the next room is an event (SOCK_NOSPACE). */
  private lacksSpace = false;

  // The receiver.
  private readonly incoming = new ByteQueue();
  private expected = 0;
  /** The sequence number that the window we have announced ends at. */
  private announcedEnd = 0;
  private readonly early = new Map<number, Segment>();

  // Timers.
  private timer: Appointment | null = null;
  private timeouts = 0;
  /**
   * Since when the peer has accepted nothing: when a repetition or a probe of its closed window was first due, or when the
   * SYN of a connect was sent. -1 while nothing is late.
   */
  private stalledMs = -1;
  /** When the first repetition or probe was due that the peer has not answered; -1 if there is none. */
  private silentMs = -1;
  private rtoMs = FIRST_RTO_MS;
  private smoothedMs = -1;
  private variationMs = 0;
  /** The segment whose round trip is being measured: its end, and when it was sent. */
  private timedEnd = -1;
  private timedMs = 0;
  private closeTimer: Appointment | null = null;
  private keepAliveTimer: Appointment | null = null;
  private probes = 0;
  private heardMs = 0;

  constructor(stack: NetStack, domain: number) {
    super(stack, domain, SOCK_STREAM);
  }

  get isListening(): boolean {
    return this.state === "listen";
  }

  get peerAddress(): SocketAddress {
    return { hostname: mappedFor(this.domain, this.remoteIp), port: this.remotePort };
  }

  get peerName(): SocketAddress | null {
    const isConnected = !["closed", "listen", "syn-sent"].includes(this.state);
    return isConnected ? this.peerAddress : null;
  }

  // The system calls.

  protected override bindTo(ip: string, port: number): number {
    const previousPort = this.port;
    this.ip = ip;
    this.port = port === 0 ? this.stack.freePort("tcp") : port;
    if (this.port < 0 || this.stack.isInUse(this)) {
      this.ip = this.wildcard; // also after an earlier connection
      this.port = previousPort;
      return -EADDRINUSE;
    }
    this.isAddressChosenByUser = !isAny(ip);
    this.isPortChosenByUser = port !== 0;
    this.bindPort();
    return 0;
  }

  override listen(backlog: number): number {
    if (this.phase !== "unconnected") return -EINVAL;
    if (this.state !== "closed" && this.state !== "listen") return -EINVAL;
    this.backlog = Math.min(backlog >>> 0, SOMAXCONN);
    if (this.state === "listen") return 0;
    if (!this.isBound) {
      const bound = this.bindTo(this.ip, 0);
      if (bound < 0) return bound;
    }
    this.state = "listen";
    if (!this.stack.isInUse(this)) return 0;
    this.state = "closed";
    return -EADDRINUSE;
  }

  override accept(): TcpSocket | number {
    if (this.state !== "listen") return -EINVAL;
    const child = this.accepted.shift();
    if (child === undefined) return -EAGAIN;
    child.parent = null;
    return child;
  }

  protected override connectTo(address: SocketAddress, family: number): number {
    if (this.phase === "connected") return -EISCONN;
    if (this.phase === "disconnecting") return -EINVAL;
    if (this.phase === "unconnected") {
      if (this.state !== "closed") return -EISCONN;
      const started = this.startConnect(address, family);
      if (started < 0) return started;
      this.phase = "connecting";
      return -EINPROGRESS;
    }
    if (this.state === "syn-sent" || this.state === "syn-received") return -EALREADY;
    if (this.state !== "closed") {
      this.phase = "connected";
      return 0;
    }
    const failure = this.takeError() || -ECONNABORTED;
    this.disconnect();
    this.phase = "unconnected";
    return failure;
  }

  private startConnect(address: SocketAddress, family: number): number {
    const wrong = this.checkFamily(family);
    if (wrong !== 0) return wrong;
    const ip = this.destination(address.hostname);
    if (isMulticast(ip) || isBroadcast(ip)) return -ENETUNREACH;
    const source = this.sourceFor(ip);
    if (typeof source === "number") return source;
    if (!this.isBound) {
      const port = this.stack.freePort("tcp");
      if (port < 0) return -EADDRNOTAVAIL;
      this.port = port;
      this.bindPort();
    }
    const key = connectionKey(source, this.port, ip, address.port);
    if (this.stack.hasConnection(key)) return -EADDRNOTAVAIL;
    this.ip = source;
    this.error = 0;
    this.isDone = false;
    this.start(ip, address.port, key);
    this.state = "syn-sent";
    this.stalledMs = this.stack.agenda.nowMs;
    this.transmit();
    return 0;
  }

  /** Prepares the state of a new connection. */
  private start(ip: string, port: number, key: string): void {
    this.remoteIp = ip;
    this.remotePort = port;
    this.key = key;
    this.stack.addConnection(key, this);
    this.outgoing.clear();
    this.incoming.clear();
    this.early.clear();
    this.acked = this.sent = 0;
    this.windowEnd = 1;
    this.finAt = -1;
    this.timeouts = 0;
    this.stalledMs = this.silentMs = -1;
    this.rtoMs = FIRST_RTO_MS;
    this.smoothedMs = -1;
    this.expected = this.announcedEnd = 0;
  }

  override receiveFrom(buffer: Uint8Array, flags: number): number {
    if (this.state === "listen") return -ENOTCONN;
    const isPeek = (flags & MSG_PEEK) !== 0;
    const count = isPeek ? this.incoming.copyInto(buffer) : this.incoming.shiftInto(buffer);
    if (count > 0) {
      if (!isPeek) this.updateWindow();
      return count;
    }
    if (buffer.length === 0 || this.isDone) return 0;
    if (this.error !== 0) return this.takeError();
    if ((this.shutdownBits & SHUT_RECEIVE) !== 0) return 0;
    return this.state === "closed" ? -ENOTCONN : -EAGAIN;
  }

  override sendTo(data: Uint8Array): number {
    if (this.state !== "established" && this.state !== "close-wait") {
      if (this.error !== 0) return this.takeError();
      return this.state === "syn-sent" || this.state === "syn-received" ? -EAGAIN : -EPIPE;
    }
    if (this.error !== 0 || (this.shutdownBits & SHUT_SEND) !== 0)
      return this.takeError() || -EPIPE;
    const room = this.stack.sendBufferBytes - this.outgoing.length;
    if (data.length > 0 && room <= 0) {
      this.lacksSpace = true;
      return -EAGAIN;
    }
    const count = this.stack.split("short write", Math.min(data.length, room));
    if (count < data.length) this.lacksSpace = true;
    this.outgoing.push(new Uint8Array(data.subarray(0, count)));
    this.transmit();
    return count;
  }

  override shutdown(how: number): number {
    const bits = this.shutdownBitsOf(how);
    if (bits < 0) return bits;
    if (this.phase === "connecting") {
      const isOpen = !["syn-sent", "syn-received", "closed"].includes(this.state);
      this.phase = isOpen ? "connected" : "disconnecting";
    }
    let result = 0;
    if (this.state === "syn-sent" || (this.state === "listen" && (bits & SHUT_RECEIVE) !== 0)) {
      this.disconnect();
      this.phase = "unconnected";
    } else if (this.state !== "listen") {
      if (this.state === "closed") result = -ENOTCONN;
      this.shutdownBits |= bits;
      if ((bits & SHUT_SEND) !== 0) this.endSends();
    }
    this.wake(ANY);
    return result;
  }

  override close(): void {
    this.shutdownBits = SHUT_BOTH;
    this.isOrphan = true;
    if (this.state === "listen") {
      this.stopListening();
      return;
    }
    const hasUnread = this.incoming.length > 0;
    this.incoming.clear();
    if (this.state === "closed") this.release();
    else if (hasUnread || this.option(SOL_SOCKET, SO_LINGER) === 1) {
      this.sendReset();
      this.release();
    } else if (this.state === "syn-sent") this.release();
    else {
      this.endSends();
      if (this.state === "fin-wait-2") this.awaitFin();
    }
  }

  override poll(): number {
    if (this.state === "listen") return this.accepted.length > 0 ? EPOLLIN : 0;
    const { shutdownBits } = this;
    let events = 0;
    if (shutdownBits === SHUT_BOTH || this.state === "closed") events |= EPOLLHUP;
    if ((shutdownBits & SHUT_RECEIVE) !== 0) events |= EPOLLIN | EPOLLRDHUP;
    if (this.state !== "syn-sent" && this.state !== "syn-received") {
      if (this.incoming.length > 0) events |= EPOLLIN;
      if ((shutdownBits & SHUT_SEND) !== 0 || this.hasSpace) events |= EPOLLOUT;
      else this.lacksSpace = true;
    }
    if (this.error !== 0) events |= EPOLLERR;
    return events;
  }

  protected override checkLevel(level: number): number {
    return level === IPPROTO_TCP ? 0 : super.checkLevel(level);
  }

  protected override defaultOption(level: number, option: number): number {
    if (level === SOL_SOCKET && option === SO_SNDBUF) return this.stack.sendBufferBytes;
    if (level === SOL_SOCKET && option === SO_RCVBUF) return this.stack.receiveBufferBytes;
    return super.defaultOption(level, option);
  }

  override getsockopt(level: number, option: number): number {
    const isOpen = this.state !== "closed" && this.state !== "listen";
    if (isOpen && level === IPPROTO_TCP && option === TCP_MAXSEG) return MAX_SEGMENT;
    return super.getsockopt(level, option);
  }

  override setsockopt(level: number, option: number, value: number): number {
    const isSeconds = option === TCP_KEEPIDLE || option === TCP_KEEPINTVL;
    if (level === IPPROTO_TCP && isSeconds && (value < 1 || value > 32_767)) return -EINVAL;
    const result = super.setsockopt(level, option, value);
    this.watchPeer();
    return result;
  }

  // The receiver.

  receive(packet: Packet, segment: Segment): void {
    this.heardMs = this.stack.agenda.nowMs;
    this.probes = 0;
    if (this.state === "listen") this.receiveAtListener(packet, segment);
    else if (this.state === "syn-sent") this.receiveInSynSent(packet, segment);
    else if (this.state === "closed") this.stack.refuse(packet, segment);
    else this.receiveConnected(packet, segment);
  }

  private receiveAtListener(packet: Packet, segment: Segment): void {
    if (segment.isReset) return;
    if (segment.ack >= 0) {
      this.stack.refuse(packet, segment);
      return;
    }
    if (!segment.isSyn || this.isBacklogFull) return; // the client repeats its SYN
    const { from, fromPort, to, toPort } = packet;
    const child = new TcpSocket(this.stack, this.domain);
    for (const [key, value] of this.options) child.options.set(key, value);
    child.parent = this;
    child.phase = "connected";
    child.shutdownBits = this.shutdownBits;
    child.ip = to;
    child.port = toPort;
    child.isIPv6Only = this.isIPv6Only;
    child.isAddressChosenByUser = this.isAddressChosenByUser;
    child.bindPort();
    child.start(from, fromPort, connectionKey(to, toPort, from, fromPort));
    child.expected = 1;
    child.windowEnd = 1 + segment.window;
    child.state = "syn-received";
    child.transmit();
  }

  private get isBacklogFull(): boolean {
    return this.accepted.length > this.backlog;
  }

  private receiveInSynSent(packet: Packet, segment: Segment): void {
    // An acknowledgment alone belongs to an earlier connection: a host that restarts uses its ports again. On Linux the
    // sequence numbers show that, which start at random there.
    const isOfOther = segment.ack !== 1 || !(segment.isSyn || segment.isReset);
    if (segment.ack >= 0 && isOfOther) {
      this.stack.refuse(packet, segment);
      return;
    }
    if (segment.isReset) {
      if (segment.ack >= 0) this.fail(ECONNREFUSED);
      return;
    }
    if (!segment.isSyn) return;
    this.expected = segment.seq + 1;
    this.windowEnd = 1 + segment.window;
    if (segment.ack < 0) {
      // Both ends connect to each other, or the socket to itself.
      this.state = "syn-received";
      this.sent = 0;
      this.transmit();
      return;
    }
    this.onAck(segment);
    this.establish();
    this.sendAck();
  }

  private establish(): void {
    this.state = "established";
    this.timeouts = 0;
    this.stalledMs = this.silentMs = -1;
    this.watchPeer();
    this.wake(ANY);
  }

  private receiveConnected(packet: Packet, segment: Segment): void {
    if (segment.isReset) {
      if (segment.seq >= this.expected && segment.seq <= this.announcedEnd) this.onReset();
      return;
    }
    if (segment.isSyn) {
      // Repeated, or the answer to ours: both ends connect to each other.
      if (this.state !== "syn-received") {
        this.sendAck();
        return;
      }
      if (segment.ack < 0) {
        this.sendSyn();
        return;
      }
    }
    if (segment.ack < 0) return;
    if (this.state === "syn-received") {
      if (segment.ack !== 1) {
        this.stack.refuse(packet, segment);
        return;
      }
      const { parent } = this;
      if (parent !== null && (parent.state !== "listen" || parent.isBacklogFull)) {
        if (parent.state !== "listen") this.stack.refuse(packet, segment);
        return;
      }
      this.onAck(segment);
      this.establish();
      if (parent !== null) {
        parent.accepted.push(this);
        parent.wake(EPOLLIN | EPOLLPRI);
      }
      if ((this.shutdownBits & SHUT_SEND) !== 0) this.endSends();
    } else this.onAck(segment);
    if (this.state === "closed") return; // that was the acknowledgment of our last FIN
    this.receiveData(packet, segment);
  }

  /** Takes the data and the FIN of a segment, and of those that arrived early. */
  private receiveData(packet: Packet, segment: Segment): void {
    const length = segment.data?.length ?? 0;
    if (length === 0 && !segment.isFin) {
      // A probe repeats a sequence number that we have acknowledged.
      if (segment.seq < this.expected && !segment.isSyn) this.sendAck();
      return;
    }
    const isPastFin = this.isDone;
    const canBeRead = !(
      (this.state === "fin-wait-1" || this.state === "fin-wait-2") &&
      (this.shutdownBits & SHUT_RECEIVE) !== 0
    );
    if (length > 0 && !canBeRead && segment.seq + length > this.expected) {
      this.stack.refuse(packet, segment);
      this.onReset();
      return;
    }
    if (segment.seq > this.expected && !isPastFin) {
      this.early.set(segment.seq, segment);
      this.sendAck();
      return;
    }
    let hasData = isPastFin ? false : this.append(segment);
    for (let next = this.early.get(this.expected); next !== undefined && !this.isDone; ) {
      this.early.delete(next.seq);
      hasData = this.append(next) || hasData;
      next = this.early.get(this.expected);
    }
    if ((this.state as State) !== "closed") this.sendAck();
    if (hasData) this.wake(EPOLLIN | EPOLLPRI);
  }

  /** Appends what is new in a segment. Returns true if there is something to read. */
  private append(segment: Segment): boolean {
    const { data, seq } = segment;
    let isNew = false;
    if (data !== null) {
      const skipped = this.expected - seq;
      const fits = Math.max(this.announcedEnd - this.expected, 0);
      const fresh = data.subarray(skipped, skipped + fits);
      if (fresh.length > 0) {
        this.incoming.push(fresh);
        this.expected += fresh.length;
        isNew = true;
      }
      if (seq + data.length > this.expected) return isNew; // beyond our window: the peer repeats the rest
    }
    if (segment.isFin && this.expected === seq + (data?.length ?? 0)) {
      this.expected++;
      this.announcedEnd = Math.max(this.announcedEnd, this.expected);
      this.onFin();
      return true;
    }
    return isNew;
  }

  private onFin(): void {
    this.shutdownBits |= SHUT_RECEIVE;
    this.isDone = true;
    if (this.state === "established") this.state = "close-wait";
    else if (this.state === "fin-wait-1") this.state = "closing";
    else if (this.state === "fin-wait-2") {
      this.sendAck();
      this.enterTimeWait();
      return;
    }
    this.wake(ANY);
  }

  /** The peer resets the connection. */
  private onReset(): void {
    this.fail(this.state === "close-wait" ? EPIPE : ECONNRESET);
  }

  /** Ends the connection with an error. */
  private fail(errno: number): void {
    this.error = errno;
    this.outgoing.clear();
    const wasUnanswered = this.state === "syn-received" && this.parent !== null;
    this.end();
    this.wake(EPOLLERR);
    if (wasUnanswered) this.release();
  }

  /** Ends the connection: tcp_done. */
  private end(): void {
    this.state = "closed";
    this.shutdownBits = SHUT_BOTH;
    this.stopTimers();
    this.forget();
    if (!this.isPortChosenByUser) this.releasePort();
    if (this.isOrphan) this.release();
    else this.wake(ANY);
  }

  private enterTimeWait(): void {
    new TimeWait(this, this.stack, this.key!, this.sent, this.expected);
    this.end();
  }

  /** Returns an unconnected socket to its first state, after a failed connect or a `shutdown`: tcp_disconnect. */
  private disconnect(): void {
    const wasConnecting = this.state === "syn-sent";
    if (this.state === "listen") this.dropAccepted();
    const keepsPort = this.state === "closed" || this.isPortChosenByUser;
    this.state = "closed";
    this.stopTimers();
    this.forget();
    if (!keepsPort) this.releasePort();
    if (!this.isAddressChosenByUser) this.ip = this.wildcard;
    this.shutdownBits = 0;
    this.isDone = false;
    this.error = wasConnecting ? ECONNRESET : 0;
    this.incoming.clear();
    this.outgoing.clear();
    this.wake(EPOLLERR);
  }

  private stopListening(): void {
    this.state = "closed";
    this.dropAccepted();
    this.release();
  }

  private dropAccepted(): void {
    for (const child of this.accepted.splice(0)) {
      if (child.state !== "closed") child.sendReset();
      child.isOrphan = true;
      child.release();
    }
  }

  /** Gives back everything that the stack holds for this socket. */
  private release(): void {
    this.state = "closed";
    this.stopTimers();
    this.closeTimer?.cancel();
    this.closeTimer = null;
    this.forget();
    this.releasePort();
  }

  private forget(): void {
    if (this.key !== null) this.stack.removeConnection(this.key, this);
    this.key = null;
  }

  private bindPort(): void {
    this.isBound = true;
    this.stack.bind(this);
  }

  private releasePort(): void {
    if (this.isBound) this.stack.unbind(this);
    this.isBound = false;
  }

  /** Forgets a closed socket if its peer does not end its side. */
  private awaitFin(): void {
    this.closeTimer ??= this.stack.agenda.after(FIN_TIMEOUT_MS, () => this.release());
  }

  // The sender.

  /** Sends our FIN after what is still to be sent. */
  private endSends(): void {
    if (this.state === "established" || this.state === "syn-received") this.state = "fin-wait-1";
    else if (this.state === "close-wait") this.state = "last-ack";
    else return;
    this.finAt = this.dataEnd;
    this.transmit();
  }

  /** The sequence number after the last byte to be sent, without the FIN. */
  private get dataEnd(): number {
    return Math.max(this.acked, 1) + this.outgoing.length;
  }

  private get hasSpace(): boolean {
    const used = this.outgoing.length;
    return this.stack.sendBufferBytes - used >= used / 2;
  }

  /** Sends what the window allows. */
  private transmit(): void {
    if (this.sent === 0) {
      this.sendSyn();
      return;
    }
    const { dataEnd } = this;
    while (this.sent < dataEnd && this.sent < this.windowEnd) {
      const allowed = Math.min(MAX_SEGMENT, this.windowEnd - this.sent, dataEnd - this.sent);
      const length = this.stack.split("segment", allowed);
      const data = this.outgoing.peek(this.sent - Math.max(this.acked, 1), length);
      const end = this.sent + data.length;
      this.startMeasuring(end);
      const hasFin = end === this.finAt;
      this.sendSegment(this.sent, { data, isFin: hasFin });
      this.sent = end + Number(hasFin);
    }
    if (this.sent === this.finAt) {
      this.sendSegment(this.sent, { isFin: true });
      this.sent++;
    }
    if (this.sent > this.acked || this.sent < dataEnd) this.startTimer();
  }

  private sendSyn(): void {
    this.sent = 1;
    this.startMeasuring(1);
    this.sendSegment(0, { isSyn: true });
    this.startTimer();
  }

  private sendAck(): void {
    this.sendSegment(this.sent, {});
  }

  private sendReset(): void {
    this.sendSegment(this.sent, { isReset: true });
  }

  private sendSegment(
    seq: number,
    { isSyn = false, isFin = false, isReset = false, data = null }: Partial<Segment>,
  ): void {
    const window = Math.max(this.stack.receiveBufferBytes - this.incoming.length, 0);
    this.announcedEnd = Math.max(this.announcedEnd, this.expected + window);
    const ack = this.state === "syn-sent" ? -1 : this.expected;
    const body: Segment = { kind: "tcp", seq, ack, isSyn, isFin, isReset, data, window };
    const { ip, port, remoteIp, remotePort } = this;
    this.stack.send({ from: ip, fromPort: port, to: remoteIp, toPort: remotePort, body });
  }

  /**
   * Announces the room that a `recv` has made, once it is worth a segment. After a shutdown of receiving only the peer's
   * next probe learns of it.
   */
  private updateWindow(): void {
    if ((this.shutdownBits & SHUT_RECEIVE) !== 0) return;
    const end = this.expected + this.stack.receiveBufferBytes - this.incoming.length;
    const least = Math.min(this.stack.receiveBufferBytes / 2, 2 * MAX_SEGMENT);
    if (end - this.announcedEnd >= least) this.sendAck();
  }

  private onAck({ ack, window }: Segment): void {
    if (ack > this.sent) return;
    if (this.timedEnd > 0 && ack >= this.timedEnd) this.measure();
    const isOpening = ack + window > this.windowEnd;
    if (isOpening) this.windowEnd = ack + window;
    if (isOpening || ack > this.acked) this.stalledMs = -1;
    this.silentMs = -1;
    if (ack > this.acked) {
      const isFinAcked = this.finAt >= 0 && ack > this.finAt;
      const before = Math.max(this.acked, 1);
      this.outgoing.drop(Math.max(ack - Number(isFinAcked) - before, 0));
      this.acked = ack;
      this.timeouts = 0;
      this.stopTimer();
      if (this.lacksSpace && this.hasSpace) {
        this.lacksSpace = false;
        this.wake(EPOLLOUT);
      }
      if (isFinAcked) this.onFinAcked();
    }
    if (this.state !== "closed") this.transmit();
  }

  private onFinAcked(): void {
    if (this.state === "fin-wait-1") {
      this.state = "fin-wait-2";
      this.shutdownBits |= SHUT_SEND;
      if (this.isOrphan) this.awaitFin();
      else this.wake(ANY);
    } else if (this.state === "closing") this.enterTimeWait();
    else if (this.state === "last-ack") this.end();
  }

  // Timers.

  private startMeasuring(end: number): void {
    if (this.timedEnd > 0 || this.timeouts > 0) return;
    this.timedEnd = end;
    this.timedMs = this.stack.agenda.nowMs;
  }

  /** Computes the retransmission timeout, per RFC 6298 with Linux's bounds. */
  private measure(): void {
    const tripMs = this.stack.agenda.nowMs - this.timedMs;
    this.timedEnd = -1;
    if (this.smoothedMs < 0) {
      this.smoothedMs = tripMs;
      this.variationMs = tripMs / 2;
    } else {
      this.variationMs += (Math.abs(tripMs - this.smoothedMs) - this.variationMs) / 4;
      this.smoothedMs += (tripMs - this.smoothedMs) / 8;
    }
    this.rtoMs = this.smoothedMs + Math.max(4 * this.variationMs, MIN_RTO_MS);
  }

  private startTimer(): void {
    this.timer ??= this.stack.agenda.after(this.pauseMs, () => this.onTimeout());
  }

  private stopTimer(): void {
    this.timer?.cancel();
    this.timer = null;
  }

  private stopTimers(): void {
    this.stopTimer();
    this.keepAliveTimer?.cancel();
    this.keepAliveTimer = null;
  }

  /** How long to wait before the next repetition. */
  private get pauseMs(): number {
    const pauseMs =
      this.state === "syn-sent"
        ? FIRST_RTO_MS * 2 ** Math.max(this.timeouts - SYN_LINEAR_TIMEOUTS, 0)
        : Math.min(this.rtoMs * 2 ** this.timeouts, MAX_RTO_MS);
    if (this.userTimeoutMs === 0 || this.stalledMs < 0 || this.timeouts === 0) return pauseMs;
    const leftMs = this.stalledMs + this.userTimeoutMs - this.stack.agenda.nowMs;
    return Math.min(pauseMs, Math.max(leftMs, 0));
  }

  private onTimeout(): void {
    this.timer = null;
    this.timedEnd = -1;
    this.timeouts++;
    if (this.hasGivenUp()) {
      if (this.state === "syn-received") this.release();
      else this.fail(ETIMEDOUT);
      return;
    }
    const { nowMs } = this.stack.agenda;
    if (this.stalledMs < 0) this.stalledMs = nowMs;
    if (this.silentMs < 0) this.silentMs = nowMs;
    if (this.sent > this.acked) {
      this.sent = this.acked; // repeats everything that is not acknowledged
      this.transmit();
    } else {
      this.sendSegment(this.acked - 1, {}); // the window is closed: ask for it
      this.startTimer();
    }
  }

  private hasGivenUp(): boolean {
    const { nowMs } = this.stack.agenda;
    if (this.state === "syn-received") return this.timeouts >= SYNACK_TIMEOUTS;
    const isUserLimited = this.userTimeoutMs > 0 && this.stalledMs >= 0 && this.timeouts > 1;
    if (isUserLimited && nowMs - this.stalledMs >= this.userTimeoutMs) return true;
    if (this.state === "syn-sent") return this.timeouts >= SYN_TIMEOUTS;
    const isWindowClosed = this.sent === this.acked;
    const isRare = this.rtoMs * 2 ** (this.timeouts - 1) >= MAX_RTO_MS;
    if (this.isOrphan && isWindowClosed && isRare) return true;
    if (this.userTimeoutMs > 0 || this.silentMs < 0) return false;
    return nowMs - this.silentMs >= (this.isOrphan ? GIVE_UP_CLOSED_MS : GIVE_UP_MS);
  }

  private get userTimeoutMs(): number {
    return this.option(IPPROTO_TCP, TCP_USER_TIMEOUT);
  }

  /** Starts or stops the probes of SO_KEEPALIVE. */
  private watchPeer(): void {
    this.keepAliveTimer?.cancel();
    this.keepAliveTimer = null;
    const isOpen = this.state !== "closed" && this.state !== "listen" && this.state !== "syn-sent";
    if (!isOpen || this.option(SOL_SOCKET, SO_KEEPALIVE) === 0) return;
    const idleMs = this.option(IPPROTO_TCP, TCP_KEEPIDLE) * 1000;
    const { agenda } = this.stack;
    const isWaiting = this.sent > this.acked || this.outgoing.length > 0;
    const quietMs = agenda.nowMs - this.heardMs;
    let delayMs = Math.max(idleMs - quietMs, 0);
    if (this.probes > 0) delayMs = this.option(IPPROTO_TCP, TCP_KEEPINTVL) * 1000;
    else if (isWaiting) delayMs = idleMs; // the repetitions find out whether the peer is alive
    this.keepAliveTimer = agenda.after(delayMs, () => this.probe(idleMs));
  }

  private probe(idleMs: number): void {
    const { agenda } = this.stack;
    const isWaiting = this.sent > this.acked || this.outgoing.length > 0;
    const quietMs = agenda.nowMs - this.heardMs;
    if (!isWaiting && quietMs >= idleMs) {
      const { userTimeoutMs, probes } = this;
      const isLost =
        userTimeoutMs > 0
          ? probes > 0 && quietMs >= userTimeoutMs
          : probes >= this.option(IPPROTO_TCP, TCP_KEEPCNT);
      if (isLost) {
        this.sendReset();
        this.fail(ETIMEDOUT);
        return;
      }
      this.probes++;
      this.sendSegment(this.acked - 1, {});
    }
    this.watchPeer();
  }
}
